"""One chunk through the flow's steps: what each target gets, and the rows that are refused.

Rows that columns vouch for never become Python objects. The others take the way of rows, through the ordinary flow.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from accord.engine.accept import ORIGIN_HEADER
from accord.engine.bulk.reading import Read
from accord.engine.bulk.state import ROW_HEADER, RUN_HEADER
from accord.engine.malformed import MALFORMED_HEADER, malformed_mark
from accord.errors import Problem
from accord.flow.bulk.columns import Made, Sure
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.rows import RowOutcome, RowWrite, run_rows
from accord.flow.bulk.write import LOAD_HEADER, BulkWrite
from accord.mapping.columns.dtypes import frame_of, records_of
from accord.mapping.environment import Environment, Query
from accord.record import Message
from accord.sdk.http import encode_json

if TYPE_CHECKING:
    import polars

References = Callable[[Sequence[Query]], Coroutine[Any, Any, Sequence[str | None]]]
ROWS_AT_ONCE = 5_000  # rows of Python objects in memory at once
TOO_WIDE = Problem("flow.bulk-value", "", "a number or time is too large or too fine for a column")


class Staged(msgspec.Struct, frozen=True):
    """Rows that lie beside their target: how many, their checksum, and what the load's stager says of them."""

    rows: int
    checksum: str
    held: Any


class Portion(msgspec.Struct, frozen=True):
    """What one target gets of a chunk: ``numbers`` of the rows the frame's rows came from, and where in the flow they were written:
    at ``paths``, or at ``path``, its ``[]`` being the index in ``item`` where a split made them. ``staged``: instead of the frame, which
    is empty then."""

    frame: polars.DataFrame
    numbers: list[int]
    path: str
    item: polars.Series | None = None
    paths: list[str] | None = None
    staged: Staged | None = None

    @property
    def rows(self) -> int:
        return self.frame.height if self.staged is None else self.staged.rows

    def path_of(self, row: int) -> str:
        return self.paths[row] if self.paths is not None else _path_of(self.path, self.item, row)


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
    """``time`` is the run's: the clock of all its rows, on every attempt. ``references`` answers cross-references."""

    def __init__(self, flow: BulkFlow, references: References, run_id: str, time: dt.datetime) -> None:
        self._flow = flow
        self._references = references
        self._run_id = run_id
        self._time = time
        self._columns = flow.columns()
        self._environment = Environment(time, {}, {})
        self._loop = asyncio.get_running_loop()

    async def map(self, read: Read, known: frozenset[int] = frozenset()) -> Mapped:
        """``known``: numbers of rows that are left out, since an earlier run has loaded them."""
        sure, numbers, rest = await asyncio.to_thread(self._in_columns, read, known)
        outcomes: list[tuple[int, RowOutcome]] = []
        refused: list[Refused] = []
        for start in range(0, len(rest), ROWS_AT_ONCE):
            part = await asyncio.to_thread(source_records, read, rest[start : start + ROWS_AT_ONCE], self._flow)
            good = [(number, record) for number, record, reason in part if not reason]
            found = await self._run(good)
            outcomes += [(number, outcome) for (number, _), outcome in zip(good, found, strict=True)]
            refused += [
                Refused(number, "start", (Problem("connector.malformed", "", reason),))
                for number, _, reason in part
                if reason
            ]
        refused += [Refused(number, one.step, one.problems) for number, one in outcomes if one.is_rejected]
        return await asyncio.to_thread(self._mapped, read, sure, numbers, outcomes, refused, len(known))

    def _in_columns(self, read: Read, known: frozenset[int]) -> tuple[Sure, polars.Series, list[int]]:
        """What columns are sure of, the numbers of the frame's rows that were given to them, and those of all other rows."""
        import polars as pl

        frame, numbers = read.batch.frame, numbers_of(read)
        if known:
            wanted = ~numbers.is_in(pl.Series(list(known), dtype=numbers.dtype).implode())
            frame, numbers = frame.filter(wanted), numbers.filter(wanted)
        sure = self._columns.run(frame, self._environment, self._resolve)
        rest: list[int] = numbers.gather(sure.others).to_list() if sure.others else []
        rest += [odd.number for odd in read.batch.odd if odd.number not in known]
        return sure, numbers, rest

    def _resolve(self, entity: str, to: str, keys: Sequence[str]) -> dict[str, str | None]:
        """Cross-references, asked by a thread that maps."""
        ask = self._references([(entity, key, to) for key in keys])
        found = asyncio.run_coroutine_threadsafe(ask, self._loop).result()
        return dict(zip(keys, found, strict=True))

    async def _run(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> list[RowOutcome]:
        """The rows' outcomes; what they ask of the journal is asked between."""
        step: Callable[[dict[Query, str | None] | None], tuple[list[Query], list[RowOutcome]]]
        step = await asyncio.to_thread(self._begin, rows)
        queries, outcomes = await asyncio.to_thread(step, None)
        while queries:
            keys = await self._references(queries)
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
        sure: Sure,
        numbers: polars.Series,
        outcomes: list[tuple[int, RowOutcome]],
        refused: list[Refused],
        known: int,
    ) -> Mapped:
        found: dict[str, list[tuple[int, RowWrite]]] = {write.path: [] for write in self._flow.writes}
        for number, outcome in outcomes:
            for write in outcome.writes:
                found[write.target].append((number, write))
        unfit: dict[int, Refused] = {}
        for target in self._flow.writes:
            _, wide = frame_of([write.record for _, write in found[target.path]], target.entity.fields)
            for number, write in (found[target.path][index] for index in wide):
                unfit[number] = Refused(number, write.path, (TOO_WIDE,))
        portions = []
        for target in self._flow.writes:
            rows = [(number, write) for number, write in found[target.path] if number not in unfit]
            portions.append(_portion(target, sure.portions.get(target.path), numbers, rows))
        filtered = sum(outcome.is_filtered for _, outcome in outcomes)
        in_columns = len(numbers) - len(sure.others) - sure.filtered
        refused = sorted([*refused, *unfit.values()], key=lambda one: one.number)
        by_rows = len(outcomes) - filtered - sum(one.is_rejected for _, one in outcomes) - len(unfit)
        return Mapped(
            read=read,
            portions=tuple(portions),
            refused=tuple(refused),
            rows=read.rows,
            passed=in_columns + by_rows,
            filtered=filtered + sure.filtered,
            known=known,
        )

    def rejects(self, read: Read, numbers: Collection[int]) -> dict[int, Message]:
        """The messages that refused rows become, by number. One that is read again has the id it had, another in its place has not."""
        found: dict[int, Message] = {}
        for number, record, reason in source_records(read, numbers, self._flow):
            body = encode_json(record)
            place = read.place_of(number)
            event = identity(record, body, self._flow.source.key, place)
            id = f"{self._run_id}.{number}.{event[:8]}"
            headers = {RUN_HEADER: self._run_id, ROW_HEADER: str(number), ORIGIN_HEADER: place}
            if reason:
                headers[MALFORMED_HEADER] = malformed_mark(body, reason)
            found[number] = Message(
                id=id,
                flow=self._flow.name,
                key=self._flow.flow.key_of(body, id),
                source=self._flow.source.name,
                body=body,
                time=self._time,
                event_id=event,
                headers=headers,
                trace_id=self._run_id,
            )
        return found


