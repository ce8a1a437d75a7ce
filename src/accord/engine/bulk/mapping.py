"""One chunk through the flow's steps: what each target gets, and the rows that are refused.

Rows that columns vouch for never become Python objects. The others take the way of rows, through the ordinary flow.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from accord.engine.accept import ORIGIN_HEADER
from accord.engine.bulk.reading import Read
from accord.engine.bulk.state import ROW_HEADER, RUN_HEADER
from accord.engine.malformed import MALFORMED_HEADER, malformed_mark
from accord.errors import Problem
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.rows import RowOutcome, run_rows
from accord.flow.bulk.write import LOAD_HEADER
from accord.journal.group import Journal
from accord.mapping.columns.dtypes import frame_of, records_of
from accord.mapping.environment import Query
from accord.record import Message
from accord.sdk.http import encode_json

if TYPE_CHECKING:
    import polars

ROWS_AT_ONCE = 5_000  # rows of Python objects in memory at once


class Portion(msgspec.Struct, frozen=True):
    """What one target gets of a chunk: ``numbers`` of the rows the frame's rows came from, and the ``paths`` they were written at
    (None: the write's own, for all)."""

    frame: polars.DataFrame
    numbers: list[int]
    paths: list[str] | None = None


class Refused(msgspec.Struct, frozen=True):
    """A row that is not loaded: why, and at which step."""

    number: int
    step: str
    problems: tuple[Problem, ...]


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk after its steps. ``portions`` in the order of the flow's writes; ``read`` is what it was."""

    read: Read
    portions: tuple[Portion, ...]
    refused: tuple[Refused, ...]
    rows: int
    passed: int
    filtered: int
    known: int = 0


class Mapper:
    """``time`` is the run's: the clock of all its rows, on every attempt."""

    def __init__(self, flow: BulkFlow, journal: Journal, run_id: str, time: dt.datetime) -> None:
        self._flow = flow
        self._journal = journal
        self._run_id = run_id
        self._time = time

    async def map(self, read: Read, known: frozenset[int] = frozenset()) -> Mapped:
        """``known``: numbers of rows that are left out, since an earlier run has loaded them."""
        numbers, records = await asyncio.to_thread(_rows_of, read, self._flow)
        refused: list[Refused] = []
        outcomes: list[tuple[int, RowOutcome]] = []
        reasons = {odd.number: odd.reason for odd in read.batch.odd if odd.reason}
        for start in range(0, len(records), ROWS_AT_ONCE):
            part = [
                (number, record)
                for number, record in zip(
                    numbers[start : start + ROWS_AT_ONCE], records[start : start + ROWS_AT_ONCE], strict=True
                )
                if number not in known
            ]
            good = [(number, record) for number, record in part if number not in reasons]
            found = await self._run(good)
            outcomes += [(number, outcome) for (number, _), outcome in zip(good, found, strict=True)]
        refused += [
            Refused(number, "start", (Problem("connector.malformed", "", reason),))
            for number, reason in reasons.items()
            if number not in known
        ]
        refused += [Refused(number, one.step, one.problems) for number, one in outcomes if one.is_rejected]
        return await asyncio.to_thread(self._mapped, read, outcomes, refused, len(records), len(known))

    async def _run(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> list[RowOutcome]:
        """The rows' outcomes; what they ask of the journal is asked between."""
        step: Callable[[dict[Query, str | None] | None], tuple[list[Query], list[RowOutcome]]]
        step = await asyncio.to_thread(self._begin, rows)
        queries, outcomes = await asyncio.to_thread(step, None)
        while queries:
            keys = await self._journal.reads.references(queries)
            queries, outcomes = await asyncio.to_thread(step, dict(zip(queries, keys, strict=True)))
        return outcomes

    def _begin(
        self, rows: Sequence[tuple[int, dict[str, Any]]]
    ) -> Callable[[dict[Query, str | None] | None], tuple[list[Query], list[RowOutcome]]]:
        running = run_rows(self._flow.flow, [self._message(number, record) for number, record in rows])

        def step(answer: dict[Query, str | None] | None) -> tuple[list[Query], list[RowOutcome]]:
            try:
                return (next(running) if answer is None else running.send(answer)), []
            except StopIteration as end:
                return [], end.value

        return step

    def _message(self, number: int, record: dict[str, Any]) -> Message:
        return Message(
            id=f"{self._run_id}.{number}",
            flow=self._flow.name,
            key="",
            source=self._flow.source.name,
            body=encode_json(record),
            time=self._time,
            headers={LOAD_HEADER: "1", RUN_HEADER: self._run_id, ROW_HEADER: str(number)},
        )

    def _mapped(
        self,
        read: Read,
        outcomes: list[tuple[int, RowOutcome]],
        refused: list[Refused],
        rows: int,
        known: int,
    ) -> Mapped:
        portions = []
        unfit: dict[int, Refused] = {}
        by_target: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        for number, outcome in outcomes:
            for write in outcome.writes:
                by_target.setdefault(write.target, []).append((number, write.path, write.record))
        for target in self._flow.writes:
            found = by_target.get(target.path, [])
            _, wide = frame_of([record for _, _, record in found], target.entity.fields)
            for index in wide:
                problem = Problem("flow.bulk-value", "", "a number or time is too large or too fine for a column")
                unfit[found[index][0]] = Refused(found[index][0], found[index][1], (problem,))
        for target in self._flow.writes:
            found = [one for one in by_target.get(target.path, []) if one[0] not in unfit]
            frame, _ = frame_of([record for _, _, record in found], target.entity.fields)
            portions.append(Portion(frame, [number for number, _, _ in found], [path for _, path, _ in found]))
        filtered = sum(outcome.is_filtered for _, outcome in outcomes)
        refused = sorted([*refused, *unfit.values()], key=lambda one: one.number)
        return Mapped(
            read=read,
            portions=tuple(portions),
            refused=tuple(refused),
            rows=rows,
            passed=len(outcomes) - filtered - sum(one.is_rejected for _, one in outcomes) - len(unfit),
            filtered=filtered,
            known=known,
        )

    def reject(self, read: Read, number: int, chunk: int) -> Message:
        """The message that a refused row becomes."""
        source = self._flow.source
        record, reason = source_record(read, number, self._flow)
        body = encode_json(record)
        place = read.place_of(number)
        id = f"{self._run_id}.{chunk}.{number}"
        headers = {RUN_HEADER: self._run_id, ROW_HEADER: str(number), ORIGIN_HEADER: place}
        if reason:
            headers[MALFORMED_HEADER] = malformed_mark(body, reason)
        return Message(
            id=id,
            flow=self._flow.name,
            key=self._flow.flow.key_of(body, id),
            source=source.name,
            body=body,
            time=self._time,
            event_id=identity(record, body, source.key, place),
            headers=headers,
            trace_id=self._run_id,
        )


def identity(record: dict[str, Any], body: bytes, key: Sequence[str], place: str) -> str:
    """The same reject is kept once, however often it is read: by its key and content, or by its place and content."""
    is_keyed = bool(key) and all(record.get(name) is not None for name in key)
    return hashlib.blake2b(body if is_keyed else place.encode() + b"\n" + body, digest_size=16).hexdigest()


def numbers_of(read: Read) -> list[int]:
    """Of the frame's rows."""
    batch = read.batch
    if batch.numbers is not None:
        return list(batch.numbers)
    return list(range(batch.first_number, batch.first_number + batch.frame.height))


def _rows_of(read: Read, flow: BulkFlow) -> tuple[list[int], list[dict[str, Any]]]:
    """Every row of the chunk by its number, as a reader of rows would have given it."""
    pairs = [(odd.number, odd.record) for odd in read.batch.odd]
    if read.batch.frame.height:
        pairs += zip(numbers_of(read), records_of(read.batch.frame, flow.source.fields), strict=True)
        pairs.sort(key=lambda pair: pair[0])
    return [number for number, _ in pairs], [record for _, record in pairs]


def source_record(read: Read, number: int, flow: BulkFlow) -> tuple[dict[str, Any], str]:
    """A row as it was read, and why it could not be ('' when it could)."""
    for odd in read.batch.odd:
        if odd.number == number:
            return odd.record, odd.reason
    index = numbers_of(read).index(number)
    (record,) = records_of(read.batch.frame[index : index + 1], flow.source.fields)
    return record, ""
