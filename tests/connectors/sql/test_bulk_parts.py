"""A PostgreSQL table in parts that other processes read: the rows, chunks and positions of one connection, at one moment."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.sql.databases import TestDatabase, fresh
from tests.servers import Server

from accord.connectors.sql import bulk_parts
from accord.record import Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

pytestmark = pytest.mark.server
ROWS = 4_200
CHUNK = 300
DECLARED = {"key": ["a", "b"], "table": "parted", "fields": {"a": "string", "b": "integer", "text": "string?"}}


@pytest.fixture
def parted(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDatabase]:
    """Keys with quotes, signs of percent, gaps and skew: a third of the rows has the same first field."""
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "DROP TABLE IF EXISTS parted",
        "CREATE TABLE parted (a text, b bigint, text text, PRIMARY KEY (a, b))",
        "INSERT INTO parted SELECT CASE WHEN mod(i, 3) = 0 THEN 'it''s 5%s' ELSE chr(97 + mod(i, 23)) || i * i END, i, 'x' "
        f"FROM generate_series(1, {ROWS}) i",
    )
    monkeypatch.setattr(bulk_parts, "PART_ROWS", 700)  # two chunks
    yield database
    database.execute("DROP TABLE parted")


def sent(parts: Any) -> list[Any]:
    """As they come to another process."""
    found: list[Any] = pickle.loads(pickle.dumps(list(parts)))
    return found


async def read(parts: Any) -> list[Batch]:
    return await asyncio.to_thread(lambda: [batch for part in sent(parts) for batch in part.batches({})])


async def of_one(connection: Any, entity: Any, position: Any = None) -> list[Batch]:
    return [batch async for batch in connection.read_bulk(entity, BulkRead(rows=CHUNK, position=position))]


def same(found: list[Batch], wanted: list[Batch]) -> bool:
    return [(b.position, b.numbers.to_list()) for b in found] == [
        (b.position, b.numbers.to_list()) for b in wanted
    ] and all(a.frame.equals(b.frame) for a, b in zip(found, wanted, strict=True))


def test_chunks_are_those_of_one_connection_whatever_is_committed_meanwhile_and_wherever_it_is_taken_up(
    parted: TestDatabase,
) -> None:
    async def scene() -> None:
        async with parted.open() as connection:
            entity = parted.entity("parted", DECLARED)
            one = await of_one(connection, entity)
            assert sum(batch.frame.height for batch in one) == ROWS
            for at in (None, 0, 3, len(one) - 2):
                position, rest = (None, one) if at is None else (one[at].position, one[at + 1 :])
                async with connection.parts(entity, BulkRead(rows=CHUNK, position=position)) as parts:
                    assert len(parts) == -(-len(rest) // 2) or at == 0  # taken up in the middle of a part
                    assert same(await read(parts), rest)
            async with connection.parts(entity, BulkRead(rows=CHUNK)) as parts:
                found = await read(parts[:2])
                await asyncio.to_thread(
                    parted.execute,
                    "DELETE FROM parted WHERE mod(b, 2) = 0",
                    "INSERT INTO parted SELECT 'b', i, 'new' FROM generate_series(10001, 12000) i",
                )
                assert same(found + await read(parts[2:]), one)

    asyncio.run(scene())


def test_a_table_whose_key_may_be_null_is_one_part(parted: TestDatabase) -> None:
    parted.execute("ALTER TABLE parted DROP CONSTRAINT parted_pkey", "ALTER TABLE parted ALTER a DROP NOT NULL")
    parted.execute("UPDATE parted SET a = NULL WHERE b <= 50")

    async def scene() -> None:
        async with parted.open() as connection:
            entity = parted.entity("parted", DECLARED)
            async with connection.parts(entity, BulkRead(rows=CHUNK)) as parts:
                assert len(parts) == 1
                assert same(await read(parts), await of_one(connection, entity))

    asyncio.run(scene())


def test_parts_whose_moment_is_gone_are_to_be_read_again(parted: TestDatabase) -> None:
    async def scene() -> None:
        async with parted.open() as connection:
            async with connection.parts(parted.entity("parted", DECLARED), BulkRead(rows=CHUNK)) as parts:
                assert "://" not in repr(parts)
            with pytest.raises(ReadFailed, match="moment") as caught:
                await read(parts)
            assert isinstance(caught.value.outcome, Retry)

    asyncio.run(scene())
