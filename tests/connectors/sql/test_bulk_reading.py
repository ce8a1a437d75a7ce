"""Batches of a table hold what its pages hold, on every database; PostgreSQL's COPY takes the types the server has."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.connectors.sql.databases import TestDatabase, fresh
from tests.servers import Server

from accord.connectors.sql.bulk_postgresql import Copy, messages
from accord.record import Entity
from accord.record import types as t
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed
from accord.sdk.frames import Framer
from accord.sdk.http import decode_json, encode_json


async def bulk(connection: Any, entity: Entity, request: BulkRead) -> list[Batch]:
    return [batch async for batch in connection.read_bulk(entity, request)]


def rows_of(batches: list[Batch]) -> dict[int, Any]:
    """By number: the typed row, or the odd one."""
    found: dict[int, Any] = {}
    for batch in batches:
        assert batch.numbers is not None and len(batch.numbers) == batch.frame.height
        found |= dict(zip(batch.numbers, batch.frame.iter_rows(named=True), strict=True))
        found |= {odd.number: odd for odd in batch.odd}
    assert sorted(found) == list(range(1, len(found) + 1))
    return found


async def same(connection: Any, entity: Entity, rows: int = 4) -> int:
    """Compares batches with pages; returns how many rows were odd. Then takes the read up at every position."""
    records = [record async for page in connection.read(entity) for record in page.records]
    if entity.key:
        cursor = getattr(entity.extra, "cursor", "")
        batches = await bulk(connection, entity, BulkRead(rows=rows, cursor=cursor))
        for at, batch in enumerate(batches):
            position = decode_json(encode_json(batch.position))
            rest = await bulk(connection, entity, BulkRead(rows=rows, cursor=cursor, position=position))
            after = [b for b in rest if b.frame.height or b.odd]
            wanted = [b for b in batches[at + 1 :] if b.frame.height or b.odd]
            assert [(b.position, b.odd) for b in after] == [(b.position, b.odd) for b in wanted]
            assert all(a.frame.equals(b.frame) for a, b in zip(after, wanted, strict=True))
    else:
        batches = await bulk(connection, entity, BulkRead(rows=rows))
    assert [b.is_last for b in batches] == [False] * (len(batches) - 1) + [True]
    found = rows_of(batches)
    assert len(found) == len(records)
    framer = Framer(entity.fields)
    jsons = [n for n, f in entity.fields.items() if isinstance(f.type, t.Json)]
    if not entity.key:
        records.sort(key=lambda record: [str(v) for v in record.values()])
    odd_count = 0
    for record, row in zip(records, found.values(), strict=True):
        frame, misfits = framer.frame([record])
        if isinstance(row, dict):
            expected = frame.row(0, named=True)
            assert not misfits, record
            for name in jsons:
                assert (row[name] and decode_json(row[name].encode())) == (
                    expected[name] and decode_json(expected[name].encode())
                )
            assert {**row, **dict.fromkeys(jsons)} == {**expected, **dict.fromkeys(jsons)}
        else:
            odd_count += 1
            assert encode_json(row.record) == encode_json(record)
    return odd_count


def test_batches_hold_what_pages_hold(database: TestDatabase) -> None:
    values = ", ".join(
        f"('p{i:02}', 'Näme ''{i}''', {'NULL' if i == 3 else f'{i}.1050'}, {i}, {i % 2 if database.name != 'postgresql' else i % 2 == 0}, "
        f"'{{\"a\": [{i}, 1.50]}}', '2026-01-{i + 1:02} 09:00:00.25', '2026-03-{i + 1:02}', {i // 3})"
        for i in range(11)
    )
    database.execute(
        f"INSERT INTO products (sku, name, price, on_hand, is_active, tags, changed_at, launched, version) VALUES {values}",
        "INSERT INTO invoices (number, total) VALUES ('a', 1.5), ('b', NULL)",
        "INSERT INTO invoice_lines SELECT id, 1, 'x', 2.5 FROM invoices WHERE number = 'a'",
        "INSERT INTO events (text) VALUES ('b'), ('a'), ('c')",
    )

    async def scene() -> None:
        async with database.open() as connection:
            products = database.entity("products")
            assert await same(connection, products) == 0
            assert await same(connection, database.entity("invoices")) == 0
            assert await same(connection, database.entity("events"), 2) == 0
            (part,) = await bulk(connection, products, BulkRead(cursor="version", since=1, until=3))
            assert part.frame["sku"].to_list() == [f"p{i:02}" for i in range(3, 9)]
            (part,) = await bulk(connection, products, BulkRead(fields=frozenset({"name"})))
            assert part.frame.columns == ["name"] and part.frame.height == 11
            (empty,) = await bulk(connection, products, BulkRead(cursor="version", since=99))
            assert empty.is_last and empty.frame.height == 0
            with pytest.raises(ReadFailed, match="no field"):
                await bulk(connection, products, BulkRead(cursor="nothing"))

    asyncio.run(scene())


@pytest.mark.server
def test_types_of_postgresql(postgres: Server, tmp_path: Any) -> None:
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "DROP TABLE IF EXISTS kinds", "DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        "CREATE TABLE kinds (a int, b text, n numeric, f float8, d date, z timestamptz, l timestamp, j jsonb, o jsonb, "
        "tags text[], m mood, u uuid, c char(4), PRIMARY KEY (a, b))",
        """INSERT INTO kinds VALUES (1, E'x,"y"\\n''z''%%:a', 12.340, 0.1, '2026-01-31', '2026-01-31 09:00+02', '2026-07-01 12:00',
          '{"k": 1.50}', '{"city": "Köln"}', '{a,"b c",NULL}', 'glad', '6f1e1c1e-0000-4000-8000-00000000000a', 'ab'),
        (1, '', 'NaN', 'Infinity', 'infinity', 'infinity', NULL, 'null', '{"city": 5}', '{}', 'sad', NULL, NULL),
        (2, E'\ufeff', 123456789012345678901234567890.5, 1e300, '0044-03-15 BC', '0001-01-01 00:00+00', '2026-03-29 02:30',
          '"t"', NULL, NULL, NULL, NULL, ''),
        (3, 'NULL', 0.00000000001, -0.5, '2026-02-28', '2026-01-31 09:00:00.123456+00', '2026-10-25 02:30',
          '[]', '{}', '{x}', NULL, NULL, '')""",
    )  # fmt: skip
    declared = {
        "key": ["a", "b"], "table": "kinds",
        "fields": {
            "a": "integer", "b": "string", "n": "decimal?", "f": "float?", "z": "datetime?", "l": "datetime?", "j": "json?",
            "o": {"object": {"city": "string?"}}, "m": {"enum": ["glad", "sad"]}, "u": "string?", "c": "string?",
        },
    }  # fmt: skip

    async def scene() -> None:
        async with database.open(zone="Europe/Berlin") as connection:
            (batch,) = await bulk(connection, database.entity("kinds", declared), BulkRead())
            rows = rows_of([batch])
            found = {(r["a"], r["b"]): r for r in rows.values() if isinstance(r, dict)}
            first = found[1, "x,\"y\"\n'z'%:a"]
            assert (first["n"], first["f"], first["m"], first["c"]) == (Decimal("12.34"), 0.1, "glad", "ab  ")
            assert first["z"] == dt.datetime(2026, 1, 31, 7, tzinfo=dt.UTC)
            assert first["l"] == dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC)
            assert (first["j"], first["o"]) == ('{"k": 1.50}', {"city": "Köln"})
            assert len(found) == 1 and len(batch.odd) == 3
            by_key = {(o.record["a"], o.record["b"]): o.record for o in batch.odd}
            assert by_key[2, "\ufeff"]["n"] == Decimal("123456789012345678901234567890.5")
            assert by_key[3, "NULL"]["n"] == Decimal("0.00000000001")
            assert by_key[1, ""]["o"] == {"city": 5} and by_key[1, ""]["j"] is None
            tags = {**declared, "fields": {"a": "integer", "b": "string", "tags": {"list": "string"}}}
            (batch,) = await bulk(connection, database.entity("kinds", tags), BulkRead())
            assert batch.frame["tags"].to_list() == [[], ["a", "b c", None], None, ["x"]]

    asyncio.run(scene())


@pytest.mark.server
def test_a_read_shows_one_moment_and_frees_its_connection(postgres: Server, tmp_path: Any) -> None:
    """Rows that are changed while a read goes on stay as they were in it; a read left early leaves nothing open."""
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "INSERT INTO products (sku, name, version) SELECT 'p' || lpad(i::text, 6, '0'), repeat('x', 50), i FROM generate_series(1, 60000) i"
    )

    async def scene() -> None:
        async with database.open() as connection:
            products = database.entity("products")
            names: set[str] = set()
            async for batch in connection.read_bulk(products, BulkRead(rows=1000)):
                if not names:
                    await asyncio.to_thread(database.execute, "UPDATE products SET name = 'changed'")
                names |= set(batch.frame["name"])
            assert names == {"x" * 50}
            reading = connection.read_bulk(products, BulkRead(rows=1000))
            assert (await anext(reading)).frame.height == 1000
            await reading.aclose()
            (left,) = database.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'accord' AND state <> 'idle'"
            )
            assert left[0] == 0

    asyncio.run(scene())


@pytest.mark.server
def test_products_go_by_copy(postgres: Server, tmp_path: Any) -> None:
    database = fresh("postgresql", tmp_path, postgres)

    async def scene() -> None:
        async with database.open() as connection:
            for name, wanted in (("products", True), ("invoices", False)):
                with connection.database.engine.connect() as live:  # type: ignore[attr-defined]
                    plan = connection._plan(live, database.entity(name))  # type: ignore[attr-defined]
                    assert Copy(live, plan, BulkRead(), "UTC").is_columnar() is wanted
                    assert isinstance(live, sa.Connection)

    asyncio.run(scene())


@pytest.mark.server
def test_a_copy_that_fails_behind_some_rows_says_so_and_leaves_its_connection_well(
    postgres: Server, tmp_path: Any
) -> None:
    async def scene() -> None:
        async with fresh("postgresql", tmp_path, postgres).open() as connection:
            with connection.database.engine.connect() as live:  # type: ignore[attr-defined]
                rows = messages(live, b"COPY (SELECT 1 / (50000 - i) FROM generate_series(1, 60000) i) TO STDOUT")
                assert next(rows) == b"0\n"
                with pytest.raises(psycopg.errors.DivisionByZero):
                    assert sum(1 for _ in rows) < 50_000
                live.rollback()
                whole = messages(live, b"COPY (SELECT i FROM generate_series(1, 60000) i) TO STDOUT")
                assert list(whole) == [b"%d\n" % i for i in range(1, 60001)]
                assert list(messages(live, b"COPY (SELECT 1 WHERE false) TO STDOUT")) == []
                assert live.exec_driver_sql("SELECT 1").scalar_one() == 1

    asyncio.run(scene())
