"""Reading an API in batches: several pages on their way at once where pages are counted, one ahead where each names the next.

Position: ``{"page": state, "row": n, "ended": no}``, the page the next batch begins with. A batch is as many whole pages as
``rows`` allows, so the same position gives the same batch as long as the API gives the same pages. Records are decoded once,
typed; what does not decode so is an odd row with the record a page would have held.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from accord.connectors.http.reading import Reader
from accord.connectors.http.settings import HttpSettings
from accord.record import Entity, Reject
from accord.record.batch import Batch, OddRow
from accord.sdk.bulk import BulkRead
from accord.sdk.changes import format_cursor
from accord.sdk.connector import ReadFailed
from accord.sdk.frames import Framer
from accord.sdk.http import HttpResponse, decode_json
from accord.sdk.json_frames import JsonFramer
from accord.sdk.paging import PAGES_MAX, OffsetPaging, PagePaging, State, follow

PAGES_AT_ONCE = 8  # requests on their way; fewer where the system's `concurrent` is lower


class Fetched(NamedTuple):
    """A page: its records as JSON, its state, and that of the one after it."""

    raws: list[msgspec.Raw]
    state: State | None
    following: State | None


class Pace:
    """Starts requests no faster than the system's declared rate."""

    def __init__(self, settings: HttpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        limit = settings.rate_limit
        self.interval_s = limit.per.total_seconds() / limit.requests if limit.requests else 0.0
        self.at_once = min(PAGES_AT_ONCE, limit.concurrent)
        self._clock = clock
        self._next = 0.0

    async def wait(self) -> None:
        if self.interval_s:
            now = self._clock()
            self._next = max(self._next, now)
            wait_s, self._next = self._next - now, self._next + self.interval_s
            if wait_s > 0:
                await asyncio.sleep(wait_s)


class BulkReader:
    def __init__(self, reader: Reader, entity: Entity, request: BulkRead, settings: HttpSettings) -> None:
        self.reader, self.request = reader, request
        self.pace = Pace(settings)
        fields = request.fields_of(entity)
        self.framer = JsonFramer(fields, as_written=request.as_written)
        self.by_rows = Framer(fields, as_written=request.as_written)
        self.asked = self._asked()
        self._list = _list_decoder(reader.extra.list)

    def _asked(self) -> dict[str, str]:
        read, request = self.reader.extra.read, self.request
        if request.since is None:
            return self.reader.since(read, None) if read is not None else {}
        if read is None or read.cursor != request.cursor:
            reason = (
                f"the API is told of no way to ask for records since a '{request.cursor}': declare `read` of the entity"
            )
            raise ReadFailed(Reject(reason, code="connector.no-cursor"))
        return self.reader.since(read, format_cursor(request.since, read.format))

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches, made ahead of who works on them."""
        given = self.request.position if isinstance(self.request.position, dict) else {}
        row, raws = int(given.get("row", 0)), list[msgspec.Raw]()
        if given.get("ended"):
            yield self._batch(raws, row, None, True)
            return
        pages = self._pages(given.get("page"))
        try:
            async for page in pages:
                if raws and len(raws) + len(page.raws) > self.request.rows:
                    yield await asyncio.to_thread(self._batch, raws, row, page.state, False)
                    row, raws = row + len(raws), []
                raws.extend(page.raws)
            yield await asyncio.to_thread(self._batch, raws, row, None, True)
        finally:
            await pages.aclose()

    def _pages(self, state: State | None) -> AsyncGenerator[Fetched, None]:
        paging = self.reader.paging
        if isinstance(paging, PagePaging | OffsetPaging):
            return self._counted(paging, state)
        return self._chained(state)

    async def _counted(self, paging: PagePaging | OffsetPaging, state: State | None) -> AsyncGenerator[Fetched, None]:
        """The next pages' numbers are known: they are asked for before this one has come."""
        under_way: deque[asyncio.Task[Fetched]] = deque()
        ask = state
        try:
            for _ in range(PAGES_MAX):
                while len(under_way) < self.pace.at_once:
                    under_way.append(asyncio.create_task(self._fetch(ask)))
                    ask = _step(paging, ask)
                page = await under_way.popleft()
                yield page
                if page.following is None:
                    return
                if under_way and page.following != _step(paging, page.state):
                    raise ReadFailed(
                        Reject("the API gave a page of another size than `size`", code="connector.page-size")
                    )
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _chained(self, state: State | None) -> AsyncGenerator[Fetched, None]:
        """A page names the next, which is under way while this one is worked on."""
        ahead: asyncio.Task[Fetched] | None = asyncio.create_task(self._fetch(state))
        try:
            for _ in range(PAGES_MAX):
                if ahead is None:
                    return
                page = await ahead
                ahead = None if page.following is None else asyncio.create_task(self._fetch(page.following))
                yield page
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _fetch(self, state: State | None) -> Fetched:
        await self.pace.wait()
        response, url = await self.reader.ask(state, self.asked)
        raws, body = self._records(response)
        following = follow(self.reader.paging, state, response, body, len(raws), url)
        if following is not None and following == state:
            raise ReadFailed(Reject("the API names the same next page again and again", code="connector.paging-loop"))
        return Fetched(raws, state, following)

    def _records(self, response: HttpResponse) -> tuple[list[msgspec.Raw], Any]:
        """The records, and the rest of the body for what says where the next page is."""
        try:
            body = self._list(response.body)
            if self.reader.reads_body:
                rest = self.reader.decoded(response)
                return (body if body is not None else self._raws(rest)), rest
            if body is not None:
                return body, None
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        rest = self.reader.decoded(response)
        return self._raws(rest), rest

    def _raws(self, body: Any) -> list[msgspec.Raw]:
        return [msgspec.Raw(msgspec.json.encode(record)) for record in self.reader.records(body)]

    def _batch(self, raws: Sequence[msgspec.Raw], row: int, state: State | None, is_last: bool) -> Batch:
        import polars as pl

        frame, odd_rows = self.framer.rows([bytes(raw) for raw in raws])
        numbers = pl.int_range(row + 1, row + 1 + len(raws), dtype=pl.Int64, eager=True).alias("numbers")
        odd = tuple(OddRow(row + 1 + index, self._record(raws[index])) for index in odd_rows)
        if odd_rows:
            at = pl.int_range(len(raws), dtype=pl.Int64, eager=True)
            numbers = numbers.filter(~at.is_in(pl.Series(odd_rows, dtype=pl.Int64).implode()))
        return Batch(
            frame=frame,
            position={"page": state, "row": row + len(raws), "ended": is_last},
            numbers=numbers,
            odd=odd,
            origin=self.reader.entity.short_name,
            is_last=is_last,
        )

    def _record(self, raw: msgspec.Raw) -> dict[str, Any]:
        record = decode_json(bytes(raw))
        if not isinstance(record, dict):
            raise ReadFailed(Reject(self.reader.no_list(), code="connector.no-list"))
        return record


def _step(paging: PagePaging | OffsetPaging, state: State | None) -> State:
    """The state of the page after this one, when it is full."""
    if isinstance(paging, PagePaging):
        return {"page": (state["page"] if state else paging.first) + 1}
    return {"offset": (state["offset"] if state else 0) + paging.size}


def _list_decoder(path: str) -> Callable[[bytes], list[msgspec.Raw] | None]:
    """Takes the records out of a body without decoding them; None when they are not where they should be."""
    shape: Any = list[msgspec.Raw]
    parts = path.split(".") if path else []
    for part in reversed(parts):
        shape = msgspec.defstruct("Body", [("at", shape | None, None)], rename={"at": part})
    decoder = msgspec.json.Decoder(shape)

    def read(body: bytes) -> list[msgspec.Raw] | None:
        body.decode()
        found: Any = decoder.decode(body)
        for _ in parts:
            found = found.at if found is not None else None
        return found if isinstance(found, list) else None

    return read
