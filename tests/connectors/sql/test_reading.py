"""Reading from real databases: bounded pages, changes at equal cursors, late commits, queries, discovery."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest
from tests.connectors.sql.databases import ENTITIES, TestDatabase, operations

from accord.record import Done, Reject
from accord.record import types as t
from accord.sdk.connector import CallItem, Connection, Page, ReadFailed
from accord.sdk.http import decode_json, encode_json

PRODUCT = "INSERT INTO products (sku, name, version) VALUES ('{}', 'n', {})"


async def pages_of(connection: Connection, entity: Any, position: Any = None) -> list[Page]:
    position = decode_json(encode_json(position))
    return [page async for page in connection.read(entity, position)]


def skus(pages: list[Page]) -> list[str]:
    return [record["sku"] for page in pages for record in page.records]


def test_changes_have_no_gap_nor_repeat_at_equal_cursors(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        database.execute(*(PRODUCT.format(f"P{i:02}", 5 if i < 8 else 6) for i in range(11)))
        async with database.open() as connection:
            first = await pages_of(connection, products)
            assert [len(page.records) for page in first] == [3, 3, 3, 2]
            assert skus(first) == [f"P{i:02}" for i in range(11)]
            for page in first:  # from every position exactly the rest
                rest = skus(await pages_of(connection, products, page.position))
                assert rest == [sku for sku in skus(first) if sku > page.records[-1]["sku"]]
            database.execute(PRODUCT.format("A00", 6), PRODUCT.format("Z00", 6), PRODUCT.format("M00", 7))
            changed = await pages_of(connection, products, first[-1].position)
            assert skus(changed) == ["Z00", "M00"]  # A00 came late at a cursor already passed: needs an overlap
            assert await pages_of(connection, products, changed[-1].position) == []

    asyncio.run(scene())


def test_an_overlap_brings_late_rows_with_the_same_event_ids(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products", {**ENTITIES["products"], "overlap": 2, "page_rows": 2})
        database.execute(*(PRODUCT.format(f"P{i}", i) for i in range(6)))
        async with database.open() as connection:
            first = await pages_of(connection, products)
            database.execute(PRODUCT.format("LATE", 4))
            again = await pages_of(connection, products, first[-1].position)
        assert skus(again) == ["P3", "LATE", "P4", "P5"]
        known = {name for page in first for name in page.event_ids}
        new = [n for page in again for n in page.event_ids if n not in known]
        assert len(new) == 1, "only the late row is new to the journal"

    asyncio.run(scene())


@pytest.mark.parametrize("values", [("2026-01-01 10:00:00", "2026-01-01 10:00:00.5", "2026-01-01 10:00:01")])
def test_a_time_is_a_cursor(database: TestDatabase, values: tuple[str, ...]) -> None:
    async def scene() -> None:
        fields = {**ENTITIES["products"]["fields"], "changed_at": "datetime"}
        declared = {"key": "sku", "cursor": "changed_at", "page_rows": 1, "fields": fields}
        products = database.entity("products", declared)
        late = msgspec.structs.replace(products.extra, overlap=dt.timedelta(seconds=2))
        overlapping = msgspec.structs.replace(products, extra=late)
        for i, value in enumerate(values):
            database.execute(
                f"INSERT INTO products (sku, name, version, changed_at) VALUES ('P{i}', 'n', 1, '{value}')"
            )
        async with database.open() as connection:
            pages = await pages_of(connection, products)
            assert skus(pages) == ["P0", "P1", "P2"]
            assert pages[0].records[0]["changed_at"] == "2026-01-01T10:00:00Z"
            assert skus(await pages_of(connection, products, pages[0].position)) == ["P1", "P2"]
            assert skus(await pages_of(connection, overlapping, pages[-1].position)) == ["P0", "P1", "P2"]

    asyncio.run(scene())


def test_a_table_without_cursor_is_read_by_key_and_one_without_key_as_a_stream(database: TestDatabase) -> None:
    async def scene() -> None:
        fields = {"id": "integer", "text": "string"}
        keyed = database.entity("events", {"key": "id", "page_rows": 40, "fields": fields})
        keyless = database.entity("events", {"page_rows": 40, "fields": fields})
        for i in range(100):
            database.execute(f"INSERT INTO events (text) VALUES ('t{i}')")
        async with database.open() as connection:
            by_key, by_stream = await pages_of(connection, keyed), await pages_of(connection, keyless)
            resumed = await pages_of(connection, keyed, by_key[0].position)
        assert [len(p.records) for p in by_key] == [40, 40, 20] == [len(p.records) for p in by_stream]
        assert [r["text"] for p in by_key for r in p.records] == [f"t{i}" for i in range(100)]
        assert [r for p in resumed for r in p.records] == [r for p in by_key[1:] for r in p.records]
        assert by_key[-1].position is None, "the next read starts from the beginning"

    asyncio.run(scene())


def test_a_query_is_a_read_only_entity(database: TestDatabase) -> None:
    async def scene() -> None:
        entity = database.entity(
            "sold",
            {
                "query": "SELECT sku, sum(on_hand) AS pieces FROM products GROUP BY sku",
                "key": "sku",
                "page_rows": 2,
                "fields": {"sku": "string", "pieces": "integer"},
            },
        )
        database.execute(*(f"INSERT INTO products (sku, name, on_hand) VALUES ('P{i}', 'n', {i})" for i in range(5)))
        async with database.open() as connection:
            pages = await pages_of(connection, entity)
            assert [r for p in pages for r in p.records] == [{"sku": f"P{i}", "pieces": i} for i in range(5)]
            got = await connection.get(entity, "P3")
        assert isinstance(got, Done) and got.result == {"sku": "P3", "pieces": 3}

    asyncio.run(scene())


def test_discovery_tells_types_keys_and_nullability(database: TestDatabase) -> None:
    async def scene() -> None:
        async with database.open() as connection:
            found = {entity.short_name: entity for entity in await connection.discover()}
        assert {"products", "invoices", "invoice_lines", "events"} <= set(
            found
        )  # a server has tables of other tests as well
        assert not [name for name in found if name.startswith("accord_")]
        products = found["products"]
        assert products.key == ("sku",) and products.fields["sku"].length_max == 40
        assert not products.fields["name"].nullable and products.fields["price"].nullable
        assert isinstance(products.fields["on_hand"].type, t.Integer)
        assert isinstance(products.fields["launched"].type, t.Date)
        assert found["invoice_lines"].key == ("invoice_id", "line_no")
        if database.name != "sqlite":
            assert isinstance(products.fields["price"].type, t.Decimal)
            assert isinstance(products.fields["is_active"].type, t.Boolean)
            assert isinstance(products.fields["changed_at"].type, t.DateTime)

    asyncio.run(scene())


def test_absent_rows_and_tables_are_rejected(database: TestDatabase) -> None:
    async def scene() -> None:
        async with database.open() as connection:
            nothing = await connection.get(database.entity("products"), "no such")
            assert isinstance(nothing, Reject) and nothing.code == "connector.sql-no-row"
            wrong = database.entity("gone", {"key": "id", "fields": {"id": "integer"}})
            with pytest.raises(ReadFailed) as failed:
                await pages_of(connection, wrong)
            assert isinstance(failed.value.outcome, Reject)

    asyncio.run(scene())


def test_operations_run_once_per_effect(database: TestDatabase) -> None:
    async def scene() -> None:
        database.execute("INSERT INTO products (sku, name, on_hand, price) VALUES ('A', 'n', 5, 12.3400)")
        async with database.open(operations=operations()) as connection:
            take = {"sku": "A", "by": 3}
            first = await connection.call("decrease_stock", CallItem("e1", take))
            again = await connection.call("decrease_stock", CallItem("e1", take, in_doubt=True))
            short = await connection.call("decrease_stock", CallItem("e2", take))
            unknown = await connection.call("decrease_stock", CallItem("e3", {"sku": "B", "by": 1}))
            found = await connection.call("stock_of", CallItem("e4", {"sku": "A"}))
            nothing = await connection.call("stock_of", CallItem("e5", {"sku": "B"}))
        assert isinstance(first, Done) and not first.was_there and first.result == {"rows": 1}
        assert isinstance(again, Done) and again.was_there and again.result == first.result
        assert isinstance(short, Reject) and short.code == "connector.sql-nothing-changed"
        assert isinstance(unknown, Reject)
        assert isinstance(found, Done) and found.result["on_hand"] == 2
        assert str(found.result["price"]) == ("12.34" if database.name == "sqlite" else "12.3400")
        assert isinstance(nothing, Done) and nothing.result is None
        assert database.rows("SELECT on_hand FROM products") == [(2,)]

    asyncio.run(scene())


def test_procedures_are_called(database: TestDatabase) -> None:
    if database.name == "sqlite":
        pytest.skip("SQLite has no procedures")

    async def scene() -> None:
        body = "INSERT INTO events (text) VALUES ({})"
        if database.name == "postgresql":
            made = f"CREATE OR REPLACE PROCEDURE note(what varchar) LANGUAGE sql AS $$ {body.format('what')} $$"
        else:
            made = f"CREATE OR REPLACE PROCEDURE note(what varchar(60)) {body.format('what')}"
        database.execute(made)
        async with database.open(operations=operations()) as connection:
            for effect in ("e1", "e2", "e1"):
                assert isinstance(await connection.call("note", CallItem(effect, {"what": "x"})), Done)
        assert database.rows("SELECT count(*) FROM events") == [(2,)]

    asyncio.run(scene())
