"""From records to the input objects of Shopify's mutations. Pure. What a record does not hold is not sent."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from accord.connectors.shopify.wire import camel, gid
from accord.sdk.bodies import text_of

_ADDRESS = (
    "first_name",
    "last_name",
    "company",
    "address1",
    "address2",
    "city",
    "zip",
    "province_code",
    "country_code",
    "phone",
)
_INPUT_NAMES = {"input", "order", "product", "customer", "fulfillment", "identifier"}


def order_create(record: Mapping[str, Any], source_identifier: str) -> dict[str, Any]:
    """OrderCreateOrderInput. ``source_identifier`` is what the order is found by again."""
    currency = record.get("currency")
    items = [_line_item(item, currency) for item in record.get("line_items") or ()]
    return {
        **_plain(record, "email", "phone", "note", "po_number", "currency", "test", "taxes_included", "source_name"),
        **_times(record, "processed_at", "closed_at"),
        **_tags(record),
        **_upper(record, "financial_status"),
        **_addresses(record),
        **_customer_of_order(record.get("customer")),
        "sourceIdentifier": source_identifier,
        "lineItems": items,
    }


def order_update(record: Mapping[str, Any]) -> dict[str, Any]:
    """OrderInput: email, phone, note, tags, po_number and shipping address; Shopify changes nothing else of a placed order."""
    shipping = _addresses(record)
    shipping.pop("billingAddress", None)
    return {
        "id": gid("Order", record["id"]),
        **_plain(record, "email", "phone", "note", "po_number"),
        **_tags(record),
        **shipping,
    }


def customer(record: Mapping[str, Any], *, with_id: bool) -> dict[str, Any]:
    """CustomerInput (and, without consent and addresses, CustomerSetInput)."""
    found = {**_plain(record, "email", "phone", "first_name", "last_name", "note", "tax_exempt"), **_tags(record)}
    return {"id": gid("Customer", record["id"]), **found} if with_id else found


def customer_set(record: Mapping[str, Any]) -> tuple[dict[str, str] | None, dict[str, Any]]:
    """Identifier (id, else email, else phone) and CustomerSetInput; the identifier is None when the record has none of them."""
    found = customer(record, with_id=False)
    if record.get("default_address"):
        found["addresses"] = [_address(record["default_address"])]
    if record.get("id"):
        return {"id": gid("Customer", record["id"])}, found
    for name in ("email", "phone"):
        if record.get(name):
            return {name: str(record[name])}, found
    return None, found


def product_set(record: Mapping[str, Any]) -> dict[str, Any]:
    """ProductSetInput. Variants are told apart by their title, as values of one option."""
    found = {**_product(record)}
    variants = record.get("variants")
    if variants:
        titles = [
            str(v.get("title") or ("Default Title" if len(variants) == 1 else f"Variant {i + 1}"))
            for i, v in enumerate(variants)
        ]
        found["productOptions"] = [{"name": "Title", "values": [{"name": title} for title in titles]}]
        found["variants"] = [_variant(v, title) for v, title in zip(variants, titles, strict=True)]
    return found


def product_update(record: Mapping[str, Any]) -> dict[str, Any]:
    """ProductUpdateInput: the product itself, without its variants."""
    return {"id": gid("Product", record["id"]), **_product(record)}


def inventory_set(record: Mapping[str, Any], effect_id: str) -> dict[str, Any]:
    """InventorySetQuantitiesInput: the quantity available is what the record says, whatever it was."""
    quantity = {
        "inventoryItemId": gid("InventoryItem", record["inventory_item_id"]),
        "locationId": gid("Location", record["location_id"]),
        "quantity": record["available"],
        "changeFromQuantity": None,  # mandatory since 2026-04; null: no comparison with the old quantity
    }
    return {
        "name": "available",
        "reason": "correction",
        "referenceDocumentUri": reference(effect_id),
        "quantities": [quantity],
    }


def inventory_adjust(arguments: Mapping[str, Any], effect_id: str) -> dict[str, Any]:
    """InventoryAdjustQuantitiesInput: ``by`` more (or fewer) are available."""
    change = {
        "inventoryItemId": gid("InventoryItem", arguments["inventory_item_id"]),
        "locationId": gid("Location", arguments["location_id"]),
        "delta": arguments["by"],
        "changeFromQuantity": None,
    }
    reason = arguments.get("reason") or "correction"
    return {"name": "available", "reason": reason, "referenceDocumentUri": reference(effect_id), "changes": [change]}


def tracking(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """FulfillmentTrackingInput, empty when nothing of it is known."""
    names = {"company": "tracking_company", "number": "tracking_number", "url": "tracking_url"}
    return {name: arguments[given] for name, given in names.items() if arguments.get(given)}


def reference(effect_id: str) -> str:
    return f"gid://accord/Effect/{effect_id}"


def idempotency_key(effect_id: str, attempt: int) -> str:
    """A UUID that is the same for the same effect. ``attempt`` counts keys Shopify has declared spent by a failure."""
    if attempt == 0 and re.fullmatch(r"[0-9a-f]{32}", effect_id):
        return str(uuid.UUID(effect_id))
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{effect_id}/{attempt}"))


def record_path(field: Sequence[Any] | None) -> str:
    """A userError's ``field`` as the path of the record: ``[input, lineItems, 0, price]`` → ``line_items[0].price``."""
    parts = [str(part) for part in field or ()]
    if len(parts) > 1 and parts[0] in _INPUT_NAMES:
        parts = parts[1:]
    path = ""
    for part in parts:
        name = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", part).lower()
        path += f"[{part}]" if part.isdigit() else f".{name}" if path else name
    return path


