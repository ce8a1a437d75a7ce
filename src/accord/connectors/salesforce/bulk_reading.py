"""Reading in bulk: by a query job of Bulk API 2.0 where that pays, else by queries, page by page.

Position: ``{"way": "job" | "pages", "job": id, "locator": text, "after": [values], "row": n, "ended": no}``. The job belongs to the
position, and is told before it has anything to give, so a reader that was killed goes on with the same job, whose sets of rows never
change.
When the job is gone (seven days after its end), or has failed, a new one is made for what comes behind ``after``: the cursor and id of
the last row read. That is why rows are ordered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from accord.connectors.salesforce import soql
from accord.connectors.salesforce.api import Api, Stopped
from accord.connectors.salesforce.job_columns import has_columns, parents, read_table, record_of, typed
from accord.connectors.salesforce.jobs import Jobs, Kind, ResultSet, poll_s
from accord.connectors.salesforce.reading import object_of
from accord.connectors.salesforce.settings import BULK_RECORDS_MIN, BulkUse, SalesforceEntity, SalesforceSettings
from accord.connectors.salesforce.values import read_record
from accord.record import Entity, Reject, Retry
from accord.record import types as t
from accord.record.batch import Batch, OddRow
from accord.sdk.bulk import BulkRead
from accord.sdk.changes import parse_cursor
from accord.sdk.connector import ReadFailed
from accord.sdk.frames import Framer

if TYPE_CHECKING:
    import polars as pl

ID = "Id"


class Place(msgspec.Struct):
    """Where reading stands."""

    way: str = ""
    job: str = ""
    locator: str = ""
    after: list[Any] | None = None
    row: int = 0
    ended: bool = False


class BulkReader:
    def __init__(self, api: Api, settings: SalesforceSettings, entity: Entity, request: BulkRead) -> None:
        self._api, self._jobs = api, Jobs(api)
        self._entity, self._request = entity, request
        self._page_size = settings.page_size
        self._extra = entity.extra if isinstance(entity.extra, SalesforceEntity) else SalesforceEntity()
        self._fields = request.fields_of(entity)
        self._order = [request.cursor, ID] if request.cursor not in ("", ID) else [ID]
        self._names = list(dict.fromkeys([*soql.columns(self._fields), *parents(self._fields), *self._order]))
        self._framer = Framer(self._fields, as_written=request.as_written)
        self._with_deleted = "IsDeleted" in entity.fields
        self.place = msgspec.convert(request.position or {}, Place)

    async def batches(self) -> AsyncIterator[Batch]:
        """Raises ReadFailed."""
        try:
            if self.place.ended:
                yield self._batch([], is_last=True)
                return
            if not self.place.way:
                self.place.way = await self._way()
            async for batch in self._by_job() if self.place.way == "job" else self._by_pages():
                yield batch
        except Stopped as stopped:
            raise ReadFailed(stopped.outcome) from stopped
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ReadFailed(Retry(f"the org's answer lacks what was asked for ({type(error).__name__})")) from error

    async def _way(self) -> str:
        if self._extra.bulk is not BulkUse.AUTO:
            return "job" if self._extra.bulk is BulkUse.ALWAYS else "pages"
        if not has_columns(self._fields):
            return "pages"
        query = self._query(["COUNT()"])
        told = await self._api.ask("GET", "/queryAll" if self._with_deleted else "/query", query={"q": query})
        return "job" if told["totalSize"] > BULK_RECORDS_MIN else "pages"

    # by a job

    async def _by_job(self) -> AsyncIterator[Batch]:
        if self.place.job and await self._is_lost():
            self.place.job = ""
        asked = 0
        if not self.place.job:
            query = self._query(self._names, f"ORDER BY {', '.join(f'{name} ASC' for name in self._order)}")
            self.place.job = await self._jobs.query(query, with_deleted=self._with_deleted)
            self.place.locator = ""
            yield self._waiting(asked)
        while not await self._is_ready():
            asked += 1
            yield self._waiting(asked)
        while not self.place.ended:
            yield await self._set()

    async def _is_lost(self) -> bool:
        state = await self._jobs.state(Kind.QUERY, self.place.job)
        return state is None or state.has_failed

    async def _is_ready(self) -> bool:
        state = await self._jobs.state(Kind.QUERY, self.place.job)
        if state is None:
            raise Stopped(Retry(f"query job {self.place.job} is gone"))
        if state.state == "Aborted":
            raise Stopped(Reject(f"query job {self.place.job} was aborted in Salesforce", code="connector.job-aborted"))
        if state.has_failed:
            raise Stopped(Retry(f"query job {self.place.job} failed: {state.error}"))
        return state.is_done

    async def _set(self) -> Batch:
        """The next of what the job found."""
        found = await self._jobs.results(self.place.job, self.place.locator, self._request.rows)
        if found is None:
            raise Stopped(Retry(f"query job {self.place.job} is gone"))
        return await asyncio.to_thread(self._read_set, found)

    def _read_set(self, found: ResultSet) -> Batch:
        table = read_table(found.csv, self._names)
        if table.height != found.rows:
            raise Stopped(Retry(f"{table.height} rows came of {found.rows} that job {self.place.job} announced"))
        if table.height:
            self.place.after = list(table.select(self._order).row(-1))
        self.place.locator = found.following
        self.place.ended = not found.following
        return self._typed(table)

    def _typed(self, table: pl.DataFrame) -> Batch:
        import polars as pl

        frame, wrong = typed(table, self._fields, self._request.as_written)
        first = self.place.row + 1
        self.place.row += table.height
        numbers = pl.int_range(first, first + table.height, dtype=pl.Int64, eager=True).alias("numbers")
        odd: tuple[OddRow, ...] = ()
        if wrong.any():
            rows = table.filter(wrong).iter_rows(named=True)
            odd = tuple(map(OddRow, numbers.filter(wrong), (record_of(row, self._fields) for row in rows)))
            frame, numbers = frame.filter(~wrong), numbers.filter(~wrong)
        return Batch(
            frame=frame,
            position=msgspec.to_builtins(self.place),
            numbers=numbers,
            odd=odd,
            origin=self._entity.short_name,
            is_last=self.place.ended,
        )

    def _waiting(self, asked: int) -> Batch:
        empty, _ = self._framer.frame([])
        return Batch(frame=empty, position=msgspec.to_builtins(self.place), after_s=poll_s(asked))

    # by pages

    async def _by_pages(self) -> AsyncIterator[Batch]:
        gathered: list[Any] = []
        size = min(self._page_size, self._request.rows)
        after = self.place.after
        while True:
            tail = f"ORDER BY {', '.join(f'{name} ASC' for name in self._order)} LIMIT {size}"
            query = self._query(self._names, tail, after)
            rows, _ = await self._api.query(query, with_deleted=self._with_deleted, records_max=size)
            if gathered and len(gathered) + len(rows) > self._request.rows:
                yield self._batch(gathered, is_last=False)
                gathered = []
            gathered += rows
            if len(rows) < size:
                self.place.ended = True
                yield self._batch(gathered, is_last=True)
                return
            after = [rows[-1][name] for name in self._order]

    def _batch(self, rows: list[Any], *, is_last: bool) -> Batch:
        if rows:
            self.place.after = [rows[-1][name] for name in self._order]
        records = [read_record(row, self._fields) for row in rows]
        first = self.place.row + 1
        self.place.row += len(rows)
        frame, numbers, odd = self._framer.split(records, range(first, first + len(rows)), {})
        return Batch(
            frame=frame,
            position=msgspec.to_builtins(self.place),
            numbers=numbers,
            odd=odd,
            origin=self._entity.short_name,
            is_last=is_last,
        )

    # the query

    def _query(self, names: list[str], tail: str = "", after: list[Any] | None = None) -> str:
        request, cursor = self._request, self._request.cursor
        conditions = [self._extra.where]
        if cursor and request.since is not None:
            conditions.append(f"{cursor} >= {soql.literal(request.since)}")
        if cursor and request.until is not None:
            conditions.append(f"{cursor} < {soql.literal(request.until)}")
        behind = after if after is not None else self.place.after
        if behind is not None:
            conditions.append(self._behind(behind))
        return soql.select(names, object_of(self._entity), conditions, tail)

    def _behind(self, after: list[Any]) -> str:
        """Records behind these values of the order, of which null is the least."""
        last = f"{ID} > {soql.literal(after[-1])}"
        if len(after) == 1:
            return last
        cursor = self._order[0]
        if after[0] is None:
            return f"({cursor} = null AND {last}) OR {cursor} != null"
        value = self._literal(after[0], self._entity.fields[cursor].type)
        return f"{cursor} > {value} OR ({cursor} = {value} AND {last})"

    def _literal(self, value: Any, type_: t.Type) -> str:
        if isinstance(type_, t.DateTime):
            return soql.literal(parse_cursor(value, "iso"))
        return soql.literal(value) if isinstance(type_, t.String | t.Enum) else str(value)
