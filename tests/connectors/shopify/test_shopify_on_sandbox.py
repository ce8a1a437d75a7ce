"""The Shopify connector on the sandbox shop: another's reading of the same API, with real signed webhooks."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.connectors.shopify import CONNECTOR, wire
from accord.connectors.shopify.documents import document
from accord.connectors.shopify.entities import known_entities
from accord.connectors.shopify.settings import ShopifySettings
from accord.engine.http import PooledHttpClient
from accord.record import Done, Retry
from accord.sandbox import Sandbox
from accord.sdk.connector import CallItem, Connection, Context, Received
from accord.sdk.http import HttpRequest, InboundRequest, encode_json
from accord.settings.secret import Secret
from accord.testing.connector_suite import CallCase, EntityCase, Status, Subject, check_names, run_check
from accord.testing.http_server import Answer, json_answer, serve

OPEN = {"graphql_points": 1_000_000, "webhook_retry_first_s": 0.05}
CUSTOMERS = [{"email": f"c{n}@customers.example", "first_name": f"Ada {n} 🎈"} for n in range(1, 6)]
PRODUCTS = [{"handle": f"thing-{n}", "title": f"Thing {n}"} for n in range(1, 6)]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("shop"), ["shop"], settings={"shop": OPEN}) as found:
        yield found


def order_record(n: int, quantity: int = 1) -> dict[str, Any]:
    line = {"title": f"Item {n}", "quantity": quantity, "price": "10.00"}
    return {
        "source_identifier": f"erp-{n}",
        "currency": "EUR",
        "email": f"o{n}@customers.example",
        "line_items": [line],
    }


def settings_of(sandbox: Sandbox) -> ShopifySettings:
    told = sandbox.credentials("shop")
    return ShopifySettings(
        store="accord-sandbox",
        address=sandbox.address("shop"),
        access_token=Secret(told["access_token"]),
        webhook_secret=Secret(told["webhook_secret"]),
        page_size=3,
    )


class Back:
    """Asks the shop behind the connector's back."""

    def __init__(self, sandbox: Sandbox, http: PooledHttpClient) -> None:
        self.settings, self.http = settings_of(sandbox), http

    async def ask(self, name: str, variables: dict[str, Any]) -> Any:
        headers = {
            "content-type": "application/json",
            "x-shopify-access-token": self.settings.access_token.reveal(),
        }
        body = encode_json({"query": document(name), "variables": variables})
        url = self.settings.graphql_address
        answer = (await self.http.send(HttpRequest(method="POST", url=url, headers=headers, body=body))).json()
        return next(iter(answer["data"].values()))

    async def nodes(self, name: str) -> list[Any]:
        found: list[Any] = []
        after = None
        while True:
            page = await self.ask(name, {"first": 50, "after": after})
            found += page["nodes"]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                return found


def customer_case(back: Back) -> EntityCase:
    async def stored() -> list[dict[str, Any]]:
        return [wire.customer(node) for node in await back.nodes("customers")]

    async def seed(records: Any) -> None:
        for record in records:
            given = {"email": record["email"], "firstName": record["first_name"]}
            made = await back.ask("customer_create", {"input": given})
            record["id"] = int(made["customer"]["legacyResourceId"])

    async def touch(record: dict[str, Any]) -> None:
        await back.ask("customer_update", {"input": {"id": wire.gid("Customer", record["id"]), "note": "touched"}})

    return EntityCase(
        entity="customers",
        records=[dict(r) for r in CUSTOMERS],
        stored=stored,
        seed=seed,
        touch=touch,
        changed=lambda r: {**r, "note": "changed"},
        refused={"email": "nonsense", "first_name": "X"},
        identify="email",
    )


def product_case(back: Back) -> EntityCase:
    async def stored() -> list[dict[str, Any]]:
        return [wire.product(node) for node in await back.nodes("products")]

    async def seed(records: Any) -> None:
        for record in records:
            given = {"handle": record["handle"], "title": record["title"]}
            made = await back.ask("product_set", {"identifier": {"handle": record["handle"]}, "input": given})
            record["id"] = int(made["product"]["legacyResourceId"])

    async def touch(record: dict[str, Any]) -> None:
        await back.ask("product_update", {"product": {"id": wire.gid("Product", record["id"]), "vendor": "touched"}})

    return EntityCase(
        entity="products",
        records=[dict(r) for r in PRODUCTS],
        stored=stored,
        seed=seed,
        touch=touch,
        changed=lambda r: {**r, "title": "Changed"},
        refused={"handle": "bad", "title": ""},
        identify="handle",
    )


def order_case(back: Back) -> EntityCase:
    async def stored() -> list[dict[str, Any]]:
        return [wire.order(node) for node in await back.nodes("orders")]

    async def seed(records: Any) -> None:
        for record in records:
            price = {"shopMoney": {"amount": "10.00", "currencyCode": "EUR"}}
            line = {"title": "x", "quantity": 1, "priceSet": price}
            given = {"sourceIdentifier": record["source_identifier"], "currency": "EUR", "lineItems": [line]}
            made = await back.ask("order_create", {"order": given, "options": None})
            record["id"] = int(made["order"]["legacyResourceId"])

    async def touch(record: dict[str, Any]) -> None:
        await back.ask("order_update", {"input": {"id": wire.gid("Order", record["id"]), "note": "touched"}})

    return EntityCase(
        entity="orders",
        records=[order_record(n) for n in range(1, 6)],
        stored=stored,
        seed=seed,
        touch=touch,
        changed=lambda r: {"id": r["id"], "source_identifier": r["source_identifier"], "note": "changed"},
        refused=order_record(9, quantity=0),
        identify="source_identifier",
    )


