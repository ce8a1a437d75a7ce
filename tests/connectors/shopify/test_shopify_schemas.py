"""The connector against what Shopify publishes: every document, every variable sent, every webhook body."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from graphql import NoDeprecatedCustomRule, OperationDefinitionNode, parse, validate
from graphql.execution.values import get_variable_values

from accord.connectors.shopify import CONNECTOR, wire
from accord.connectors.shopify.documents import document, document_names
from accord.connectors.shopify.entities import TOPICS, known_entities
from accord.connectors.shopify.settings import ShopifySettings
from accord.engine.http import PooledHttpClient
from accord.errors import Faults
from accord.mapping.contract import Contract, compile_contract
from accord.mapping.functions import FunctionTable
from accord.record.types import List, Object
from accord.sdk.connector import CallItem, Context, Received, WriteItem, WriteMode
from accord.sdk.http import encode_json
from accord.settings.secret import Secret
from accord.testing.http_server import serve

VERSION = "2026-07"  # newest the package holds
ADDRESS = {"first_name": "Ada", "last_name": "L", "address1": "1 St", "city": "B", "zip": "1", "country_code": "DE"}
ORDER = {
    "id": 7,
    "currency": "EUR",
    "email": "a@example.com",
    "note": "n",
    "tags": "a, b",
    "financial_status": "paid",
    "processed_at": "2026-01-01T00:00:00Z",
    "test": True,
    "taxes_included": True,
    "po_number": "1",
    "customer": {"email": "a@example.com", "first_name": "Ada"},
    "shipping_address": ADDRESS,
    "billing_address": ADDRESS,
    "line_items": [{"variant_id": 3, "quantity": 2, "price": "1.50", "title": "T", "sku": "S", "taxable": True}],
}
VARIANT = {"title": "Small", "sku": "S", "price": "1.50", "compare_at_price": "2.00", "barcode": "1", "taxable": True}
PRODUCT = {
    "id": 1,
    "title": "T",
    "handle": "t",
    "body_html": "<p>",
    "vendor": "V",
    "product_type": "P",
    "status": "active",
    "tags": "x",
    "variants": [VARIANT, {**VARIANT, "title": "Large"}],
}
CUSTOMER = {"id": 1, "email": "a@example.com", "first_name": "Ada", "tags": "vip", "tax_exempt": False, "note": "n"}
LEVEL = {"inventory_item_id": 1, "location_id": 2, "available": 5}


@pytest.mark.parametrize("name", document_names())
def test_every_document_is_valid(name: str, admin_schema: Any) -> None:
    parsed = parse(document(name))
    assert [str(e) for e in validate(admin_schema, parsed)] == []
    deprecated = [str(e) for e in validate(admin_schema, parsed, rules=[NoDeprecatedCustomRule])]
    assert deprecated == []


async def everything_sent(kit: Any, folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    shop = kit.FakeShop()
    shop.customer({"id": "gid://shopify/Customer/1", "email": "a@example.com"})
    shop.product({"id": "gid://shopify/Product/1", "title": "T"})
    shop.order({"id": "gid://shopify/Order/7", "lineItems": []})
    shop.level(1, 2, 3)
    async with serve(shop) as server:
        http = PooledHttpClient(timeout_s=5.0)
        settings = ShopifySettings(store=server.address, access_token=Secret(kit.TOKEN))
        context = Context(system="shop", http=http, folder=folder, state_folder=folder)
        entities = known_entities()
        connection = CONNECTOR.connect(settings, entities, context)
        records = {"orders": ORDER, "products": PRODUCT, "customers": CUSTOMER, "inventory_levels": LEVEL}
        for name, record in records.items():
            modes = CONNECTOR.capabilities(settings, entities[name]).write
            for mode in [*sorted(modes - {WriteMode.DELETE}), *(modes & {WriteMode.DELETE})]:
                for item in (WriteItem("0" * 32, record), WriteItem("0" * 32, record, True)):
                    await connection.write(entities[name], mode, [item])
            if name != "inventory_levels":
                await connection.get(entities[name], "1")
            for position in (None, {"since": "2026-01-01T00:00:00Z"}):
                assert [page async for page in connection.read(entities[name], position)]
        adjust = {"inventory_item_id": 1, "location_id": 2, "by": -1, "reason": None}
        await connection.call("adjust_inventory", CallItem("e", adjust))
        tracking = {
            "order_id": 1,
            "tracking_number": "1",
            "tracking_company": "UPS",
            "tracking_url": "https://x.example",
        }
        await connection.call("create_fulfillment", CallItem("e", tracking))
        await connection.call("add_order_tags", CallItem("e", {"order_id": 1, "tags": ["x"]}))
        await connection.subscribe("https://accord.example/in", list(TOPICS))
        await http.close()
    return list(shop.asked)


def test_every_variable_sent_fits_the_schema(kit: Any, admin_schema: Any, tmp_path: Path) -> None:
    asked = asyncio.run(everything_sent(kit, tmp_path))
    for name, query, variables in asked:
        (operation,) = [d for d in parse(query).definitions if isinstance(d, OperationDefinitionNode)]
        found = get_variable_values(admin_schema, operation.variable_definitions or (), variables)
        assert not isinstance(found, list), f"{name}: {[str(e) for e in found]}"
    sent = {name for name, _, _ in asked}
    assert {"OrderCreate", "ProductSet", "CustomerSet", "InventorySet", "InventoryAdjust", "FulfillmentCreate"} <= sent


def webhook_schema(folder: Path, topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "schemas" / VERSION / f"{topic}.json").read_text())
    return found


def example_body(folder: Path, topic: str) -> dict[str, Any]:
    response = json.loads((folder / "metadatas" / VERSION / f"{topic}.json").read_text())["response"]
    body: dict[str, Any] = json.loads(response) if isinstance(response, str) else response
    return body


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_published_webhook_bodies_are_received(topic: str, kit: Any, webhook_folder: Path, tmp_path: Path) -> None:
    body = json.dumps(example_body(webhook_folder, topic)).encode()
    settings = ShopifySettings(store="acme.myshopify.com", access_token=Secret("t"), webhook_secret=Secret(kit.SECRET))
    context = Context(system="shop", http=PooledHttpClient(), folder=tmp_path, state_folder=tmp_path)
    received = CONNECTOR.connect(settings, known_entities(), context).receive(kit.signed(body, topic))
    assert isinstance(received, Received)
    assert received.events[0].body == body
    assert received.events[0].entity == topic.partition("/")[0]


def contract_of(name: str) -> Contract:
    faults = Faults()
    contract = compile_contract(known_entities()[name], FunctionTable.builtin(), faults)
    faults.raise_if_any()
    assert contract is not None
    return contract


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_published_webhook_bodies_satisfy_the_entity(topic: str, webhook_folder: Path) -> None:
    body = example_body(webhook_folder, topic)
    found = contract_of(TOPICS[topic]).decode(json.dumps(body).encode())
    for name in ("id", "name", "email", "inventory_item_id", "title"):
        if name in body and name in known_entities()[TOPICS[topic]].fields:
            assert found[name] == body[name]
    if topic == "orders/create":
        assert found["total_price"] == Decimal("404.95")


MADE_BY_GRAPHQL = {"inventory_levels": {"on_hand", "committed", "sku"}, "customers": {"tags"}}


@pytest.mark.parametrize("name", sorted(known_entities()))
def test_entities_name_what_webhooks_hold(name: str, webhook_folder: Path) -> None:
    """Every declared field stands in the published body, and required ones are never declared away."""
    topic = f"{name}/update" if f"{name}/update" in TOPICS else f"{name}/create"
    known = webhook_schema(webhook_folder, topic)["properties"]
    fields = known_entities()[name].fields
    assert set(fields) - set(known) - MADE_BY_GRAPHQL.get(name, set()) == set()
    for field_name, field in fields.items():
        inner = known.get(field_name, {})
        if isinstance(field.type, Object) and "properties" in inner:
            assert set(field.type.fields) - set(inner["properties"]) == set(), field_name
        if isinstance(field.type, List) and isinstance(field.type.item, Object) and field_name == "line_items":
            assert set(field.type.item.fields) - set(inner["items"]["properties"]) == set(), field_name


def test_records_read_by_graphql_fit_the_webhook_schema(kit: Any, webhook_folder: Path) -> None:
    """Same names, same kinds of values, so that a flow need not know which way a record came."""
    shop = kit.FakeShop()
    made = {
        "orders/create": wire.order(
            shop.order({"lineItems": [{"quantity": 1, "title": "T", "sku": "S"}], "currency": "EUR"})
        ),
        "customers/create": wire.customer(shop.customer({"email": "a@example.com", "firstName": "Ada"})),
        "products/create": wire.product(shop.product({"title": "T", "handle": "t"})),
        "inventory_levels/update": wire.inventory_level(shop.level(1, 2, 3)),
    }
    for topic, record in made.items():
        schema = webhook_schema(webhook_folder, topic)
        for name, value in record.items():
            if value is not None and name in schema["properties"]:
                inner = {**schema["properties"][name]}
                for key in ("required", "additionalProperties"):
                    inner.pop(key, None)
                if isinstance(value, str | int | bool):
                    jsonschema.validate(value, inner)
        assert type(record.get("id", 0)) is int, topic
        assert contract_of(TOPICS[topic]).decode(encode_json(record)).keys() >= set(known_entities()[TOPICS[topic]].key)