def _plain(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {camel(name): record[name] for name in names if record.get(name) is not None}


def _times(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {camel(name): text_of(record[name]) for name in names if record.get(name) is not None}


def _upper(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {camel(name): str(record[name]).upper() for name in names if record.get(name)}


def _tags(record: Mapping[str, Any]) -> dict[str, Any]:
    tags = record.get("tags")
    if tags is None:
        return {}
    listed = tags.split(",") if isinstance(tags, str) else tags
    return {"tags": [tag.strip() for tag in listed if tag.strip()]}


def _addresses(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("shipping_address", "billing_address")
    return {camel(name): _address(record[name]) for name in names if record.get(name)}


def _address(given: Mapping[str, Any]) -> dict[str, Any]:
    return {camel(name): given[name] for name in _ADDRESS if given.get(name) is not None}


def _customer_of_order(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if not given:
        return {}
    if given.get("id"):
        return {"customer": {"toAssociate": {"id": gid("Customer", given["id"])}}}
    return {"customer": {"toUpsert": _plain(given, "email", "phone", "first_name", "last_name")}}


def _line_item(item: Mapping[str, Any], currency: Any) -> dict[str, Any]:
    found = {**_plain(item, "title", "sku", "quantity", "requires_shipping", "taxable", "vendor", "variant_title")}
    if item.get("variant_id"):
        found["variantId"] = gid("ProductVariant", item["variant_id"])
    if item.get("price") is not None and currency:
        found["priceSet"] = {"shopMoney": {"amount": str(item["price"]), "currencyCode": currency}}
    return found


def _product(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {**_plain(record, "title", "handle", "vendor", "product_type"), **_tags(record), **_upper(record, "status")}
    if record.get("body_html") is not None:
        found["descriptionHtml"] = record["body_html"]
    return found


def _variant(given: Mapping[str, Any], title: str) -> dict[str, Any]:
    prices = {camel(n): str(given[n]) for n in ("price", "compare_at_price") if given.get(n) is not None}
    return {
        "optionValues": [{"optionName": "Title", "name": title}],
        **_plain(given, "sku", "barcode", "taxable", "position"),
        **prices,
    }
