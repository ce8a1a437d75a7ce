"""A PostgreSQL table read by several connections: the rows, chunks and positions of a single one, whatever is committed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.sql.databases import TestDatabase, fresh
from tests.servers import Server

from accord.connectors.sql import bulk_partitions
from accord.connectors.sql.bulk_partitions import Ahead
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

pytestmark = pytest.mark.server
ROWS = 6_000
DECLARED = {"key": ["a", "b"], "table": "wide", "fields": {"a": "string", "b": "integer", "text": "string?"}}


@pytest.fixture
def wide(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDatabase]:
    """Keys with gaps and skew: a third of the rows has the same first field."""
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "DROP TABLE IF EXISTS wide",
        "CREATE TABLE wide (a text, b bigint, text text, PRIMARY KEY (a, b))",
        "INSERT INTO wide SELECT CASE WHEN mod(i, 3) = 0 THEN 'it''s' ELSE chr(97 + mod(i, 23)) || i * i END, i, repeat('x', mod(i, 300)) "
        f"FROM generate_series(1, {ROWS}) i",
    )
    monkeypatch.setattr(bulk_partitions, "STRETCH_SIZE", 64 * 1024)
    monkeypatch.setattr(bulk_partitions, "PARCEL_SIZE", 4 * 1024)
    monkeypatch.setattr(bulk_partitions, "PARCELS_MAX", 2)
    yield database
    database.execute("DROP TABLE wide")


async def bulk(connection: Any, entity: Any, **request: Any) -> list[Batch]:
    return [batch async for batch in connection.read_bulk(entity, BulkRead(rows=700, **request))]


def same(found: list[Batch], wanted: list[Batch]) -> bool:
    return [(b.position, b.is_last) for b in found] == [(b.position, b.is_last) for b in wanted] and all(
        a.frame.equals(b.frame) for a, b in zip(found, wanted, strict=True)
    )


def test_batches_are_those_of_one_connection(wide: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    whole = bulk_partitions.stretches_of

    def counted(*given: Any) -> Any:
        found = whole(*given)
        counts.append(len(found))
        return found

    monkeypatch.setattr(bulk_partitions, "stretches_of", counted)

    async def scene() -> None:
        async with wide.open() as connection:
            entity = wide.entity("wide", DECLARED)
            one = await bulk(connection, entity)
            assert sum(batch.frame.height for batch in one) == ROWS
            for partitions in (2, 5):
                assert same(await bulk(connection, entity, partitions=partitions), one)
            for at in (0, 4, len(one) - 2):
                assert same(await bulk(connection, entity, partitions=3, position=one[at].position), one[at + 1 :])

    asyncio.run(scene())
    assert counts[0] == counts[1] > 8


def test_nulls_where_the_key_should_be_come_last(wide: TestDatabase) -> None:
    wide.execute("ALTER TABLE wide DROP CONSTRAINT wide_pkey", "ALTER TABLE wide ALTER a DROP NOT NULL")
    wide.execute("UPDATE wide SET a = NULL WHERE b <= 50")

    async def scene() -> None:
        async with wide.open() as connection:
            entity = wide.entity("wide", DECLARED)
            one, three = await bulk(connection, entity), await bulk(connection, entity, partitions=3)
            assert same(three, one) and sum(batch.frame.height + len(batch.odd) for batch in three) == ROWS
            assert three[-1].frame["a"].null_count() == 50

    asyncio.run(scene())


def test_all_connections_see_one_moment(wide: TestDatabase) -> None:
    async def scene() -> None:
        async with wide.open() as connection:
            entity = wide.entity("wide", DECLARED)
            one = await bulk(connection, entity)
            batches = connection.read_bulk(entity, BulkRead(rows=700, partitions=3))
            found = [await anext(batches)]
            await asyncio.to_thread(
                wide.execute,
                "DELETE FROM wide WHERE mod(b, 2) = 0",
                "UPDATE wide SET a = 'zz' || a WHERE mod(b, 5) = 0",
                "INSERT INTO wide SELECT 'y', i, 'new' FROM generate_series(10001, 12000) i",
            )
            found += [batch async for batch in batches]
            assert same(found, one)

    asyncio.run(scene())


def test_a_read_left_early_or_cut_off_lets_go_of_its_connections(wide: TestDatabase) -> None:
    reading = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY'"
    )

    async def scene() -> None:
        async with wide.open() as connection:
            entity = wide.entity("wide", DECLARED)
            one = await bulk(connection, entity)
            left = connection.read_bulk(entity, BulkRead(rows=700, partitions=3))
            first = await anext(left)
            await left.aclose()
            assert same(await bulk(connection, entity, partitions=3, position=first.position), one[1:])
            broken = connection.read_bulk(entity, BulkRead(rows=100, partitions=3))
            last = await anext(broken)
            await asyncio.to_thread(wide.execute, reading)
            with pytest.raises(ReadFailed):
                while True:
                    last = await anext(broken)
            rest = await bulk(connection, entity, partitions=2, position=last.position)
            assert last.position["row"] + sum(batch.frame.height for batch in rest) == ROWS

    asyncio.run(scene())


def test_what_is_read_ahead_is_bounded() -> None:
    ahead = Ahead(5, window=2)
    assert [ahead.begin(), ahead.begin()] == [0, 1]
    ahead.put(1, [b"c"])
    ahead.put(0, [b"a"])
    parcels = ahead.parcels()
    assert next(parcels) == [b"a"]
    ahead.end(0)
    assert next(parcels) == [b"c"]  # the first stretch is taken: another may begin
    assert ahead.begin() == 2
    ahead.fail(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        next(parcels)
    ahead.close()
    assert ahead.begin() is None
