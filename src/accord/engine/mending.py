"""What helps to mend a dead letter: how its record differs from the last good one of its flow, and what a mended record would do.

Pure but for reads of the journal: nothing is sent, nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from accord.engine.masking import MASK, Masker
from accord.engine.telling import MessageTrace, Telling
from accord.journal.group import Journal
from accord.journal.operations import MessageRow
from accord.journal.search import MessageQuery
from accord.mapping.contract import problems_of
from accord.record import Entity, Field
from accord.record.types import List, Object
from accord.sdk.http import decode_json

GOOD_LOOKED_AT_MAX = 50  # messages done before it: those that were filtered or discarded do not count as good
DIFFERENCES_MAX = 200
SHAPE_LENGTH_MAX = 40  # characters
_RUN = re.compile(r"([9Aa\s])\1+")


class FieldDifference(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: missing (the good one has it), new, type, or shape (of a text). ``good`` and ``this``: the type and, for declared fields
    that are not personal, the value."""

    path: str
    kind: str
    good: str = ""
    this: str = ""


class LetterDifference(msgspec.Struct, frozen=True, kw_only=True):
    """``good_seq``: of the last good message of the flow before the letter; None when there is none any more."""

    seq: int
    good_seq: int | None
    differences: tuple[FieldDifference, ...] = ()
    note: str = ""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """``problems``: of the record by the flow's contract. ``trace``: what its flow would do; effects whose outcome is ``to be done``
    have not been carried out yet."""

    seq: int
    problems: tuple[str, ...]
    trace: MessageTrace


class Mending:
    def __init__(self, journal: Journal, telling: Telling, entities: Mapping[str, Entity]) -> None:
        self._journal = journal
        self._telling = telling
        self._entities = entities

    async def difference(self, row: MessageRow) -> LetterDifference:
        good = await self._good_before(row)
        if good is None:
            return LetterDifference(
                seq=row.seq, good_seq=None, note="The journal has no good message of this flow before it."
            )
        entity = self._entities.get(row.message.source)
        fields: Mapping[str, Field] = entity.fields if entity is not None else {}
        try:
            good_record, record = decode_json(good.message.body), decode_json(row.message.body)
        except msgspec.DecodeError:
            return LetterDifference(seq=row.seq, good_seq=good.seq, note="The record is no JSON.")
        masker = Masker()
        masker.learn(good_record, fields)
        masker.learn(record, fields)
        found = differences_of(good_record, record, fields, masker)
        note = f"Only the first {DIFFERENCES_MAX} are shown." if len(found) > DIFFERENCES_MAX else ""
        return LetterDifference(seq=row.seq, good_seq=good.seq, differences=tuple(found[:DIFFERENCES_MAX]), note=note)

    async def _good_before(self, row: MessageRow) -> MessageRow | None:
        rows = await self._journal.reads.messages(
            MessageQuery(flow=row.message.flow, state="done", before_seq=row.seq, limit=GOOD_LOOKED_AT_MAX)
        )
        return next((one for one in rows if not one.reason), None)

    async def preview(self, row: MessageRow, body: bytes, *, from_start: bool = False) -> Preview:
        """What its flow of today would do with this record in place of its own."""
        message = msgspec.structs.replace(row.message, body=body)
        results = {} if from_start else row.results
        mended = msgspec.structs.replace(row, message=message, results=results, dead=None, reason="")
        flow = self._telling.flow_of_today(row.message.flow)
        problems = problems_of(flow.contract if flow is not None else None, body)
        entity = self._entities.get(row.message.source)
        masker = Masker()
        if entity is not None and not any(problem.startswith("(record)") for problem in problems):
            masker.learn(decode_json(body), entity.fields)
        trace = await self._telling.tell(mended, is_preview=True)
        return Preview(seq=row.seq, problems=tuple(masker.text(one) for one in problems), trace=trace)


def differences_of(good: Any, this: Any, fields: Mapping[str, Field], masker: Masker) -> list[FieldDifference]:
    """By path (``lines[].sku``), in the order of the good one and then of this one."""
    known, found = dict(_leaves(good, "", fields)), dict(_leaves(this, "", fields))
    told: list[FieldDifference] = []
    for path, one in known.items():
        other = found.get(path)
        if other is None:
            if not any(path.startswith(each.path) and each.kind == "missing" for each in told):
                told.append(FieldDifference(path=path, kind="missing", good=one.shown(masker)))
        elif one.type != other.type:
            told.append(FieldDifference(path=path, kind="type", good=one.shown(masker), this=other.shown(masker)))
        elif one.shape != other.shape:
            told.append(FieldDifference(path=path, kind="shape", good=one.shown(masker), this=other.shown(masker)))
    new = [path for path in found if path not in known]
    told += [FieldDifference(path=path, kind="new", this=found[path].shown(masker)) for path in new]
    return told


class _Leaf(msgspec.Struct, frozen=True):
    """``is_open``: declared and not personal, so its value may be shown."""

    value: Any
    type: str
    shape: str
    is_open: bool

    def shown(self, masker: Masker) -> str:
        if self.type in ("object", "list", "null"):
            return self.type
        return f"{self.type} {masker.text(str(self.value)) if self.is_open else MASK}"


def _leaves(
    value: Any, path: str, fields: Mapping[str, Field] | None, field: Field | None = None
) -> Iterator[tuple[str, _Leaf]]:
    """Every place of a record, a list by its first item."""
    is_open = field is not None and not field.personal
    match value:
        case dict():
            if path:
                yield path, _Leaf(None, "object", "", is_open)
            for name, inner in value.items():
                known = (fields or {}).get(name) if is_open or not path else None
                yield from _leaves(inner, f"{path}.{name}" if path else name, _inner(known), known)
        case list():
            yield path, _Leaf(None, "list", "" if value else "empty", is_open)
            if value:
                yield from _leaves(value[0], f"{path}[]", fields, field)
        case _:
            kind = _kind_of(value)
            yield path, _Leaf(value, kind, shape_of(value) if isinstance(value, str) else "", is_open)


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
    return "number"


def _inner(field: Field | None) -> Mapping[str, Field] | None:
    match field:
        case Field(type=Object(fields=fields)) | Field(type=List(item=Object(fields=fields))):
            return fields
    return None


def shape_of(text: str) -> str:
    """Letters as ``A`` and ``a``, digits as ``9``, runs of one kind as one: ``2026-05-01`` is ``9-9-9``, ``EUR`` is ``A``."""
    signs = "".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in text.strip())
    return _RUN.sub(r"\1", signs)[:SHAPE_LENGTH_MAX]