@asynccontextmanager
async def subject(sandbox: Sandbox, folder: Path) -> AsyncIterator[Subject]:
    sandbox.reset("shop")
    http = PooledHttpClient(timeout_s=10.0)
    back = Back(sandbox, http)

    def level() -> dict[str, Any]:
        return next(sandbox.objects("shop", "levels"))

    location = (await back.ask("locations", {"first": 1, "after": None}))["nodes"][0]["id"]
    item_id = level()["inventory_item_id"]

    async def available() -> int:
        return int(level()["available"])

    @asynccontextmanager
    async def lose_answers() -> AsyncIterator[None]:
        sandbox.fault("shop", lose_answers=1.0)
        yield
        sandbox.clear("shop")

    adjust = {"inventory_item_id": item_id, "location_id": wire.number_of(location), "by": -2}
    yield Subject(
        kind=CONNECTOR,
        settings=back.settings,
        entities=known_entities(),
        folder=folder,
        cases=[customer_case(back), product_case(back), order_case(back)],
        calls=[CallCase(operation="adjust_inventory", arguments=adjust, effects=available)],
        lose_answers=lose_answers,
    )
    sandbox.clear("shop")
    await http.close()


@pytest.mark.parametrize("check", check_names())
def test_conforms(check: str, sandbox: Sandbox, tmp_path: Path) -> None:
    result = asyncio.run(run_check(check, lambda: subject(sandbox, tmp_path)))
    assert result.status in (Status.PASSED, Status.NOT_APPLICABLE), result.why


async def connected(sandbox: Sandbox, folder: Path, http: PooledHttpClient) -> Connection:
    context = Context(system="shop", http=http, folder=folder, state_folder=folder)
    return CONNECTOR.connect(settings_of(sandbox), known_entities(), context)


def test_signed_webhooks_arrive_and_an_order_is_fulfilled_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """Subscribe, place an order, verify what arrives, read it, send it; repeats show once."""
    arrived: queue.Queue[InboundRequest] = queue.Queue()

    async def hook(request: InboundRequest) -> Answer:
        arrived.put(request)
        return json_answer({})

    async def run() -> None:
        sandbox.reset("shop")
        http = PooledHttpClient(timeout_s=10.0)
        connection = await connected(sandbox, tmp_path, http)
        async with serve(hook) as server:
            made = await connection.subscribe(f"{server.address}/in/shop", ["orders/create"])
            assert made == Done({"subscribed": ["orders/create"]})
            assert await connection.subscribe(f"{server.address}/in/shop", ["orders/create"]) == Done(
                {"subscribed": []}
            )
            (placed,) = await asyncio.to_thread(sandbox.place_orders, 1)
            request = await asyncio.to_thread(arrived.get, True, 20)
        received = connection.receive(request)
        assert isinstance(received, Received), received
        (event,) = received.events
        assert (event.entity, event.topic) == ("orders", "orders/create") and event.event_id

        entity = known_entities()["orders"]
        read = await connection.get(entity, str(placed["id"]))
        assert isinstance(read, Done) and read.result["name"] == placed["name"]
        told = msgspec.json.decode(event.body)
        for name in ("id", "name", "email", "currency", "total_price", "financial_status"):
            assert str(read.result[name]) == str(told[name]), name
        assert [i["sku"] for i in read.result["line_items"]] == [i["sku"] for i in told["line_items"]]

        arguments = {"order_id": placed["id"], "tracking_number": "1Z9", "tracking_company": "UPS"}
        first = await connection.call("create_fulfillment", CallItem("e" * 32, arguments))
        again = await connection.call("create_fulfillment", CallItem("e" * 32, arguments, True))
        assert isinstance(first, Done) and isinstance(again, Done) and again.was_there
        pages = [page async for page in connection.read(known_entities()["fulfillments"])]
        numbers = [record["tracking_number"] for page in pages for record in page.records]
        assert numbers == ["1Z9"]
        sku = told["line_items"][0]["sku"]
        variant = await connection.call("find_variant", CallItem("f", {"sku": sku}))
        assert isinstance(variant, Done) and variant.result["sku"] == sku
        email = told["email"]
        found = await connection.call("orders_of", CallItem("o", {"email": email.upper()}))
        assert isinstance(found, Done) and told["id"] in [order["id"] for order in found.result["orders"]]
        nobody = await connection.call("orders_of", CallItem("o", {"email": "no'body\\@example.com"}))
        assert nobody == Done({"orders": []})
        tags = CallItem("g", {"order_id": placed["id"], "tags": ["packed"]})
        assert await connection.call("add_order_tags", tags) == Done()
        levels = [r async for page in connection.read(known_entities()["inventory_levels"]) for r in page.records]
        assert any(record["sku"] == sku for record in levels)
        await http.close()

    asyncio.run(run())


def test_a_throttled_shop_pauses_everything(sandbox: Sandbox, tmp_path: Path) -> None:
    async def run() -> Any:
        http = PooledHttpClient(timeout_s=10.0)
        connection = await connected(sandbox, tmp_path, http)
        sandbox.fault("shop", rate_limit_per_s=0.001)
        try:
            return [await connection.check() for _ in range(3)]
        finally:
            sandbox.clear("shop")
            await http.close()

    outcomes = asyncio.run(run())
    assert isinstance(outcomes[-1], Retry) and outcomes[-1].throttled and outcomes[-1].after_s
