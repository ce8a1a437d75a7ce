"""Reading orders, customers and products by bulk operations where that pays, else page by page.

Position: ``{"way": "operation" | "pages", "operation": id, "bytes": n, "row": n, "last": time, "same": [ids], "sorted": yes, "page":
position, "ended": no}``. The operation belongs to the position, so a reader that was killed goes on with the same one, behind the
``bytes`` of its result that are done. When its result has expired or it has failed, another one reads what changed at or after
``last``, the change time of the last record, less those records of just that time that were given. Partial results of a failed
operation are not used: what is missing from them would be taken for deleted.

Children come directly behind their parent (``groupObjects``), so one record at a time is put together, however large the result.
Source: shopify.dev, "Perform bulk operations with the GraphQL Admin API"; the schema of 2026-10 (states, error codes).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from accord.connectors.shopify.admin import Admin, Stopped
from accord.connectors.shopify.bulk_query import bulk_query
from accord.connectors.shopify.reading import LISTINGS, Reader
from accord.connectors.shopify.settings import BULK_RECORDS_MIN, ShopifySettings
from accord.record import Entity, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.changes import format_cursor, parse_cursor
from accord.sdk.connector import ReadFailed
from accord.sdk.frames import Framer
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, decode_json
from accord.sdk.polling import POLL_FIRST_S, poll_s

CURSOR = "updated_at"
POLL_S_MAX = 20.0
IN_PROGRESS_S = 10.0  # an app has few operations at a time: another's is waited for
LINE_BYTES_MAX = 16 * 1024 * 1024  # one node; Shopify's are far smaller
SAME_MAX = 10_000  # records of one instant that are told apart: some 300 KB of journal
BUSY = ("OPERATION_IN_PROGRESS", "LIMIT_REACHED")


class Place(msgspec.Struct):
    """Where reading stands."""

    way: str = ""
    operation: str = ""
    bytes: int = 0
    row: int = 0
    last: str = ""
    same: list[str] = []
    sorted: bool = True
    page: Any = None
    ended: bool = False


class BulkReader:
    def __init__(
        self,
        admin: Admin,
        http: HttpClient,
        reader: Reader,
        settings: ShopifySettings,
        entity: Entity,
        request: BulkRead,
    ) -> None:
        self._admin, self._http, self._reader = admin, http, reader
        self._settings, self._entity, self._request = settings, entity, request
        self._name = entity.short_name
        self._listing = LISTINGS[self._name]
        self._framer = Framer(request.fields_of(entity), as_written=request.as_written)
        self._told: dict[str, Any] = {}
        self._place = msgspec.convert(request.position or {}, Place)

    async def batches(self) -> AsyncIterator[Batch]:
        """Raises ReadFailed."""
        if self._request.cursor not in ("", CURSOR):
            reason = f"a shop tells of changes by `{CURSOR}` only, not by '{self._request.cursor}'"
            raise ReadFailed(Reject(reason, self._request.cursor, "connector.no-cursor"))
        try:
            if self._place.ended:
                yield self._batch([], is_last=True)
                return
            if not self._place.way:
                self._place.way = await self._way()
            async for batch in self._by_operation() if self._place.way == "operation" else self._by_pages():
                yield batch
        except Stopped as stopped:
            raise ReadFailed(stopped.outcome) from stopped
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReadFailed(Retry(f"the shop's answer lacks what was asked for ({type(error).__name__})")) from error

    async def _way(self) -> str:
        if self._settings.bulk == "always":
            return "operation"
        told = await self._admin.run(f"{self._name}_count", {"query": self._search()})
        return "operation" if told[f"{self._name}Count"]["count"] > BULK_RECORDS_MIN else "pages"

    def _search(self) -> str | None:
        request, terms = self._request, list[str]()
        if self._place.last:
            terms.append(f"{CURSOR}:>='{self._place.last}'")
        elif request.since is not None:
            terms.append(f"{CURSOR}:>='{format_cursor(request.since, 'iso')}'")
        if request.until is not None:
            terms.append(f"{CURSOR}:<'{format_cursor(request.until, 'iso')}'")
        return " AND ".join(terms) or None

    # by pages

    async def _by_pages(self) -> AsyncIterator[Batch]:
        """The listing is asked from ``since`` on by what an incremental reading keeps."""
        place, gathered = self._place, list[dict[str, Any]]()
        if place.page is None and self._request.since is not None:
            place.page = {"since": format_cursor(self._request.since, "iso"), "seen": {}}
        given = msgspec.to_builtins(place)
        while not place.ended:
            try:
                async for page in self._reader.read(self._name, place.page):
                    if gathered and len(gathered) + len(page.records) > self._request.rows:
                        batch = self._batch(gathered, is_last=False)
                        given, gathered = batch.position, []
                        yield batch
                    gathered += [one for one in page.records if self._is_asked_for(one)]
                    place.page = page.position
                place.ended = True
            except ReadFailed as failed:
                if not isinstance(failed.outcome, Retry) or not failed.outcome.throttled:
                    raise
                yield self._waiting(max(failed.outcome.after_s or 0.0, POLL_FIRST_S), given)
        yield self._batch(gathered, is_last=True)

    def _is_asked_for(self, record: dict[str, Any]) -> bool:
        """The listing looks back further, and knows no end."""
        at, request = parse_cursor(record[CURSOR], "iso"), self._request
        return (request.since is None or at >= request.since) and (request.until is None or at < request.until)

    # by an operation

    async def _by_operation(self) -> AsyncIterator[Batch]:
        place = self._place
        if place.operation and (await self._state()) in ("", "FAILED", "CANCELED", "EXPIRED"):
            if not place.sorted:
                reason = "the result of the bulk operation is gone, and it was in no order that could be gone on with"
                raise Stopped(
                    Reject(f"{reason}: begin again with `accord bulk run --fresh`", code="connector.job-gone")
                )
            place.operation, place.bytes = "", 0
        asked = 0
        while not place.operation:
            place.operation = await self._run() or ""
            yield self._waiting(IN_PROGRESS_S if not place.operation else POLL_FIRST_S)
        while (status := await self._state()) != "COMPLETED":
            if status in ("CANCELED", "CANCELING"):
                reason = f"bulk operation {place.operation} was canceled in the shop"
                raise Stopped(Reject(reason, code="connector.job-aborted"))
            if status not in ("CREATED", "RUNNING"):
                raise Stopped(self._failed(status))
            asked += 1
            yield self._waiting(poll_s(asked, POLL_S_MAX))
        async for batch in self._result():
            yield batch

    async def _run(self) -> str | None:
        """The id of a new operation; None while another one runs."""
        variables = {"query": bulk_query(self._name, self._search()), "groupObjects": self._listing.parts is not None}
        try:
            made = await self._admin.mutate("bulk_operation_run_query", variables)
        except Stopped as stopped:
            if stopped.user_code in BUSY:
                return None
            raise
        return str(made["bulkOperation"]["id"])

    async def _state(self) -> str:
        """'' when there is no such operation."""
        self._told = (await self._admin.run("bulk_operation", {"id": self._place.operation}))["bulkOperation"] or {}
        return str(self._told.get("status", ""))

    def _failed(self, status: str) -> Retry | Reject:
        code = self._told.get("errorCode") or status or "it is gone"
        reason = f"bulk operation {self._place.operation} failed: {code}"
        if code == "ACCESS_DENIED":
            return Reject(f"{reason}; the access token lacks a scope", code="connector.forbidden")
        return Retry(reason)

    async def _result(self) -> AsyncIterator[Batch]:
        place, nodes = self._place, list[Any]()
        url = self._told["url"]
        if url:
            async for node, end in self._nodes(url):
                if len(nodes) == self._request.rows:
                    yield await self._translated(nodes, is_last=False)
                    nodes = []
                nodes.append(node)
                place.bytes = end
        place.ended = True
        yield await self._translated(nodes, is_last=True)

    async def _nodes(self, url: str) -> AsyncIterator[tuple[dict[str, Any], int]]:
        """Whole records behind the bytes that are done, each with where it ends."""
        field = self._listing.parts[1] if self._listing.parts else ""
        node: dict[str, Any] | None = None
        at = 0
        async for line in self._lines(url):
            start, at = at, at + len(line)
            if at <= self._place.bytes and node is None:
                continue
            one = decode_json(line)
            parent = one.pop("__parentId", None)
            if parent is None:
                if node is not None:
                    yield node, start
                node = {**one, field: {"nodes": []}} if field else one
            elif node is None or parent != node["id"]:
                raise Stopped(Retry("a line of the result belongs to no record before it"))
            else:
                node[field]["nodes"].append(one)
        if node is not None:
            yield node, at

    async def _lines(self, url: str) -> AsyncIterator[bytes]:
        rest = b""
        try:
            async for block in self._http.stream(HttpRequest(method="GET", url=url)):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line + b"\n"
                if len(rest) > LINE_BYTES_MAX:
                    raise Stopped(Reject("a line of the result is too long", code="connector.answer-too-large"))
        except HttpFailed as failed:
            raise Stopped(
                Retry(f"the result of {self._place.operation} could not be fetched: {failed.what}")
            ) from failed
        if rest:
            raise Stopped(Retry("the result broke off in the middle of a line"))

    async def _translated(self, nodes: list[Any], *, is_last: bool) -> Batch:
        fresh = self._fresh(nodes)
        return await asyncio.to_thread(
            lambda: self._batch([self._listing.translate(n) for n in fresh], is_last=is_last)
        )

    def _fresh(self, nodes: list[Any]) -> list[Any]:
        """Without those of an earlier operation; remembers the last."""
        place, found = self._place, []
        for node in nodes:
            when, id_ = node["updatedAt"], node["id"]
            if when == place.last and id_ in place.same:
                continue
            found.append(node)
            place.sorted = place.sorted and when >= place.last and len(place.same) < SAME_MAX
            if when != place.last:
                place.same = []
            place.same.append(id_)
            place.last = max(when, place.last)
        return found

    # batches

    def _waiting(self, after_s: float, position: Any = None) -> Batch:
        empty, _ = self._framer.frame([])
        return Batch(frame=empty, position=position or msgspec.to_builtins(self._place), after_s=after_s)

    def _batch(self, records: list[dict[str, Any]], *, is_last: bool) -> Batch:
        first = self._place.row + 1
        self._place.row += len(records)
        frame, numbers, odd = self._framer.split(records, range(first, first + len(records)), {})
        return Batch(
            frame=frame,
            position=msgspec.to_builtins(self._place),
            numbers=numbers,
            odd=odd,
            origin=self._name,
            is_last=is_last,
        )
