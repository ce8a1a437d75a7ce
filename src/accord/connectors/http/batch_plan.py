"""From records to the request of one batch, and from its answer to what came of each record. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from accord.connectors.http.requests import Base, RequestPlan
from accord.connectors.http.settings import AnswersSettings, BatchSettings, HttpEntity, Test
from accord.record import Done, Entity, Reject, Retry
from accord.sdk.bodies import text_of, value_at
from accord.sdk.bulk import LoadMode
from accord.sdk.errors_http import message_of
from accord.sdk.http import HttpRequest

JSON_LINES = "application/x-ndjson"

One: TypeAlias = Done | Retry | Reject


def batch_settings(extra: HttpEntity, mode: LoadMode) -> BatchSettings | None:
    found = {LoadMode.APPEND: extra.bulk.append, LoadMode.UPSERT: extra.bulk.upsert}
    return found.get(mode)


class BatchPlan:
    """One load mode of one entity."""

    def __init__(self, base: Base, settings: BatchSettings) -> None:
        self._base = base
        self._settings = settings
        self._is_lines = settings.body == "jsonl"
        kind = JSON_LINES if self._is_lines else "application/json"
        self._plan = RequestPlan(
            base,
            method=settings.method,
            path=settings.path,
            query=settings.query,
            headers={"content-type": kind, **{name.lower(): value for name, value in settings.headers.items()}},
        )

    def build(self, records: Sequence[Mapping[str, Any]], name: str) -> HttpRequest:
        """``name``: the same for the same records of the same load. Raises MissingValue."""
        omit = self._settings.omit
        sent = [{k: v for k, v in one.items() if k not in omit} for one in records] if omit else records
        if self._is_lines:
            body = b"".join(self._base.encode(one) + b"\n" for one in sent)
        else:
            body = self._base.encode({self._settings.wrap: sent} if self._settings.wrap else sent)
        return msgspec.structs.replace(self._plan.build({}, name), body=body)


class AnswersOdd(Exception):
    """The answers do not belong to the records that were sent; the text says why."""


class Answers:
    """Reads what a batch's answer says of each record. ``clean`` makes what the API says fit to be shown."""

    def __init__(self, settings: AnswersSettings, entity: Entity, clean: Callable[[str], str]) -> None:
        self._settings = settings
        self._key = entity.key[0] if len(entity.key) == 1 else ""
        self._name = settings.name or ("index" if settings.by == "index" else self._key)
        self._clean = clean

    def listed(self, body: Any) -> list[Any] | None:
        """The list of answers; None where the body has none."""
        found = value_at(body, self._settings.at)
        return found if isinstance(found, list) else None

    def read(self, answers: Sequence[Any], records: Sequence[Mapping[str, Any]]) -> list[One]:
        """One outcome for each record. Raises AnswersOdd."""
        at = self._placed(answers, records)
        only_refused = self._settings.only_refused
        if not only_refused and len(at) != len(records):
            raise AnswersOdd(f"the API answered for {len(at)} of {len(records)} records")
        return [self._one(at[row]) if row in at else Done() for row in range(len(records))]

    def _placed(self, answers: Sequence[Any], records: Sequence[Mapping[str, Any]]) -> dict[int, Any]:
        if self._settings.by == "position":
            if len(answers) != len(records):
                raise AnswersOdd(f"the API gave {len(answers)} answers to {len(records)} records")
            return dict(enumerate(answers))
        known = {str(row): row for row in range(len(records))}
        if self._settings.by == "key":
            known = {text_of(record.get(self._key)): row for row, record in enumerate(records)}
        placed: dict[int, Any] = {}
        for answer in answers:
            named = value_at(answer, self._name)
            row = None if named is None else known.get(text_of(named))
            if row is None:
                raise AnswersOdd(f"an answer names no record that was sent by `{self._name}`")
            placed[row] = answer
        return placed

    def _one(self, answer: Any) -> One:
        settings = self._settings
        if settings.ok is not None and passes(settings.ok, answer):
            return Done()
        said = value_at(answer, settings.reason)
        told = said if isinstance(said, str) and said else message_of(said) or message_of(answer)
        code = value_at(answer, settings.code)
        reason = ": ".join(part for part in ("" if code is None else str(code), told) if part)
        reason = self._clean(reason or "the API refused it and does not say why")
        if settings.again is not None and passes(settings.again, answer):
            return Retry(reason)
        path = value_at(answer, settings.path)
        return Reject(reason, path=self._clean(path) if isinstance(path, str) else "")


def passes(test: Test, answer: Any) -> bool:
    value = value_at(answer, test.at)
    if test.absent:
        return value in (None, "", [], {}, False)
    if test.below is not None:
        return _number(value) is not None and _number(value) < test.below
    wanted = test.equals if isinstance(test.equals, list) else [test.equals]
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)


def _number(value: Any) -> Any:
    """Some APIs write a status as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return None if isinstance(value, bool | str | list | dict) else value
