"""A PostgreSQL table as parts that other processes read, all in one snapshot.

A part begins behind a row and ends with one whose number is a multiple of ``part_rows_of``. The numbers are counted from the
table's first row, also by a read that is taken up in the middle, so chunks are those of a single connection on every attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from accord.connectors.sql.bulk_postgresql import Copy
from accord.connectors.sql.bulk_rows import batches, read_position
from accord.connectors.sql.database import Database, as_sqlalchemy, make_engine, read_url
from accord.connectors.sql.errors import outcome_of
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, Plan, plan_of
from accord.record import Entity, Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

PART_ROWS = 200_000  # as of a Parquet file: seconds of work for one core
_SNAPSHOT_GONE = "the moment that all parts of the table are read at is gone: the connection that held it was cut off"


class TablePart(msgspec.Struct, frozen=True):
    """Rows behind ``request.position`` up to and with the one whose order is ``until`` (texts; None: to the end). ``settings`` hold
    the whole address, with its password. ``snapshot``: '' where the source shares none, and the part is everything."""

    entity: Entity
    settings: SqlSettings
    request: BulkRead
    snapshot: str = ""
    until: tuple[str, ...] | None = None
    ended: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the address."""
        return f"TablePart({self.entity.name}, {self.request.position}, {self.until})"

    def batches(self, notes: dict[str, str]) -> Iterator[Batch]:
        engine = make_engine(read_url(self.settings, Path()), self.settings)
        try:
            with _failures(), engine.connect() as connection:
                plan = plan_of(connection, self.entity, ZoneInfo(self.settings.zone))
                connection.rollback()
                yield from self._read(connection.execution_options(isolation_level="REPEATABLE READ"), plan)
        finally:
            engine.dispose()

    def _read(self, connection: sa.Connection, plan: Plan) -> Iterator[Batch]:
        if not self.snapshot:
            yield from batches(connection, plan, self.request)
            return
        _take(connection, self.snapshot)
        copy = Copy(connection, plan, self.request, self.settings.zone)
        if not copy.is_columnar():
            yield from batches(connection, plan, self.request)
            return
        number = read_position(self.request.position)[1]
        condition = None
        if self.until is not None:
            columns = [plan.columns.column(name) for name in copy.order]
            condition = sa.tuple_(*columns) <= sa.tuple_(*map(copy.literal, self.until))
        with as_sqlalchemy(connection, "COPY"):
            for block in copy.blocks(condition):
                yield copy.batch(block, number)
                number += block.rows


@contextlib.asynccontextmanager
async def table_parts(
    database: Database,
    plan_with: Callable[[sa.Connection], Plan],
    entity: Entity,
    request: BulkRead,
    settings: SqlSettings,
    url: sa.URL,
) -> AsyncGenerator[Sequence[TablePart], None]:
    """All parts; they can be read until the end of the context, whose connection holds their snapshot. Raises ReadFailed."""
    address = url.render_as_string(hide_password=False)
    sent = msgspec.structs.replace(settings, url=address, password=None, operations={})
    whole = TablePart(entity, sent, request)
    with contextlib.ExitStack() as stack:
        try:
            found = await asyncio.to_thread(_divided, stack, database, plan_with, whole)
            yield found
        finally:
            await asyncio.to_thread(stack.close)


def _divided(
    stack: contextlib.ExitStack, database: Database, plan_with: Callable[[sa.Connection], Plan], whole: TablePart
) -> list[TablePart]:
    with _failures():
        connection = stack.enter_context(database.engine.connect())
        if connection.dialect.name != "postgresql":
            return [whole]
        plan = plan_with(connection)
        connection.rollback()
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        connection.detach()  # it is held for as long as the cluster reads; the pool's are for others
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        snapshot = str(connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
        copy = Copy(connection, plan, whole.request, whole.settings.zone)
        edges = _edges(copy) if copy.is_columnar() else []
    found = [msgspec.structs.replace(whole, snapshot=snapshot)]
    for row, key in edges:
        before, position = found.pop(), {"after": list(key), "row": row}
        request = msgspec.structs.replace(whole.request, position=position)
        found += [msgspec.structs.replace(before, until=key), msgspec.structs.replace(before, request=request)]
    return found


def part_rows_of(request: BulkRead) -> int:
    """Whole chunks."""
    return request.rows * max(1, PART_ROWS // request.rows)


def _edges(copy: Copy) -> list[tuple[int, tuple[str, ...]]]:
    """Number and order (texts) of the last row of each part but the very last. None where the order may be null: such a table is one
    part."""
    columns = [copy.plan.columns.column(name) for name in copy.order]
    if not isinstance(copy.plan.columns.table, sa.Table) or any(column.nullable for column in columns):
        return []
    after, begun = read_position(copy.request.position)
    texts = [sa.cast(column, sa.Text).label(f"k{at}") for at, column in enumerate(columns)]
    number = (sa.func.row_number().over(order_by=columns) + begun).label("number")
    following = sa.func.lead(1).over(order_by=columns).label("following")
    counted = sa.select(number, following, *texts).select_from(copy.plan.columns.table)
    if after is not None:
        counted = counted.where(sa.tuple_(*columns) > sa.tuple_(*map(copy.literal, after)))
    rows = counted.subquery("counted")
    keys = [rows.c[text.name] for text in texts]
    is_edge = sa.and_(rows.c.number % part_rows_of(copy.request) == 0, rows.c.following.is_not(None))
    copy.connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    copy.connection.exec_driver_sql("SET LOCAL datestyle = 'ISO'")
    found = copy.connection.execute(sa.select(rows.c.number, *keys).where(is_edge).order_by(rows.c.number))
    return [(int(row), tuple(key)) for row, *key in found]


def _take(connection: sa.Connection, snapshot: str) -> None:
    try:
        connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise ReadFailed(Retry(_SNAPSHOT_GONE)) from error


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except Misfit as misfit:
        raise ReadFailed(misfit.reject) from None
    except sa.exc.SQLAlchemyError as error:
        raise ReadFailed(outcome_of(error)) from None
