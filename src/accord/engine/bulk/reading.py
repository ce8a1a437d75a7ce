"""A source as a stream of chunks: a connector that reads in bulk, or any other page by page."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

import msgspec

from accord.mapping.columns.dtypes import empty_frame
from accord.record import Entity, Retry
from accord.record.batch import Batch, OddRow
from accord.record.columns import dtype_of
from accord.record.types import Date, DateTime, Field
from accord.sdk.bulk import BulkRead, BulkSource
from accord.sdk.connector import Capabilities, Connection, Page, ReadFailed

T = TypeVar("T")
THROTTLED_S = 0.5  # at the least, before a page is asked for again
THROTTLED_S_MAX = 60.0


class Read(msgspec.Struct, frozen=True):
    """A batch, files that have been read to their end with it, and where a person finds rows (by number; else the batch's origin)."""

    batch: Batch
    ended: tuple[str, ...] = ()
    places: dict[int, str] = {}

    @property
    def rows(self) -> int:
        return self.batch.frame.height + len(self.batch.odd)

    def place_of(self, number: int) -> str:
        return self.places.get(number) or f"{self.batch.origin} row {number}".strip()


@contextlib.asynccontextmanager
async def closing(items: AsyncIterator[object]) -> AsyncIterator[None]:
    """A generator that is not read to its end lets go of its connection now, not when it is collected."""
    try:
        yield
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


async def ahead(items: AsyncIterator[T], most: int) -> AsyncGenerator[T, None]:
    """The same items, made by a task of its own: at most ``most`` of them are being made or wait to be taken. What it raises is raised
    here in its place, or heard by nobody when nobody takes items any more."""
    made: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue()
    room = asyncio.Semaphore(most)

    async def fill() -> None:
        end: BaseException = StopAsyncIteration()
        try:
            async with closing(items):
                await room.acquire()
                async for item in items:
                    made.put_nowait((item, None))
                    await room.acquire()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (whoever takes the items hears of it)
            end = error
        finally:
            made.put_nowait((None, end))

    task = asyncio.create_task(fill())
    try:
        while True:
            item, error = await made.get()
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item  # type: ignore[misc]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def chunks_of(
    connection: Connection, entity: Entity, can: Capabilities, request: BulkRead, first_number: int
) -> AsyncIterator[Read]:
    """Chunks of at most ``request.rows`` rows (or one page, if that is larger). Raises ReadFailed."""
    if can.bulk_read:
        return _native(connection, entity, can, request)  # type: ignore[arg-type]
    return _paged(connection, entity, request, first_number)


async def _native(source: BulkSource, entity: Entity, can: Capabilities, request: BulkRead) -> AsyncIterator[Read]:
    """Where reading takes files away, one has ended when the next begins."""
    before: Batch | None = None
    batches = source.read_bulk(entity, request)
    async with closing(batches):
        async for batch in batches:
            if batch.after_s:
                yield Read(batch)
                continue
            if before is not None:
                has_ended = can.read_takes_away and before.origin != batch.origin
                yield Read(before, (before.origin,) if has_ended else ())
            before = batch
    if before is not None:
        ended = (before.origin,) if can.read_takes_away and before.origin else ()
        yield Read(msgspec.structs.replace(before, is_last=True), ended)


async def _paged(connection: Connection, entity: Entity, request: BulkRead, first_number: int) -> AsyncIterator[Read]:
    gathered: list[Page] = []
    number = first_number
    count = 0
    async for page in _patiently(connection, entity, request.position):
        if isinstance(page, float):
            yield Read(Batch(frame=empty_frame(entity.fields), position=request.position, after_s=page))
            continue
        if gathered and (count + len(page.records) > request.rows or page.name != gathered[-1].name):
            yield _joined(gathered, entity, request, number, is_last=False)
            number += count
            gathered, count = [], 0
        gathered.append(page)
        count += len(page.records)
    if gathered:
        yield _joined(gathered, entity, request, number, is_last=True)


async def _patiently(connection: Connection, entity: Entity, position: Any) -> AsyncIterator[Page | float]:
    """Where a system asks to be asked less, reading goes on behind the last page, after so many seconds: what was read of the chunk is
    not read again, which would use up the budget each time anew."""
    is_first = True
    while True:
        try:
            async for page in connection.read(entity, position):
                position, is_first = page.position, False
                yield page
            return
        except ReadFailed as failed:
            throttled = isinstance(failed.outcome, Retry) and failed.outcome.throttled
            if not throttled or (position is None and not is_first):
                raise
            assert isinstance(failed.outcome, Retry)
            yield min(max(failed.outcome.after_s or THROTTLED_S, THROTTLED_S), THROTTLED_S_MAX)


def _joined(pages: list[Page], entity: Entity, request: BulkRead, number: int, *, is_last: bool) -> Read:
    """All rows go the way of rows: their contract reads them."""
    odd: list[OddRow] = []
    places: dict[int, str] = {}
    for page in pages:
        for index, record in enumerate(page.records):
            if index < len(page.places):
                places[number] = page.places[index]
            if _is_wanted(record, entity, request):
                odd.append(OddRow(number, record, page.malformed.get(index, "")))
            number += 1
    ended = tuple(page.name for page in pages if page.is_last and page.name)
    batch = Batch(
        frame=empty_frame(entity.fields),
        position=pages[-1].position,
        odd=tuple(odd),
        origin=pages[-1].name or entity.name,
        is_last=is_last,
    )
    return Read(batch, ended, places)


def with_nulls(read: Read, entity: Entity, missing: frozenset[str]) -> Read:
    """With the columns that the source has no more, all null."""
    if not missing:
        return read
    import polars as pl

    added = [pl.lit(None, dtype_of(entity.fields[name].type)).alias(name) for name in missing]
    frame = read.batch.frame.with_columns(added).select(list(entity.fields))
    return msgspec.structs.replace(read, batch=msgspec.structs.replace(read.batch, frame=frame))


def _is_wanted(record: dict[str, Any], entity: Entity, request: BulkRead) -> bool:
    """A reader of pages knows no ``since``; a value that cannot be compared is left to the contract."""
    if not request.cursor or request.since is None:
        return True
    value = cursor_value(record.get(request.cursor), entity.fields[request.cursor])
    return value is None or bool(value >= request.since)


def cursor_value(raw: Any, field: Field) -> Any:
    """As the field's type has it; None when it is not."""
    wanted: Any = {DateTime: dt.datetime, Date: dt.date}.get(type(field.type), int)
    try:
        value = msgspec.convert(raw, wanted)
    except msgspec.ValidationError:
        return None
    return None if isinstance(value, dt.datetime) and value.tzinfo is None else value
