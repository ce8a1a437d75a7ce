"""Bulk reads of a live connection: which way a table is read, on which threads, and what its errors come to.

PostgreSQL's COPY is received on one thread and made into frames on another, so that the server, the wire and Polars work at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.bulk_partitions import partitioned
from accord.connectors.sql.bulk_postgresql import Block, Copy
from accord.connectors.sql.bulk_rows import batches, read_position
from accord.connectors.sql.database import Database, as_sqlalchemy
from accord.connectors.sql.errors import outcome_of
from accord.connectors.sql.spec import SqlSettings
from accord.connectors.sql.tables import Misfit, Plan
from accord.record.batch import Batch
from accord.sdk.ahead import read_ahead
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

_SNAPSHOT = {"mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ", "postgresql": "REPEATABLE READ"}


async def read_bulk(
    database: Database, plan_with: Callable[[sa.Connection], Plan], request: BulkRead, settings: SqlSettings
) -> AsyncGenerator[Batch, None]:
    try:
        async with contextlib.aclosing(read_ahead(_items(database, plan_with, request, settings))) as items:
            number = read_position(request.position)[1]
            async for copy, item in items:
                if isinstance(item, Block):
                    batch = await asyncio.to_thread(copy.batch, item, number)
                    number += item.rows
                    yield batch
                else:
                    yield item
    except Misfit as misfit:
        raise ReadFailed(misfit.reject) from None
    except sa.exc.SQLAlchemyError as error:
        raise ReadFailed(outcome_of(error)) from None


def _items(
    database: Database, plan_with: Callable[[sa.Connection], Plan], request: BulkRead, settings: SqlSettings
) -> Generator[tuple[Any, Block | Batch], None, None]:
    """Batches, or blocks of a COPY with what makes batches of them. Holds one connection until it is closed."""
    with database.engine.connect() as connection:
        plan = plan_with(connection)
        connection.rollback()
        level = _SNAPSHOT.get(connection.dialect.name)
        if level:
            connection = connection.execution_options(isolation_level=level)
        if connection.dialect.name == "postgresql":
            copy = Copy(connection, plan, request, settings.zone)
            if copy.is_columnar():
                yield from ((copy, block) for block in _copied(connection, copy))
                return
        for batch in batches(connection, plan, request):
            yield None, batch


def _copied(connection: sa.Connection, copy: Copy) -> Generator[Block, None, None]:
    if copy.request.partitions > 1:
        yield from partitioned(connection, copy)
        return
    with as_sqlalchemy(connection, "COPY"):
        yield from copy.blocks()
