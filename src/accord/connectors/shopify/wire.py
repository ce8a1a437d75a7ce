"""From GraphQL nodes to records in the shape of Shopify's webhook bodies (snake_case, numeric ids, decimals as text). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Node: TypeAlias = Mapping[str, Any]
Record: TypeAlias = dict[str, Any]

_FULFILLMENT_STATUS = {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial", "RESTOCKED": "restocked"}


def gid(kind: str, id_: Any) -> str:
    """``gid://shopify/Order/1`` of a numeric id, or the id itself when it is one already."""
    text = str(id_)
    return text if text.startswith("gid://") else f"gid://shopify/{kind}/{text}"


def number_of(gid_: str | None) -> int | None:
    """The numeric id at the end of a global id."""
    if not gid_:
        return None
    tail = gid_.rpartition("/")[2].partition("?")[0]
    return int(tail) if tail.isdigit() else None


def order(node: Node) -> Record:
    shipping = node.get("totalShippingPriceSet")
    return {
        "id": _id(node),
        "admin_graphql_api_id": node["id"],
        "name": node["name"],
        "order_number": node.get("number"),
        "email": node.get("email"),
        "phone": node.get("phone"),
        "note": node.get("note"),
        "tags": ", ".join(node.get("tags") or ()),
        "test": node.get("test"),
        **_times(node, "created_at", "updated_at", "processed_at", "cancelled_at", "closed_at"),
        "source_name": node.get("sourceName"),
        "source_identifier": node.get("sourceIdentifier"),
        "po_number": node.get("poNumber"),
        "currency": node["currencyCode"],
        "taxes_included": node.get("taxesIncluded"),
        "financial_status": _lower(node.get("displayFinancialStatus")),
        "fulfillment_status": _FULFILLMENT_STATUS.get(node.get("displayFulfillmentStatus") or ""),
        "total_price": _amount(node.get("totalPriceSet")),
        "subtotal_price": _amount(node.get("subtotalPriceSet")),
        "total_tax": _amount(node.get("totalTaxSet")),
        "total_discounts": _amount(node.get("totalDiscountsSet")),
        "total_shipping_price_set": {"shop_money": _money(shipping)} if shipping else None,
        "customer": _buyer(node.get("customer")),
        "billing_address": address(node.get("billingAddress")),
        "shipping_address": address(node.get("shippingAddress")),
        "line_items": [line_item(item) for item in node["lineItems"]["nodes"]],
    }


def line_item(node: Node) -> Record:
    return {
        "id": number_of(node["id"]),
        "title": node.get("title"),
        "name": node.get("name"),
        "sku": node.get("sku"),
        "quantity": node["quantity"],
        "price": _amount(node.get("originalUnitPriceSet")),
        "total_discount": _amount(node.get("totalDiscountSet")),
        "variant_id": _ref(node.get("variant")),
        "product_id": _ref(node.get("product")),
        "variant_title": node.get("variantTitle"),
        "vendor": node.get("vendor"),
        "requires_shipping": node.get("requiresShipping"),
        "taxable": node.get("taxable"),
    }


def address(node: Node | None) -> Record | None:
    if node is None:
        return None
    return {
        "first_name": node.get("firstName"),
        "last_name": node.get("lastName"),
        "name": node.get("name"),
        "company": node.get("company"),
        "address1": node.get("address1"),
        "address2": node.get("address2"),
        "city": node.get("city"),
        "zip": node.get("zip"),
        "province": node.get("province"),
        "province_code": node.get("provinceCode"),
        "country": node.get("country"),
        "country_code": node.get("countryCodeV2"),
        "phone": node.get("phone"),
    }


def customer(node: Node) -> Record:
    return {
        "id": _id(node),
        "admin_graphql_api_id": node["id"],
        "email": _mail(node),
        "phone": _phone(node),
        "first_name": node.get("firstName"),
        "last_name": node.get("lastName"),
        "note": node.get("note"),
        "tags": ", ".join(node.get("tags") or ()),
        "state": _lower(node.get("state")),
        "tax_exempt": node.get("taxExempt"),
        "verified_email": node.get("verifiedEmail"),
        **_times(node, "created_at", "updated_at"),
        "default_address": address(node.get("defaultAddress")),
    }


