"""What can be called at a shop."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from accord.connectors.shopify import inputs, wire
from accord.connectors.shopify.admin import Admin
from accord.connectors.shopify.writing import quoted, with_key
from accord.errors import Faults
from accord.record import Done, Field, Outcome, Reject
from accord.sdk.connector import CallItem, Idempotency, Operation
from accord.settings.fields import read_fields
from accord.settings.node import Node

ORDERS_OF = 10
ORDERS_OF_MAX = 50
FOUND_ORDER = {
    "id": "integer",
    "name": "string",
    "created_at": "datetime",
    "currency": "string",
    "total_price": "decimal",
    "financial_status": "string?",
    "fulfillment_status": "string?",
}
OPEN = ("OPEN", "IN_PROGRESS", "SCHEDULED")
CANCELLED = ("CANCELLED", "ERROR", "FAILURE")


@functools.cache
def known_operations() -> Mapping[str, Operation]:
    """Operations by name; what each needs of the app's scopes is in the README."""
    made = [
        Operation(
            name="adjust_inventory",
            takes=_fields(inventory_item_id="integer", location_id="integer", by="integer", reason="string?"),
            gives=_fields(inventory_item_id="integer", location_id="integer", available="integer?"),
            idempotency=Idempotency.KEY,
            summary="Makes `by` more (or, negative, fewer) of an item available at a location",
        ),
        Operation(
            name="create_fulfillment",
            takes=_fields(
                order_id="integer",
                tracking_number="string?",
                tracking_company="string?",
                tracking_url="string?",
                notify_customer="boolean?",
            ),
            idempotency=Idempotency.LOOKUP,
            summary="Marks everything that is still open of an order as sent, with tracking",
        ),
        Operation(
            name="add_order_tags",
            takes=_fields(order_id="integer", tags="list[string]"),
            idempotency=Idempotency.UPSERT,
            summary="Adds tags to an order",
        ),
        Operation(
            name="remove_order_tags",
            takes=_fields(order_id="integer", tags="list[string]"),
            idempotency=Idempotency.UPSERT,
            summary="Removes tags from an order",
        ),
        Operation(
            name="find_variant",
            takes=_fields(sku="string"),
            gives=_fields(
                id="integer",
                product_id="integer?",
                sku="string?",
                title="string?",
                price="decimal?",
                inventory_item_id="integer?",
                inventory_quantity="integer?",
            ),
            idempotency=Idempotency.UPSERT,
            is_read_only=True,
            summary="The variant with this SKU",
        ),
        Operation(
            name="orders_of",
            takes=_fields(email="string", newest="integer?"),
            gives=_fields(orders={"list": FOUND_ORDER}),
            idempotency=Idempotency.UPSERT,
            is_read_only=True,
            summary=f"The newest orders placed with this mail address, newest first ({ORDERS_OF} unless `newest` says otherwise)",
        ),
    ]
    return {operation.name: operation for operation in made}


class Caller:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._calls = {
            "adjust_inventory": self._adjust_inventory,
            "create_fulfillment": self._create_fulfillment,
            "add_order_tags": self._add_tags,
            "remove_order_tags": self._remove_tags,
            "find_variant": self._find_variant,
            "orders_of": self._orders_of,
        }

    async def call(self, operation: str, item: CallItem) -> Outcome:
        """The outcome of one call. Raises Stopped."""
        found = self._calls.get(operation)
        if found is None:
            return Reject(f"a shop has no operation {operation}", code="connector.unknown-operation")
        return await found(item)

    async def _adjust_inventory(self, item: CallItem) -> Outcome:
        given = inputs.inventory_adjust(item.arguments, item.effect_id)
        payload = await with_key(self._admin, "inventory_adjust", given, item.effect_id)
        changes = (payload.get("inventoryAdjustmentGroup") or {}).get("changes") or []
        available = next((c.get("quantityAfterChange") for c in changes if c.get("name") == "available"), None)
        names = ("inventory_item_id", "location_id")
        return Done({**{name: item.arguments[name] for name in names}, "available": available})

    async def _create_fulfillment(self, item: CallItem) -> Outcome:
        id_ = wire.gid("Order", item.arguments["order_id"])
        order = (await self._admin.run("fulfillment_orders", {"id": id_}))["order"]
        if order is None:
            return Reject("there is no such order", path="order_id", code="connector.not-found")
        if item.in_doubt and (made := _made_before(order, item.arguments.get("tracking_number"))) is not None:
            return Done(wire.fulfillment(made), was_there=True)
        waiting = [
            {"fulfillmentOrderId": node["id"]}
            for node in order["fulfillmentOrders"]["nodes"]
            if node["status"] in OPEN and any(line["remainingQuantity"] for line in node["lineItems"]["nodes"])
        ]
        if not waiting:
            return Reject("nothing of the order is left to be sent", path="order_id")
        fulfillment: dict[str, Any] = {
            "lineItemsByFulfillmentOrder": waiting,
            "notifyCustomer": bool(item.arguments.get("notify_customer")),
        }
        tracking = inputs.tracking(item.arguments)
        if tracking:
            fulfillment["trackingInfo"] = tracking
        payload = await self._admin.mutate("fulfillment_create", {"fulfillment": fulfillment, "message": None})
        return Done(wire.fulfillment(payload["fulfillment"]))

    async def _add_tags(self, item: CallItem) -> Outcome:
        return await self._tags("tags_add", item)

    async def _remove_tags(self, item: CallItem) -> Outcome:
        return await self._tags("tags_remove", item)

    async def _tags(self, document: str, item: CallItem) -> Outcome:
        id_ = wire.gid("Order", item.arguments["order_id"])
        await self._admin.mutate(document, {"id": id_, "tags": list(item.arguments["tags"])})
        return Done()

    async def _find_variant(self, item: CallItem) -> Outcome:
        sku = str(item.arguments["sku"])
        data = await self._admin.run("find_variant", {"query": f"sku:'{quoted(sku)}'"})
        nodes = [node for node in data["productVariants"]["nodes"] if node.get("sku") == sku]
        if not nodes:
            return Reject("no variant has this SKU", path="sku", code="connector.not-found")
        if len(nodes) > 1:
            return Reject("several variants have this SKU", path="sku")
        return Done(wire.variant(nodes[0]))

    async def _orders_of(self, item: CallItem) -> Outcome:
        email = str(item.arguments["email"])
        size = min(max(int(item.arguments.get("newest") or ORDERS_OF), 1), ORDERS_OF_MAX)
        data = await self._admin.run("orders_of", {"query": f"email:'{quoted(email)}'", "first": size})
        # Shopify's search compares by words: an address within another one is found as well.
        nodes = [node for node in data["orders"]["nodes"] if (node.get("email") or "").lower() == email.lower()]
        orders = [wire.order(node) for node in nodes]
        return Done({"orders": [{name: order[name] for name in FOUND_ORDER} for order in orders]})


def _made_before(order: Any, tracking_number: str | None) -> Any:
    """The fulfillment an earlier attempt made: with the tracking number, or without one the latest that stands."""
    made = [node for node in order["fulfillments"] if node["status"] not in CANCELLED]
    if tracking_number:
        made = [n for n in made if any(t.get("number") == tracking_number for t in n.get("trackingInfo") or ())]
    return made[-1] if made else None


def _fields(**given: Any) -> dict[str, Field]:
    faults = Faults()
    fields = read_fields(Node.of(given), faults, what="operation")
    faults.raise_if_any()
    assert fields is not None
    return fields
