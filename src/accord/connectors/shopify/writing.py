"""Writing to a shop: which mutation a mode of an entity is, and how a repeat is recognised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from accord.connectors.shopify import inputs, wire
from accord.connectors.shopify.admin import KEY_SPENT, Admin, Stopped
from accord.connectors.shopify.settings import ShopifySettings
from accord.record import Done, Outcome, Reject
from accord.sdk.connector import Idempotency, WriteItem, WriteMode

KEYS_MAX = 4  # keys tried for one effect when Shopify declares earlier ones spent by a failure

MEANS: Mapping[str, Mapping[WriteMode, Idempotency]] = {
    "orders": {WriteMode.CREATE: Idempotency.LOOKUP, WriteMode.UPDATE: Idempotency.UPSERT},
    "customers": {
        WriteMode.CREATE: Idempotency.LOOKUP,
        WriteMode.UPDATE: Idempotency.UPSERT,
        WriteMode.UPSERT: Idempotency.UPSERT,
        WriteMode.DELETE: Idempotency.UPSERT,
    },
    "products": {
        WriteMode.CREATE: Idempotency.LOOKUP,
        WriteMode.UPDATE: Idempotency.UPSERT,
        WriteMode.UPSERT: Idempotency.UPSERT,
        WriteMode.DELETE: Idempotency.UPSERT,
    },
    "inventory_levels": {WriteMode.UPDATE: Idempotency.KEY, WriteMode.UPSERT: Idempotency.KEY},
    "fulfillments": {},
}

Write: TypeAlias = Callable[[WriteItem], Awaitable[Outcome]]


class Missing(Exception):
    """The record lacks what the mutation cannot do without; ``path`` is the field."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(reason)


