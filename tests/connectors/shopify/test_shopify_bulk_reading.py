"""Reading by bulk operations: nested again, taken up again, expired, failed, canceled, one at a time."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from graphql import parse, validate

from accord.connectors.shopify import CONNECTOR, bulk_reading
from accord.connectors.shopify.bulk_query import FRAGMENTS, bulk_query
from accord.connectors.shopify.entities import known_entities
from accord.connectors.shopify.settings import ShopifySettings
from accord.engine.http import PooledHttpClient
from accord.record import Reject, Retry
from accord.record.batch import Batch
from accord.sandbox import Sandbox
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import Context, ReadFailed
from accord.sdk.http import decode_json, encode_json
from accord.settings.secret import Secret


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    given = {"graphql_points": 1_000_000, "bulk_waits_s": 0.05, "bulk_works_s": 0.1}
    with Sandbox(tmp_path_factory.mktemp("shop"), ["shop"], settings={"shop": given}) as found:
        found.place_orders(25)
        yield found


@pytest.fixture
def fresh(shop: Sandbox) -> Iterator[Sandbox]:
    shop.clear("shop")
    yield shop
    owner(shop, "clock", {"reset": True})


def owner(shop: Sandbox, path: str, body: Any) -> None:
    answer = requests.post(f"{shop.systems['shop'].control}/_sandbox/{path}", json=body, timeout=5)
    assert answer.ok, answer.text


@asynccontextmanager
async def connected(shop: Sandbox, folder: Path, bulk: Any = "always") -> AsyncIterator[Any]:
    http = PooledHttpClient(timeout_s=5.0)
    settings = ShopifySettings(
        store="accord-sandbox", address=shop.address("shop"), access_token=Secret(shop.credentials("shop")["access_token"]),
        page_size=7, bulk=bulk,
    )  # fmt: skip
    context = Context(system="shop", http=http, folder=folder, state_folder=folder)
    connection = CONNECTOR.connect(settings, known_entities(), context)
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()
        await http.close()


async def read(connection: Any, name: str = "orders", **asked: Any) -> list[Batch]:
    source = connection.read_bulk(known_entities()[name], BulkRead(**asked))
    return [batch async for batch in source if not batch.after_s]


def ids(batches: Sequence[Batch]) -> list[int]:
    return [value for batch in batches for value in batch.frame["id"].to_list()]


def again(position: Any) -> Any:
    return decode_json(encode_json(position))


@pytest.mark.parametrize("name", FRAGMENTS)
def test_bulk_queries_are_what_the_schema_takes(name: str, admin_schema: Any) -> None:
    text = bulk_query(name, "updated_at:>='2026-01-01T00:00:00Z'")
    assert validate(admin_schema, parse(text)) == []
    assert "..." not in text and "nodes" not in text and "pageInfo" not in text


@pytest.mark.parametrize("name", FRAGMENTS)
def test_an_operation_gives_the_records_that_pages_give(name: str, fresh: Sandbox, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path) as connection:
            found = await read(connection, name, rows=10)
            pages = [record async for page in connection.read(known_entities()[name]) for record in page.records]
        rows = [row for batch in found for row in batch.frame.rows(named=True)]
        assert sorted(row["id"] for row in rows) == sorted(one["id"] for one in pages)
        by_id = {row["id"]: row for row in rows}
        for one in pages:
            for part in ("line_items", "variants"):
                if part in one:
                    assert [item["id"] for item in by_id[one["id"]][part]] == [item["id"] for item in one[part]] != []
            assert by_id[one["id"]]["updated_at"] == dt.datetime.fromisoformat(one["updated_at"])
        assert [batch.frame.height for batch in found[:-1]] == [10] * (len(found) - 1) and found[-1].is_last
        assert not any(batch.odd for batch in found)

    asyncio.run(scene())


def test_few_records_are_read_by_pages(fresh: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path, "auto") as connection:
            by_pages = await read(connection, rows=10)
            assert by_pages[0].position["way"] == "pages"
            for at, batch in enumerate(by_pages):
                assert ids(await read(connection, rows=10, position=again(batch.position))) == ids(by_pages[at + 1 :])
            monkeypatch.setattr(bulk_reading, "BULK_RECORDS_MIN", 24)
            by_operation = await read(connection, rows=10)
            assert by_operation[0].position["way"] == "operation"
            assert ids(by_pages) == ids(by_operation) and len(ids(by_pages)) == 25

    asyncio.run(scene())


@pytest.mark.parametrize("bulk", ["always", "auto"])
def test_what_a_column_does_not_keep_as_it_was_written_is_told_as_rows(
    bulk: str, fresh: Sandbox, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path, bulk) as connection:
            found = await read(connection, as_written=frozenset({"total_price"}))
        texts = [str(odd.record["total_price"]) for batch in found for odd in batch.odd]
        assert texts and all(text.endswith("0") and "." in text for text in texts)
        assert sum(batch.frame.height for batch in found) + len(texts) == 25

    asyncio.run(scene())


def test_pages_wait_where_the_shop_is_asked_too_much_and_lose_none(tmp_path: Path) -> None:
    given = {"graphql_points": 400, "graphql_points_per_s": 400}
    with Sandbox(tmp_path / "shop", ["shop"], settings={"shop": given}) as shop:
        shop.place_orders(25)

        async def scene() -> None:
            async with connected(shop, tmp_path, "auto") as connection:
                source = connection.read_bulk(known_entities()["orders"], BulkRead(rows=20))
                batches, waits = [], 0
                async for batch in source:
                    waits += bool(batch.after_s)
                    await asyncio.sleep(batch.after_s)
                    batches += [] if batch.after_s else [batch]
                assert waits and len(set(ids(batches))) == len(ids(batches)) == 25
                assert batches[0].frame.height == 14  # whole pages, whatever was waited for

        asyncio.run(scene())


def test_a_killed_reader_goes_on_with_the_same_operation(fresh: Sandbox, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path) as connection:
            first = await anext(connection.read_bulk(known_entities()["orders"], BulkRead(rows=10)))
            assert first.after_s > 0 and first.position["operation"]
            batches = await read(connection, rows=10, position=again(first.position))
            assert len(ids(batches)) == 25
            for at, batch in enumerate(batches):
                rest = await read(connection, rows=10, position=again(batch.position))
                assert ids(rest) == ids(batches[at + 1 :])
                assert {b.position["operation"] for b in rest} == {first.position["operation"]}

    asyncio.run(scene())


def test_what_is_left_of_an_expired_result_is_read_by_another(fresh: Sandbox, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path) as connection:
            batches = await read(connection, rows=10)
            owner(fresh, "clock", {"by_s": 8 * 86_400.0})
            rest = await read(connection, rows=10, position=again(batches[0].position))
            assert ids(rest) == ids(batches[1:])
            assert rest[0].position["operation"] != batches[0].position["operation"]
            unsorted = {**again(batches[0].position), "sorted": False}
            owner(fresh, "clock", {"by_s": 8 * 86_400.0})
            with pytest.raises(ReadFailed, match="--fresh"):
                await read(connection, rows=10, position=unsorted)

    asyncio.run(scene())


def test_a_failed_operation_is_told_and_made_again(fresh: Sandbox, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path) as connection:
            for code, what in (("TIMEOUT", Retry), ("ACCESS_DENIED", Reject)):
                owner(fresh, "bulk/fail", {"code": code, "after": 5})
                positions = []
                with pytest.raises(ReadFailed, match=code) as failed:
                    async for batch in connection.read_bulk(known_entities()["orders"], BulkRead(rows=10)):
                        positions.append(again(batch.position))
                assert isinstance(failed.value.outcome, what)
                assert len(ids(await read(connection, rows=10, position=positions[-1]))) == 25

    asyncio.run(scene())


def test_one_operation_at_a_time_and_one_that_is_canceled(fresh: Sandbox, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(fresh, tmp_path) as connection:
            one = connection.read_bulk(known_entities()["orders"], BulkRead())
            owner(fresh, "clock", {"by_s": 3_600.0})
            first = await anext(one)
            owner(fresh, "clock", {"reset": True})  # so it waits for an hour
            other = connection.read_bulk(known_entities()["customers"], BulkRead())
            busy = await anext(other)
            assert busy.after_s == bulk_reading.IN_PROGRESS_S and not busy.position["operation"]
            address = f"{fresh.address('shop')}/admin/api/2026-10/graphql.json"
            query = "mutation($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { message } } }"
            body = {"query": query, "variables": {"id": first.position["operation"]}}
            headers = {"x-shopify-access-token": fresh.credentials("shop")["access_token"]}
            told = requests.post(address, json=body, headers=headers, timeout=5).json()["data"]["bulkOperationCancel"]
            assert (told["bulkOperation"]["status"], told["userErrors"]) == ("CANCELING", [])
            with pytest.raises(ReadFailed, match="canceled in the shop"):
                [batch async for batch in one]
            found = []
            async for batch in other:
                await asyncio.sleep(0.05 if batch.after_s else 0.0)  # the cancelation takes its time
                found.append(batch)
            assert found[-1].is_last and len(ids(found)) > 0

    asyncio.run(scene())


def test_changes_only(fresh: Sandbox, tmp_path: Path) -> None:
    owner(fresh, "clock", {"by_s": 3_600.0})
    fresh.place_orders(2)
    made = sorted(fresh.objects("shop", "orders"), key=lambda one: one["id"])[-2:]
    since = min(dt.datetime.fromisoformat(one["updated_at"]) for one in made)

    async def scene() -> None:
        for bulk in ("always", "auto"):
            async with connected(fresh, tmp_path, bulk) as connection:
                found = await read(connection, cursor="updated_at", since=since)
                assert sorted(ids(found)) == sorted(one["id"] for one in made)
                assert not set(ids(found)) & set(ids(await read(connection, cursor="updated_at", until=since)))
                with pytest.raises(ReadFailed, match="by `updated_at` only"):
                    await read(connection, cursor="created_at", since=since)

    try:
        asyncio.run(scene())
    finally:
        fresh.reset("shop")
        fresh.place_orders(25)
