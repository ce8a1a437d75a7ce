"""PostgreSQL read by several COPYs at once: stretches of the key's order, in one exported snapshot, handed on in that order.

The rows and their order are those of a single COPY, and chunks are cut from the joined stream, so a position means the same whatever the
number of connections. Stretches are small: memory holds a few of them, and every connection has work until the end.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import sqlalchemy as sa

from accord.connectors.sql.bulk_postgresql import Block, Copy, cut, messages
from accord.connectors.sql.bulk_rows import read_position
from accord.connectors.sql.database import as_sqlalchemy

STRETCH_SIZE = (
    8 * 1024 * 1024
)  # bytes of a stretch in the table's pages: long enough for a statement, short enough to be kept
SAMPLED_PAGES = 20  # of each stretch: their keys tell where stretches begin
SAMPLED_PAGES_MAX = 20_000  # of all: 160 MB, seconds even from a slow disk
STRETCHES_MAX = 10_000  # a statement each; above 80 GB stretches are longer
PARCEL_SIZE = 1024 * 1024  # bytes that a thread hands on together
PARCELS_MAX = 16  # of a stretch, kept until its turn; then its connection waits
_PAGE_SIZE = 8192  # bytes; the server's default


class Stretch(NamedTuple):
    """Rows whose first field of the order is at or after ``low`` and below ``high``, as texts; or those in which it is null."""

    low: str | None = None
    high: str | None = None
    is_null: bool = False


class _Stopped(Exception):
    """Nobody wants the rest."""


class Ahead:
    """What several threads have read of the stretches, taken in the stretches' order."""

    def __init__(self, stretches: int, window: int) -> None:
        self._parcels: list[collections.deque[list[bytes]]] = [collections.deque() for _ in range(stretches)]
        self._is_read = [False] * stretches
        self._window = window
        self._begun = self._taken = 0
        self._failed: BaseException | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    def begin(self) -> int | None:
        """The next stretch to read; waits while too many are kept. None: there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over() or self._begun < self._taken + self._window)
            if self._is_over():
                return None
            self._begun += 1
            return self._begun - 1

    def _is_over(self) -> bool:
        return self._is_closed or self._begun == len(self._parcels)

    def put(self, stretch: int, parcel: list[bytes]) -> None:
        kept = self._parcels[stretch]
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(kept) < PARCELS_MAX)
            if self._is_closed:
                raise _Stopped
            kept.append(parcel)
            self._changed.notify_all()

    def end(self, stretch: int) -> None:
        with self._changed:
            self._is_read[stretch] = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = self._failed or error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def parcels(self) -> Iterator[list[bytes]]:
        """All of them. Raises what a thread failed with."""
        for stretch, kept in enumerate(self._parcels):
            while (parcel := self._next(stretch, kept)) is not None:
                yield parcel

    def _next(self, stretch: int, kept: collections.deque[list[bytes]]) -> list[bytes] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._failed is not None or kept or self._is_read[stretch])
            if self._failed is not None:
                raise self._failed
            parcel = kept.popleft() if kept else None
            if parcel is None:
                self._taken = stretch + 1
            self._changed.notify_all()
            return parcel


def partitioned(connection: sa.Connection, copy: Copy) -> Generator[Block, None, None]:
    """As ``Copy.blocks``, by ``request.partitions`` connections. ``connection`` holds the snapshot: REPEATABLE READ."""
    stretches = stretches_of(connection, copy)
    if len(stretches) == 1:
        with as_sqlalchemy(connection, "COPY"):
            yield from copy.blocks()
        return
    statements = [copy.statement(condition(copy, stretch)) for stretch in stretches]
    snapshot = str(connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
    count = copy.request.partitions
    ahead = Ahead(len(stretches), count + 1)
    with ThreadPoolExecutor(count, thread_name_prefix="partition") as threads:
        try:
            for _ in range(count):
                threads.submit(_read, connection.engine, snapshot, statements, ahead)
            yield from cut(itertools.chain.from_iterable(ahead.parcels()), copy.request.rows)
        finally:
            ahead.close()


def _read(engine: sa.Engine, snapshot: str, statements: list[bytes], ahead: Ahead) -> None:
    """On a thread, with a connection beside the pool's, which others need meanwhile."""
    try:
        with engine.connect() as opened:
            connection = opened.execution_options(isolation_level="REPEATABLE READ")
            connection.detach()
            connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            with as_sqlalchemy(connection, "COPY"):
                while (at := ahead.begin()) is not None:
                    with contextlib.closing(messages(connection, statements[at])) as rows:
                        _hand_on(rows, at, ahead)
    except _Stopped:
        return
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the rows are taken
        ahead.fail(error)


def _hand_on(rows: Iterator[bytes], stretch: int, ahead: Ahead) -> None:
    parcel: list[bytes] = []
    size = 0
    for row in rows:
        parcel.append(row)
        size += len(row)
        if size >= PARCEL_SIZE:
            ahead.put(stretch, parcel)
            parcel, size = [], 0
    if parcel:
        ahead.put(stretch, parcel)
    ahead.end(stretch)


def condition(copy: Copy, stretch: Stretch) -> sa.ColumnElement[bool]:
    column = copy.plan.columns.column(copy.order[0])
    if stretch.is_null:
        return column.is_(None)
    found = [] if stretch.low is None else [column >= copy.literal(stretch.low)]
    if stretch.high is not None:
        found.append(column < copy.literal(stretch.high))
    return sa.and_(*found)


def stretches_of(connection: sa.Connection, copy: Copy) -> list[Stretch]:
    """By the keys of sampled pages. A single one: a small table, or what cannot be sampled (a view, a partitioned table)."""
    table, column = copy.plan.columns.table, copy.plan.columns.column(copy.order[0])
    if not isinstance(table, sa.Table):
        return [Stretch()]
    name = connection.dialect.identifier_preparer.format_table(table)
    sized = sa.text(
        "SELECT pg_relation_size(oid) FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('r', 'm')"
    )
    size = int(connection.execute(sized, {"name": name}).scalar() or 0)
    count = min(size // STRETCH_SIZE + 1, STRETCHES_MAX)
    if count == 1:
        return [Stretch()]
    connection.exec_driver_sql("SET LOCAL datestyle = 'ISO'")
    percent = min(100.0, 100 * min(SAMPLED_PAGES * count, SAMPLED_PAGES_MAX) * _PAGE_SIZE / size)
    sampled = sa.tablesample(table, sa.func.system(percent), name="sampled", seed=sa.literal(0))
    key = sampled.c[column.name]
    shares = ",".join(f"{at / count:.9f}" for at in range(1, count))
    quantiles = sa.func.percentile_disc(sa.literal_column(f"ARRAY[{shares}]::float8[]")).within_group(key)
    chosen = sa.select(sa.func.unnest(quantiles).label("low")).select_from(sampled)
    after, _ = read_position(copy.request.position)
    if after is not None:
        chosen = chosen.where(key >= copy.literal(after[0]))
    lows = chosen.subquery("chosen").c.low
    bounds = sa.select(sa.cast(lows, sa.Text)).where(lows.is_not(None)).group_by(lows).order_by(lows)
    edges = [None, *connection.execute(bounds).scalars(), None]
    stretches = [Stretch(low, high) for low, high in itertools.pairwise(edges)]
    return [*stretches, Stretch(is_null=True)] if len(stretches) > 1 and column.nullable else stretches
