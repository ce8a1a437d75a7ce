"""A live connection to one DuckDB file: records one by one or few at a time, and whole loads."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from accord.connectors.duckdb.errors import outcome_of
from accord.connectors.duckdb.load import DuckdbLoad
from accord.connectors.duckdb.spec import EFFECTS, DuckdbSettings
from accord.connectors.duckdb.store import File, Session
from accord.connectors.duckdb.table import Table, quote
from accord.record import Done, Entity, Outcome, Partial, Reject
from accord.record import types as t
from accord.record.batch import Batch
from accord.record.columns import schema_of
from accord.sdk.bulk import BulkRead, LoadSpec
from accord.sdk.connector import Connection, Context, Page, ReadFailed, WriteItem, WriteMode
from accord.sdk.http import decode_json, encode_json

if TYPE_CHECKING:
    import polars

PAGE_ROWS = 1000


class DuckdbConnection(Connection):
    def __init__(self, settings: DuckdbSettings, context: Context) -> None:
        self._settings = settings
        self._file = File(context.folder / settings.file, settings)

    async def open(self) -> None:
        await self._file.run(lambda session: session.run("SELECT 1"))

    async def close(self) -> None:
        await self._file.end()

    async def check(self) -> Outcome:
        try:
            await self._file.run(lambda session: session.run("SELECT 1"))
        except Exception as error:  # noqa: BLE001 (every error of DuckDB is translated in errors.py)
            return outcome_of(error)
        return Done()

    def load(self, entity: Entity, spec: LoadSpec) -> DuckdbLoad:
        """See ``accord.sdk.bulk.BulkTarget``."""
        return DuckdbLoad(self._file, entity, spec, kept=self._settings.kept, may_create=self._settings.create)

    # reading

    async def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """In the order rows were stored; ``position`` is the row id reached. With ``cursor``, by cursor and key. No value has another form
        than its column's (``as_written``), see ``_plain``."""
        table = Table(entity, tuple(request.fields or ()))
        ordered = ", ".join(quote(name) for name in (request.cursor, *entity.key)) if request.cursor else "rowid"
        reached = int(request.position or 0)
        first = reached + 1
        is_last = False
        while not is_last:
            start = reached
            where = self._bounds(request)
            query = f"SELECT {table.columns} FROM {table.name} {where} ORDER BY {ordered} LIMIT {request.rows} OFFSET {start}"
            frame = await self._frame(query, table)
            reached += len(frame)
            is_last = len(frame) < request.rows
            yield Batch(
                frame=frame, position=reached, first_number=first, origin=f"table {table.name}", is_last=is_last
            )
            first += len(frame)

    def _bounds(self, request: BulkRead) -> str:
        if not request.cursor:
            return ""
        both = ((">=", request.since), ("<", request.until))
        bounds = [f"{quote(request.cursor)} {sign} {_literal(value)}" for sign, value in both if value is not None]
        return f"WHERE {' AND '.join(bounds)}" if bounds else ""

    async def _frame(self, query: str, table: Table) -> polars.DataFrame:
        schema = {name: dtype for name, dtype in schema_of(table.entity.fields).items() if name in table.fields}
        try:
            frame = await self._file.run(lambda session: session.frame(query))
        except Exception as error:
            raise ReadFailed(outcome_of(error)) from error
        return frame.cast(schema)  # type: ignore[arg-type]

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        async for batch in self.read_bulk(entity, BulkRead(rows=PAGE_ROWS)):
            if len(batch.frame):
                yield Page([_plain(record, entity) for record in batch.frame.iter_rows(named=True)], batch.position)

    async def get(self, entity: Entity, key: str) -> Outcome:
        table = Table(entity)
        (name,) = entity.key
        query = (
            f"SELECT {table.columns} FROM {table.name} WHERE CAST({quote(name)} AS VARCHAR) = {_literal(key)} LIMIT 1"
        )
        try:
            frame = await self._frame(query, table)
        except ReadFailed as failed:
            return failed.outcome
        if frame.is_empty():
            return Reject("there is no row with this key", name, "connector.duckdb-no-row")
        return Done(_plain(frame.row(0, named=True), entity))

    # writing a few

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        """All in one transaction with their effect ids; if one does not fit, each in one of its own."""
        outcome = await self._attempt(lambda session: self._put(session, entity, mode, items))
        if len(items) == 1 or not isinstance(outcome, Reject):
            return outcome
        alone = [await self._attempt(lambda s, one=item: self._put(s, entity, mode, [one])) for item in items]  # type: ignore[misc]
        return Partial(tuple(alone))  # type: ignore[arg-type]

    async def _attempt(self, work: Callable[[Session], Outcome]) -> Outcome:
        try:
            return await self._file.run(work)
        except Exception as error:  # noqa: BLE001 (every error of DuckDB is translated in errors.py)
            return outcome_of(error)

    def _put(self, session: Session, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        table = Table(entity)
        if self._settings.create:
            for statement in table.create():
                session.run(statement)
        marks = ", ".join("?" * len(items))
        ids = [item.effect_id for item in items]
        with session.transaction():
            known = {id for (id,) in session.run(f"SELECT effect_id FROM {EFFECTS} WHERE effect_id IN ({marks})", ids)}
            fresh = [item for item in items if item.effect_id not in known]
            if fresh:
                self._apply(session, table, mode, [item.record for item in fresh])
                for item in fresh:
                    session.run(f"INSERT INTO {EFFECTS} (effect_id) VALUES (?)", [item.effect_id])
        return Done() if len(items) == 1 else Partial(tuple(Done(was_there=id in known) for id in ids))

    def _apply(self, session: Session, table: Table, mode: WriteMode, records: Sequence[dict[str, Any]]) -> None:
        frame = frame_of(records, table.entity)
        if mode is not WriteMode.CREATE:
            frame = frame.unique(subset=list(table.entity.key), keep="last", maintain_order=True)
        with session.given("accord_fresh", frame):
            if mode is not WriteMode.CREATE:
                session.run(table.delete_of(table.name, "accord_fresh"))
            if mode is not WriteMode.DELETE:
                session.run(table.insert(table.name, "accord_fresh"))


def frame_of(records: Sequence[dict[str, Any]], entity: Entity) -> polars.DataFrame:
    """Typed records in columns; json as its text."""
    import polars as pl

    jsons = [name for name, field in entity.fields.items() if isinstance(field.type, t.Json)]
    rows = [
        {
            name: encode_json(record[name]).decode()
            if name in jsons and record.get(name) is not None
            else record.get(name)
            for name in entity.fields
        }
        for record in records
    ]
    return pl.DataFrame(rows, schema=schema_of(entity.fields))


def _plain(record: dict[str, Any], entity: Entity) -> dict[str, Any]:
    """A row as plain data: instants and dates as ISO 8601 text, json read. Decimals as a column of a batch shows them, without needless
    zeros: how many places there are says the table, of every value the same."""
    made: dict[str, Any] = _shortest(msgspec.to_builtins(record, builtin_types=(decimal.Decimal,)))
    for name, field in entity.fields.items():
        if isinstance(field.type, t.Json) and isinstance(made.get(name), str):
            made[name] = decode_json(made[name].encode())
    return made


def _shortest(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        text = f"{value:f}"  # normalize() would round to 28 digits
        return decimal.Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
    if isinstance(value, dict):
        return {name: _shortest(one) for name, one in value.items()}
    return [_shortest(one) for one in value] if isinstance(value, list) else value


def _literal(value: Any) -> str:
    text = value.isoformat() if isinstance(value, dt.date | dt.datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"
