"""Writing to real databases: modes, effects, exactness, one bad row among good ones."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal

from tests.connectors.sql.databases import TestDatabase, item

from accord.record import Done, Partial, Reject
from accord.sdk.connector import WriteMode

CREATE, UPDATE, UPSERT, DELETE = WriteMode.CREATE, WriteMode.UPDATE, WriteMode.UPSERT, WriteMode.DELETE
INSTANT = dt.datetime(2026, 3, 1, 23, 30, 0, 250000, dt.timezone(dt.timedelta(hours=2)))
LAMP = {
    "sku": "LAMP",
    "name": "Lámp 💡",
    "price": Decimal("99999999999999999999.1200"),
    "on_hand": 3,
    "is_active": True,
    "tags": {"a": [1, Decimal("2.50")]},
    "changed_at": INSTANT,
    "launched": dt.date(2026, 2, 28),
    "version": 1,
}


def test_values_come_back_exact(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        async with database.open() as connection:
            assert isinstance(await connection.write(products, CREATE, [item(LAMP, "e1")]), Done)
            got = await connection.get(products, "LAMP")
        assert isinstance(got, Done)
        assert got.result == {
            **LAMP,
            "changed_at": "2026-03-01T21:30:00.250000Z",
            "launched": "2026-02-28",
        }
        assert str(got.result["price"]) == "99999999999999999999.1200"
        assert type(got.result["is_active"]) is bool

    asyncio.run(scene())


def test_a_repeat_finds_its_effect(database: TestDatabase) -> None:
    async def scene() -> None:
        invoices = database.entity("invoices")
        record = {"number": "R1", "total": Decimal("10.00"), "lines": [{"sku": "A", "amount": Decimal("10.00")}]}
        async with database.open() as connection:
            first = await connection.write(invoices, CREATE, [item(record, "e1")])
            for in_doubt in (False, True):
                again = await connection.write(invoices, CREATE, [item(record, "e1", in_doubt)])
                assert isinstance(again, Done) and again.was_there
                assert isinstance(first, Done) and again.result == first.result
            assert isinstance(first.result["id"], int)
        assert database.rows("SELECT count(*) FROM invoices") == [(1,)]
        assert database.rows("SELECT count(*) FROM invoice_lines") == [(1,)]

    asyncio.run(scene())


def test_the_same_effect_at_once_happens_once(database: TestDatabase) -> None:
    async def scene() -> None:
        events = database.entity("events")
        async with database.open() as one, database.open() as two:
            writes = [c.write(events, CREATE, [item({"text": "x"}, "same")]) for c in (one, two) * 5]
            outcomes = await asyncio.gather(*writes)
        assert all(isinstance(o, Done) for o in outcomes), outcomes
        assert sum(not o.was_there for o in outcomes if isinstance(o, Done)) == 1
        assert database.rows("SELECT count(*) FROM events") == [(1,)]

    asyncio.run(scene())


def test_one_bad_row_is_rejected_alone(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        records = [
            {"sku": "A", "name": "a", "version": 1},
            {"sku": "B", "name": None, "version": 1},
            {"sku": "A", "name": "again", "version": 1},
            {"sku": "C", "name": "c", "on_hand": -1, "version": 1},
            {"sku": "D", "name": "d", "version": 1},
        ]
        async with database.open() as connection:
            outcome = await connection.write(products, CREATE, [item(r, f"e{i}") for i, r in enumerate(records)])
        assert isinstance(outcome, Partial)
        assert [type(o) for o in outcome.outcomes] == [Done, Reject, Reject, Reject, Done]
        null, twice, negative = outcome.outcomes[1:4]
        assert isinstance(null, Reject) and (null.path, null.code) == ("name", "connector.sql-null")
        assert isinstance(twice, Reject) and twice.code == "connector.sql-not-unique"
        assert isinstance(negative, Reject) and negative.code == "connector.sql-value"
        assert database.rows("SELECT sku FROM products ORDER BY sku") == [("A",), ("D",)]
        assert database.rows("SELECT effect_id FROM accord_effects ORDER BY 1") == [("e0",), ("e4",)]

    asyncio.run(scene())


def test_modes(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        async with database.open() as connection:

            async def write(mode: WriteMode, effect: str, **record: object) -> object:
                return await connection.write(products, mode, [item(record, effect)])

            assert isinstance(await write(UPDATE, "1", sku="A", name="n"), Reject)
            assert isinstance(await write(UPSERT, "2", sku="A", name="a", version=1), Done)
            assert isinstance(
                await write(UPSERT, "3", sku="A", on_hand=7), Done
            )  # a partial record changes only its fields
            assert isinstance(await write(UPDATE, "4", sku="A", version=2), Done)
            assert isinstance(
                await write(UPDATE, "4b", sku="A", version=2), Done
            )  # nothing changes, yet the row is there
            assert isinstance(await write(UPSERT, "4c", sku="A"), Done)
            assert database.rows("SELECT sku, name, on_hand, version FROM products") == [("A", "a", 7, 2)]
            gone = await write(DELETE, "5", sku="A")
            absent = await write(DELETE, "6", sku="A")
            assert isinstance(gone, Done) and not gone.was_there
            assert isinstance(absent, Done) and absent.was_there
            keyless = await write(UPDATE, "7", name="x")
            assert isinstance(keyless, Reject) and keyless.path == "sku"
        assert database.rows("SELECT count(*) FROM products") == [(0,)]

    asyncio.run(scene())


def test_children_are_written_replaced_and_removed(database: TestDatabase) -> None:
    async def scene() -> None:
        invoices = database.entity("invoices")
        lines = [{"sku": s, "amount": Decimal(n)} for s, n in (("B", "1.5000"), ("A", "2.0000"))]
        async with database.open() as connection:
            made = await connection.write(invoices, CREATE, [item({"number": "R1", "lines": lines}, "1")])
            assert isinstance(made, Done)
            key = made.result["id"]
            got = await connection.get(invoices, str(key))
            assert isinstance(got, Done) and got.result["lines"] == lines
            await connection.write(invoices, UPDATE, [item({"id": key, "lines": lines[:1]}, "2")])
            await connection.write(invoices, UPDATE, [item({"id": key, "number": "R1b"}, "3")])
            got = await connection.get(invoices, str(key))
            assert isinstance(got, Done)
            assert (got.result["number"], got.result["lines"]) == ("R1b", lines[:1])
            bad = await connection.write(
                invoices, CREATE, [item({"number": "R2", "lines": [*lines, {"sku": None, "amount": Decimal(1)}]}, "4")]
            )
            assert isinstance(bad, Reject)
            assert database.rows("SELECT count(*) FROM invoices") == [(1,)]
            await connection.write(invoices, DELETE, [item({"id": key}, "5")])
        assert database.rows("SELECT count(*) FROM invoice_lines") == [(0,)]

    asyncio.run(scene())


def test_many_rows_at_once_keep_order_and_keys(database: TestDatabase) -> None:
    async def scene() -> None:
        declared = {"key": "id", "fields": {"id": "integer", "text": "string"}}
        events = database.entity("events", declared)
        items = [item({"text": f"t{i}"}, f"e{i}") for i in range(500)]
        async with database.open() as connection:
            outcome = await connection.write(events, CREATE, items)
            again = await connection.write(events, CREATE, items)
        assert isinstance(outcome, Partial) and isinstance(again, Partial)
        keys = {o.result["id"]: o.result["text"] for o in outcome.outcomes if isinstance(o, Done)}
        assert keys == dict(database.rows("SELECT id, text FROM events"))
        assert len(keys) == 500
        assert all(isinstance(o, Done) and o.was_there for o in again.outcomes)
        assert [o.result for o in again.outcomes if isinstance(o, Done)] == [
            o.result for o in outcome.outcomes if isinstance(o, Done)
        ]

    asyncio.run(scene())


def test_single_writes_at_once_share_transactions(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        bad = {"sku": "P7", "name": None, "version": 1}
        records = [{"sku": f"P{i}", "name": "p", "version": i} for i in range(200)]
        async with database.open() as connection:
            writes = [
                connection.write(products, UPSERT, [item(r, f"e{r['sku']}")]) for r in records if r["sku"] != "P7"
            ]
            outcomes = await asyncio.gather(*writes, connection.write(products, UPSERT, [item(bad, "bad")]))
        assert all(isinstance(o, Done) for o in outcomes[:-1])
        assert isinstance(outcomes[-1], Reject) and outcomes[-1].path == "name"
        assert database.rows("SELECT count(*) FROM products") == [(199,)]

    asyncio.run(scene())


def test_missing_tables_and_columns_are_told_by_name(database: TestDatabase) -> None:
    async def scene() -> None:
        fields = {"sku": "string", "nmae": "string"}
        async with database.open() as connection:
            lost = database.entity("product", {"fields": fields})
            wrong = database.entity("products", {"fields": fields})
            no_table = await connection.write(lost, CREATE, [item({"sku": "A"}, "1")])
            no_column = await connection.write(wrong, CREATE, [item({"sku": "A"}, "2")])
        assert isinstance(no_table, Reject) and "Did you mean 'products'" in no_table.reason
        assert isinstance(no_column, Reject) and "Did you mean 'name'" in no_column.reason and no_column.path == "nmae"

    asyncio.run(scene())


def test_a_value_the_driver_cannot_send_harms_nobody_else(database: TestDatabase) -> None:
    async def scene() -> None:
        products = database.entity("products")
        names = ("good", "\ud800", "x" * 61 if database.name != "sqlite" else "\udfff", "also good")
        async with database.open() as connection:
            records = [{"sku": f"S{i}", "name": name, "version": 1} for i, name in enumerate(names)]
            outcome = await connection.write(products, UPSERT, [item(r, f"e{i}") for i, r in enumerate(records)])
        assert isinstance(outcome, Partial)
        assert [type(o) for o in outcome.outcomes] == [Done, Reject, Reject, Done]
        assert all("x" * 61 not in o.reason for o in outcome.outcomes if isinstance(o, Reject))
        assert database.rows("SELECT sku FROM products ORDER BY sku") == [("S0",), ("S3",)]

    asyncio.run(scene())