def product(node: Node) -> Record:
    return {
        "id": _id(node),
        "admin_graphql_api_id": node["id"],
        "title": node["title"],
        "handle": node.get("handle"),
        "body_html": node.get("descriptionHtml"),
        "vendor": node.get("vendor"),
        "product_type": node.get("productType"),
        "status": _lower(node.get("status")),
        "tags": ", ".join(node.get("tags") or ()),
        **_times(node, "created_at", "updated_at", "published_at"),
        "variants": [variant(item) for item in node["variants"]["nodes"]],
    }


def variant(node: Node) -> Record:
    found = {
        "id": _id(node),
        "title": node.get("title"),
        "sku": node.get("sku"),
        "barcode": node.get("barcode"),
        "price": node.get("price"),
        "compare_at_price": node.get("compareAtPrice"),
        "position": node.get("position"),
        "taxable": node.get("taxable"),
        "inventory_item_id": _ref(node.get("inventoryItem")),
        "inventory_quantity": node.get("inventoryQuantity"),
    }
    if node.get("product"):
        found["product_id"] = _ref(node["product"])
    return found


def inventory_level(node: Node) -> Record:
    quantities = {q["name"]: q["quantity"] for q in node["quantities"]}
    return {
        "inventory_item_id": _ref(node["item"]),
        "location_id": _ref(node["location"]),
        "available": quantities.get("available"),
        "on_hand": quantities.get("on_hand"),
        "committed": quantities.get("committed"),
        "sku": node["item"].get("sku"),
        **_times(node, "updated_at"),
        "admin_graphql_api_id": node["id"],
    }


def fulfillment(node: Node) -> Record:
    tracking = node.get("trackingInfo") or []
    first = tracking[0] if tracking else {}
    return {
        "id": _id(node),
        "admin_graphql_api_id": node["id"],
        "order_id": _ref(node["order"]),
        "name": node.get("name"),
        "status": _lower(node.get("status")),
        "shipment_status": _lower(node.get("displayStatus")),
        "location_id": _ref(node.get("location")),
        **_times(node, "created_at", "updated_at"),
        "tracking_company": first.get("company"),
        "tracking_number": first.get("number"),
        "tracking_numbers": [t["number"] for t in tracking if t.get("number")],
        "tracking_url": first.get("url"),
        "tracking_urls": [t["url"] for t in tracking if t.get("url")],
        "line_items": [
            {
                "id": number_of(item["lineItem"]["id"]),
                "sku": item["lineItem"].get("sku"),
                "title": item["lineItem"].get("title"),
                "quantity": item.get("quantity"),
                "variant_id": _ref(item["lineItem"].get("variant")),
            }
            for item in node["fulfillmentLineItems"]["nodes"]
        ],
    }


def _id(node: Node) -> int | None:
    legacy = node.get("legacyResourceId")
    return int(legacy) if legacy is not None else number_of(node["id"])


def _ref(node: Node | None) -> int | None:
    return number_of(node["id"]) if node else None


def _lower(value: str | None) -> str | None:
    return value.lower() if value else None


def _amount(bag: Node | None) -> str | None:
    return None if bag is None else str(bag["shopMoney"]["amount"])


def _money(bag: Node) -> Record:
    return {"amount": str(bag["shopMoney"]["amount"]), "currency_code": bag["shopMoney"]["currencyCode"]}


def _mail(node: Node) -> str | None:
    found = node.get("defaultEmailAddress")
    return found["emailAddress"] if found else None


def _phone(node: Node) -> str | None:
    found = node.get("defaultPhoneNumber")
    return found["phoneNumber"] if found else None


def _buyer(node: Node | None) -> Record | None:
    if node is None:
        return None
    names = {"first_name": node.get("firstName"), "last_name": node.get("lastName")}
    return {"id": number_of(node["id"]), "email": _mail(node), "phone": _phone(node), **names}


def _times(node: Node, *names: str) -> Record:
    """Fields whose GraphQL name is the same in camel case."""
    return {name: node.get(camel(name)) for name in names}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
