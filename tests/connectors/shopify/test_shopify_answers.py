"""What the shop's answers come to: throttle, errors of three layers, webhooks, subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from accord.connectors.shopify import CONNECTOR, cost, inputs
from accord.connectors.shopify.entities import known_entities
from accord.connectors.shopify.settings import ShopifySettings
from accord.engine.http import PooledHttpClient
from accord.errors import Faults
from accord.record import Done, Reconnect, Reject, Retry
from accord.sdk.connector import CallItem, Connection, Context, ReadFailed, Received, Refused, WriteItem, WriteMode
from accord.sdk.http import HttpResponse
from accord.settings.node import Node
from accord.settings.secret import Secret
from accord.testing.http_server import json_answer, serve

THROTTLED = {
    "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
    "extensions": {
        "cost": {
            "requestedQueryCost": 752,
            "actualQueryCost": None,
            "throttleStatus": {"maximumAvailable": 1000.0, "currentlyAvailable": 652, "restoreRate": 50.0},
        }
    },
}


def with_shop(kit: Any, folder: Path, work: Callable[[Any, Connection], Awaitable[Any]], **changes: Any) -> Any:
    async def run() -> Any:
        shop = kit.FakeShop()
        async with serve(shop) as server:
            http = PooledHttpClient(timeout_s=5.0)
            given = {"store": server.address, "access_token": Secret(kit.TOKEN), "webhook_secret": Secret(kit.SECRET)}
            settings = ShopifySettings(**{**given, **changes})
            context = Context(system="shop", http=http, folder=folder, state_folder=folder)
            connection = CONNECTOR.connect(settings, known_entities(), context)
            await connection.open()
            try:
                return await work(shop, connection)
            finally:
                await connection.close()
                await http.close()

    return asyncio.run(run())


CUSTOMER = {"email": "ada@example.com", "first_name": "Ada"}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (json_answer(THROTTLED), Retry("THROTTLED: Throttled", after_s=2.0, throttled=True)),
        (
            json_answer({"errors": "Too many"}, 429, {"retry-after": "2.0"}),
            Retry("429: Too many", after_s=2.0, throttled=True),
        ),
        (
            json_answer({"errors": [{"message": "oops", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}),
            Retry("INTERNAL_SERVER_ERROR: oops", in_doubt=True),
        ),
        (
            json_answer({"errors": [{"message": "no scope", "extensions": {"code": "ACCESS_DENIED"}}]}),
            Reject("ACCESS_DENIED: no scope", code="connector.forbidden"),
        ),
        (json_answer({"errors": "[API] Invalid API key"}, 401), Reconnect("401: [API] Invalid API key")),
        (json_answer({"errors": "Not Found"}, 404), Reconnect("404: Not Found")),
        (HttpResponse(status=503), Reconnect("the system answered 503", in_doubt=True)),
        (json_answer({"errors": [{"message": "Field 'x' doesn't exist"}]}), Reject("Field 'x' doesn't exist")),
        (json_answer({"data": {"customerCreate": None}}), Retry("the shop's answer holds no result", in_doubt=True)),
        (json_answer([1]), Retry("the shop's answer is no GraphQL", in_doubt=True)),
    ],
)
def test_every_layer_of_failure(kit: Any, tmp_path: Path, answer: Any, wanted: Any) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        shop.answers = [answer]
        return await connection.write(known_entities()["customers"], WriteMode.CREATE, [WriteItem("e", CUSTOMER)])

    assert with_shop(kit, tmp_path, work) == wanted


def test_a_user_error_names_the_field(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        line = {"title": "x", "quantity": 0}
        item = WriteItem("e", {"line_items": [line], "currency": "EUR"})
        return await connection.write(known_entities()["orders"], WriteMode.CREATE, [item])

    outcome = with_shop(kit, tmp_path, work)
    assert outcome == Reject("Quantity must be greater than 0", path="line_items[0].quantity")


def test_a_spent_key_is_followed_by_the_next(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        error = {"field": None, "message": "failed before", "code": "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"}
        shop.answers = [json_answer({"data": {"inventoryAdjustQuantities": {"userErrors": [error]}}})]
        arguments = {"inventory_item_id": 1, "location_id": 2, "by": -1}
        outcome = await connection.call("adjust_inventory", CallItem("0" * 32, arguments))
        return outcome, shop.adjustments, list(shop.keys)

    outcome, adjustments, keys = with_shop(kit, tmp_path, work)
    assert outcome == Done({"inventory_item_id": 1, "location_id": 2, "available": 7})
    assert adjustments == 1
    assert keys == [inputs.idempotency_key("0" * 32, 1)] != [inputs.idempotency_key("0" * 32, 0)]


def test_a_concurrent_repeat_waits_in_doubt(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        error = {"message": "in progress", "code": "IDEMPOTENCY_CONCURRENT_REQUEST"}
        shop.answers = [json_answer({"data": {"inventoryAdjustQuantities": {"userErrors": [error]}}})]
        return await connection.call(
            "adjust_inventory", CallItem("e", {"inventory_item_id": 1, "location_id": 2, "by": 1})
        )

    outcome = with_shop(kit, tmp_path, work)
    assert isinstance(outcome, Retry) and outcome.in_doubt


def test_long_orders_are_read_whole(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        node = shop.order({"lineItems": [{"quantity": 1, "sku": f"S{n}"} for n in range(3)]})
        items = node["lineItems"]["nodes"]
        node["lineItems"] = {"nodes": items[:1], "pageInfo": {"hasNextPage": True, "endCursor": "c1"}}
        more = {"nodes": items[1:], "pageInfo": {"hasNextPage": False, "endCursor": None}}
        shop.on_OrderLineItems = lambda v: {"order": {"lineItems": more}}
        outcome = await connection.get(known_entities()["orders"], node["legacyResourceId"])
        return [line["sku"] for line in outcome.result["line_items"]]

    assert with_shop(kit, tmp_path, work) == ["S0", "S1", "S2"]


def test_fulfillments_come_with_their_orders(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        made = shop.on_FulfillmentCreate(
            {"fulfillment": {"trackingInfo": {"number": "1Z", "company": "UPS", "url": None}}}
        )
        orders = [{"updatedAt": shop.now(), "fulfillments": [made["fulfillmentCreate"]["fulfillment"]]}]
        page = {"nodes": orders, "pageInfo": {"hasNextPage": False, "endCursor": None}}
        shop.on_Fulfillments = lambda v: {"orders": page}
        return [page async for page in connection.read(known_entities()["fulfillments"])]

    (page,) = with_shop(kit, tmp_path, work)
    assert page.records[0]["tracking_number"] == "1Z" and page.records[0]["order_id"] == 1
    assert page.position["since"] == "2026-01-01T00:00:03Z"


def test_a_throttled_read_says_how_long(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        shop.answers = [json_answer(THROTTLED)]
        with pytest.raises(ReadFailed) as failed:
            async for _ in connection.read(known_entities()["orders"]):
                raise AssertionError("no page was to be given")
        return failed.value.outcome

    assert with_shop(kit, tmp_path, work) == Retry("THROTTLED: Throttled", after_s=2.0, throttled=True)


def test_it_waits_before_the_bucket_overflows() -> None:
    bucket = cost.CostBucket()
    body = {
        "extensions": {
            "cost": {"requestedQueryCost": 100, "throttleStatus": {"currentlyAvailable": 40, "restoreRate": 20}}
        }
    }
    bucket.learn("orders", body, 1000.0)
    assert bucket.wait_s("orders", 1000.0) == 3.0
    assert bucket.wait_s("orders", 1002.0) == 1.0
    assert bucket.wait_s("orders", 1003.0) == 0.0
    assert bucket.wait_s("shop", 1000.0) == 0.0


@pytest.mark.parametrize("body", [None, [], {"extensions": None}, {"extensions": {"cost": {"throttleStatus": 3}}}])
def test_strange_costs_are_ignored(body: Any) -> None:
    assert cost.throttled_s(body) == cost.WAIT_S_UNKNOWN


def test_subscribes_once_for_each_topic(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        shop.subscriptions = [{"id": "1", "topic": "ORDERS_CREATE", "uri": "https://elsewhere.example"}]
        topics = ["orders/create", "fulfillments/update"]
        made = [await connection.subscribe("https://accord.example/in/shop", topics) for _ in range(2)]
        return made, len(shop.subscriptions), await connection.subscribe("https://x.example", ["orders/creat"])

    (first, second), count, unknown = with_shop(kit, tmp_path, work)
    assert first.result == {"subscribed": ["orders/create", "fulfillments/update"]}
    assert second.result == {"subscribed": []}
    assert count == 3
    assert isinstance(unknown, Reject)


def test_webhooks_of_strangers_and_unknown_topics(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        return [
            connection.receive(kit.signed(b"{}", secret="another")),
            connection.receive(kit.signed(b"{}", topic="themes/publish")),
            connection.receive(kit.signed(b'{"id":1}', **{"x-shopify-shop-domain": "other.myshopify.com"})),
            connection.receive(kit.signed(b'{"id":1}', **{"x-shopify-shop-domain": "acme.myshopify.com"})),
        ]

    forged, unknown, foreign, own = with_shop(kit, tmp_path, work, store="acme.myshopify.com")
    assert isinstance(forged, Refused) and forged.status == 401
    assert unknown == Received(())
    assert isinstance(foreign, Refused) and foreign.status == 401
    assert isinstance(own, Received) and own.events[0].body == b'{"id":1}'
    assert own.events[0].headers["shopify-event-id"] == "98880550-7158-44d4-b7cd-2c97c8a091b5"


def test_without_a_secret_nothing_is_genuine(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        return connection.receive(kit.signed(b"{}"))

    refused = with_shop(kit, tmp_path, work, webhook_secret=None)
    assert refused.status == 401 and "webhook_secret" in refused.reason


def test_secrets_do_not_show(kit: Any, tmp_path: Path) -> None:
    async def work(shop: Any, connection: Connection) -> Any:
        said = f"token {kit.TOKEN} of ada@example.com is wrong"
        shop.answers = [json_answer({"errors": [{"message": said}]})]
        return await connection.check()

    assert with_shop(kit, tmp_path, work) == Reject("token *** of ***@*** is wrong")


@pytest.mark.parametrize(
    ("store", "code"),
    [
        ("acme.myshopify.com", None),
        ("http://127.0.0.1:9101", None),
        ("http://acme.example", "connector.plain-http"),
        ("acme", "connector.bad-address"),
        ("https://acme.myshopify.com/admin", "connector.bad-address"),
    ],
)
def test_addresses_are_checked(store: str, code: str | None) -> None:
    faults = Faults()
    settings = ShopifySettings(store=store, access_token=Secret("t"))
    CONNECTOR.check(settings, known_entities(), Node.of({"store": store}), faults)
    assert [f.code for f in faults.found] == ([code] if code else [])