def identity(record: dict[str, Any], body: bytes, key: Sequence[str], place: str) -> str:
    """The same reject is kept once, however often it is read: by its key and content, or by its place and content."""
    is_keyed = bool(key) and all(record.get(name) is not None for name in key)
    return hashlib.blake2b(body if is_keyed else place.encode() + b"\n" + body, digest_size=16).hexdigest()


def _portion(
    target: BulkWrite,
    sure: Made | None,
    numbers: polars.Series,
    rows: list[tuple[int, RowWrite]],
) -> Portion:
    """What columns and rows made, in the order of the source: of two records with one key the later one counts."""
    import polars as pl

    if sure is not None and not rows:
        return Portion(sure.frame, numbers.gather(sure.index).to_list(), target.path, sure.item)
    frame, _ = frame_of([write.record for _, write in rows], target.entity.fields)
    of_rows, paths = [number for number, _ in rows], [write.path for _, write in rows]
    if sure is None or not sure.frame.height:
        order = sorted(range(len(of_rows)), key=of_rows.__getitem__)
        ordered = frame[order] if order else frame
        return Portion(ordered, [of_rows[i] for i in order], target.path, None, [paths[i] for i in order])
    joined = pl.concat([sure.frame, frame])
    both = pl.concat([numbers.gather(sure.index), pl.Series(of_rows, dtype=numbers.dtype)])
    every = [_path_of(target.path, sure.item, row) for row in range(sure.frame.height)] + paths
    place = pl.DataFrame({"number": both}).with_row_index("place").sort("number", maintain_order=True)["place"]
    return Portion(joined[place], both.gather(place).to_list(), target.path, None, [every[i] for i in place])


def _path_of(path: str, item: polars.Series | None, row: int) -> str:
    return path if item is None else path.replace("[]", f"[{item[row]}]", 1)


def numbers_of(read: Read) -> polars.Series:
    """Of the frame's rows."""
    import polars as pl

    batch = read.batch
    if batch.numbers is not None:
        return batch.numbers
    return pl.int_range(batch.first_number, batch.first_number + batch.frame.height, eager=True, dtype=pl.Int64)


def source_records(read: Read, numbers: Collection[int], flow: BulkFlow) -> list[tuple[int, dict[str, Any], str]]:
    """Rows as they were read, each with why it could not be ('' when it could)."""
    import polars as pl

    asked = set(numbers)
    found = [(odd.number, odd.record, odd.reason) for odd in read.batch.odd if odd.number in asked]
    asked.difference_update([number for number, _, _ in found])
    if asked:
        known = numbers_of(read)
        rows = known.is_in(pl.Series(sorted(asked), dtype=known.dtype).implode())
        records = records_of(read.batch.frame.filter(rows), flow.source.fields)
        found += [(number, record, "") for number, record in zip(known.filter(rows).to_list(), records, strict=True)]
    return found
