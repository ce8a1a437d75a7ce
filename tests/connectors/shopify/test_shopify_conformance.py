"""The Shopify connector against a shop over real HTTP, by the public conformance suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.connectors.shopify import CONNECTOR
from accord.connectors.shopify.entities import known_entities
from accord.connectors.shopify.settings import ShopifySettings
from accord.sdk.connector import WriteMode
from accord.settings.secret import Secret
from accord.testing.connector_suite import CallCase, EntityCase, Status, Subject, WebhookCase, check_names, run_check
from accord.testing.http_server import closed_address, nonsense, serve

CUSTOMERS = [{"email": f"c{n}@example.com", "first_name": f"Ada {n} 🎈", "tags": "vip"} for n in range(1, 6)]
PRODUCTS = [{"handle": f"thing-{n}", "title": f"Thing {n}"} for n in range(1, 6)]
LEVELS = [{"inventory_item_id": n, "location_id": 1 + n % 2, "available": n} for n in range(1, 6)]


def order_record(n: int, quantity: int = 1) -> dict[str, Any]:
    line = {"title": f"Item {n}", "sku": f"S{n}", "quantity": quantity, "price": "10.00"}
    return {"source_identifier": f"erp-{n}", "currency": "EUR", "email": f"o{n}@example.com", "line_items": [line]}


def settings_for(kit: Any, address: str) -> ShopifySettings:
    return ShopifySettings(
        store=address, access_token=Secret(kit.TOKEN), webhook_secret=Secret(kit.SECRET), page_size=2
    )


def cases(shop: Any) -> list[EntityCase]:
    def stored(kind: str, translate: Any) -> Any:
        async def look() -> list[dict[str, Any]]:
            return [translate(node) for node in shop.nodes[kind].values()]

        return look

    def seed(make: Any) -> Any:
        async def put(records: Any) -> None:
            for record in records:
                record["id"] = int(make(record)["legacyResourceId"])

        return put

    def touch(kind: str) -> Any:
        async def change(record: dict[str, Any]) -> None:
            shop.put(kind, shop.nodes[kind][f"gid://shopify/{kind}/{record['id']}"])

        return change

    async def seed_levels(records: Any) -> None:
        for r in records:
            shop.level(r["inventory_item_id"], r["location_id"], r["available"])

    async def touch_level(record: dict[str, Any]) -> None:
        shop.level(record["inventory_item_id"], record["location_id"], 99)

    from accord.connectors.shopify import wire

    return [
        EntityCase(
            entity="customers",
            records=[dict(r) for r in CUSTOMERS],
            stored=stored("Customer", wire.customer),
            seed=seed(lambda r: shop.customer({"email": r["email"], "firstName": r["first_name"]})),
            touch=touch("Customer"),
            changed=lambda r: {**r, "note": "changed"},
            refused={"email": "nonsense", "first_name": "X"},
            identify="email",
        ),
        EntityCase(
            entity="products",
            records=[dict(r) for r in PRODUCTS],
            stored=stored("Product", wire.product),
            seed=seed(lambda r: shop.product(r)),
            touch=touch("Product"),
            changed=lambda r: {**r, "title": "Changed"},
            refused={"handle": "bad", "title": ""},
            identify="handle",
        ),
        EntityCase(
            entity="orders",
            records=[order_record(n) for n in range(1, 6)],
            stored=stored("Order", wire.order),
            seed=seed(
                lambda r: shop.order({"sourceIdentifier": r["source_identifier"], "lineItems": [{"quantity": 1}]})
            ),
            touch=touch("Order"),
            changed=lambda r: {"id": r["id"], "source_identifier": r["source_identifier"], "note": "changed"},
            refused=order_record(9, quantity=0),
            identify="source_identifier",
        ),
        EntityCase(
            entity="inventory_levels",
            records=[dict(r) for r in LEVELS],
            stored=stored("Level", wire.inventory_level),
            seed=seed_levels,
            touch=touch_level,
            changed=lambda r: {**r, "available": 77},
            refused={**LEVELS[0], "available": -5},
            modes=[WriteMode.UPSERT],
        ),
    ]


@asynccontextmanager
async def subject(kit: Any, folder: Path) -> AsyncIterator[Subject]:
    shop = kit.FakeShop()
    async with serve(shop) as server, serve(nonsense) as liar:
        settings = settings_for(kit, server.address)

        async def adjustments() -> int:
            return int(shop.adjustments)

        async def fulfillments() -> int:
            return len(shop.fulfillments)

        @asynccontextmanager
        async def lose_answers() -> AsyncIterator[None]:
            shop.loses_answers = True
            yield
            shop.loses_answers = False

        yield Subject(
            kind=CONNECTOR,
            settings=settings,
            entities=known_entities(),
            folder=folder,
            cases=cases(shop),
            calls=[
                CallCase(
                    operation="adjust_inventory",
                    arguments={"inventory_item_id": 1, "location_id": 1, "by": -2},
                    effects=adjustments,
                ),
                CallCase(
                    operation="create_fulfillment",
                    arguments={"order_id": 1, "tracking_number": "1Z"},
                    effects=fulfillments,
                ),
                CallCase(operation="add_order_tags", arguments={"order_id": 1, "tags": ["packed"]}),
            ],
            webhooks=[
                WebhookCase(
                    request=kit.signed(b'{"id": 820982911946154508, "name": "#1001", "total_price": "404.95"}'),
                    entity="orders",
                    topic="orders/create",
                    event_id="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
                    sign=kit.signed,
                    signature_header="x-shopify-hmac-sha256",
                )
            ],
            unreachable=msgspec.structs.replace(settings, store=closed_address()),
            garbage=msgspec.structs.replace(settings, store=liar.address),
            lose_answers=lose_answers,
        )


NOT_APPLICABLE = {"many_records_are_told_apart", "refused_calls_are_rejects"}


@pytest.mark.parametrize("check", check_names())
def test_conforms(check: str, kit: Any, tmp_path: Path) -> None:
    result = asyncio.run(run_check(check, lambda: subject(kit, tmp_path)))
    assert result.status is (Status.NOT_APPLICABLE if check in NOT_APPLICABLE else Status.PASSED), result.why