class Writer:
    def __init__(self, admin: Admin, settings: ShopifySettings) -> None:
        self._admin = admin
        self._order_options = {"inventoryBehaviour": settings.order_inventory.upper()}
        self._writes: dict[tuple[str, WriteMode], Write] = {
            ("orders", WriteMode.CREATE): self._create_order,
            ("orders", WriteMode.UPDATE): self._update_order,
            ("customers", WriteMode.CREATE): self._create_customer,
            ("customers", WriteMode.UPDATE): self._update_customer,
            ("customers", WriteMode.UPSERT): self._set_customer,
            ("customers", WriteMode.DELETE): self._delete_customer,
            ("products", WriteMode.CREATE): self._create_product,
            ("products", WriteMode.UPDATE): self._update_product,
            ("products", WriteMode.UPSERT): self._set_product,
            ("products", WriteMode.DELETE): self._delete_product,
            ("inventory_levels", WriteMode.UPDATE): self._set_level,
            ("inventory_levels", WriteMode.UPSERT): self._set_level,
        }

    async def write(self, entity: str, mode: WriteMode, item: WriteItem) -> Outcome:
        """The outcome of one record. Raises Stopped."""
        try:
            return await self._writes[entity, mode](item)
        except Missing as error:
            return Reject(str(error), path=error.path)

    async def _create_order(self, item: WriteItem) -> Outcome:
        source = str(item.record.get("source_identifier") or item.effect_id)
        if item.in_doubt:
            data = await self._admin.run("find_order", {"query": f"source_identifier:'{quoted(source)}'"})
            for node in data["orders"]["nodes"]:
                if node.get("sourceIdentifier") == source:
                    return Done(wire.order(node), was_there=True)
        if not item.record.get("line_items"):
            raise Missing("line_items", "an order needs line items")
        variables = {"order": inputs.order_create(item.record, source), "options": self._order_options}
        return Done(wire.order((await self._admin.mutate("order_create", variables))["order"]))

    async def _update_order(self, item: WriteItem) -> Outcome:
        _need(item.record, "id")
        payload = await self._admin.mutate("order_update", {"input": inputs.order_update(item.record)})
        return Done(wire.order(payload["order"]))

    async def _create_customer(self, item: WriteItem) -> Outcome:
        if not item.record.get("email") and not item.record.get("phone"):
            raise Missing("email", "a customer needs email or phone: by it a repeat is recognised")
        if item.in_doubt:
            names = {"email": "emailAddress", "phone": "phoneNumber"}
            given = next(name for name in names if item.record.get(name))
            variables = {"identifier": {names[given]: item.record[given]}}
            node = (await self._admin.run("find_customer", variables))["customerByIdentifier"]
            if node is not None:
                return Done(wire.customer(node), was_there=True)
        payload = await self._admin.mutate("customer_create", {"input": inputs.customer(item.record, with_id=False)})
        return Done(wire.customer(payload["customer"]))

    async def _update_customer(self, item: WriteItem) -> Outcome:
        _need(item.record, "id")
        payload = await self._admin.mutate("customer_update", {"input": inputs.customer(item.record, with_id=True)})
        return Done(wire.customer(payload["customer"]))

    async def _set_customer(self, item: WriteItem) -> Outcome:
        identifier, given = inputs.customer_set(item.record)
        if identifier is None:
            raise Missing("email", "a customer needs id, email or phone to be recognised by")
        payload = await self._admin.mutate("customer_set", {"identifier": identifier, "input": given})
        return Done(wire.customer(payload["customer"]))

    async def _delete_customer(self, item: WriteItem) -> Outcome:
        return await self._delete("customer", "Customer", item)

    async def _create_product(self, item: WriteItem) -> Outcome:
        handle = item.record.get("handle")
        if not handle:
            raise Missing("handle", "a product needs a handle: by it a repeat is recognised")
        if item.in_doubt:
            data = await self._admin.run("find_product", {"identifier": {"handle": handle}})
            if data["productByIdentifier"] is not None:
                return Done(wire.product(data["productByIdentifier"]), was_there=True)
        payload = await self._admin.mutate(
            "product_set", {"identifier": None, "input": inputs.product_set(item.record)}
        )
        return Done(wire.product(payload["product"]))

    async def _update_product(self, item: WriteItem) -> Outcome:
        _need(item.record, "id")
        payload = await self._admin.mutate("product_update", {"product": inputs.product_update(item.record)})
        return Done(wire.product(payload["product"]))

    async def _set_product(self, item: WriteItem) -> Outcome:
        record = item.record
        if record.get("id"):
            identifier = {"id": wire.gid("Product", record["id"])}
        elif record.get("handle"):
            identifier = {"handle": str(record["handle"])}
        else:
            raise Missing("handle", "a product needs id or handle to be recognised by")
        payload = await self._admin.mutate(
            "product_set", {"identifier": identifier, "input": inputs.product_set(record)}
        )
        return Done(wire.product(payload["product"]))

    async def _delete_product(self, item: WriteItem) -> Outcome:
        return await self._delete("product", "Product", item)

    async def _delete(self, name: str, kind: str, item: WriteItem) -> Outcome:
        _need(item.record, "id")
        id_ = wire.gid(kind, item.record["id"])
        try:
            await self._admin.mutate(f"{name}_delete", {"input": {"id": id_}})
        except Stopped as stopped:
            # What is not there any more is deleted; the words of the userError are not to be relied on
            if stopped.is_user_error and (await self._admin.run(name, {"id": id_}))[name] is None:
                return Done(was_there=True)
            raise
        return Done()

    async def _set_level(self, item: WriteItem) -> Outcome:
        for name in ("inventory_item_id", "location_id", "available"):
            _need(item.record, name)
        await with_key(self._admin, "inventory_set", inputs.inventory_set(item.record, item.effect_id), item.effect_id)
        return Done({name: item.record[name] for name in ("inventory_item_id", "location_id", "available")})


async def with_key(admin: Admin, name: str, given: Mapping[str, Any], effect_id: str) -> Any:
    """Runs a mutation under the effect's idempotency key. Shopify answers a repeat with the first result; after a failure it
    calls the key spent, so the next one of the same effect's sequence is taken. Raises Stopped."""
    for attempt in range(KEYS_MAX):
        key = inputs.idempotency_key(effect_id, attempt)
        try:
            return await admin.mutate(name, {"input": given, "key": key})
        except Stopped as stopped:
            if stopped.user_code != KEY_SPENT or attempt == KEYS_MAX - 1:
                raise
    raise AssertionError("unreachable")


def _need(record: Mapping[str, Any], name: str) -> None:
    if record.get(name) is None:
        raise Missing(name, f"{name} is needed to say which record is meant")


def quoted(text: str) -> str:
    """A value within single quotes of the search syntax."""
    return text.replace("\\", "\\\\").replace("'", "\\'")
