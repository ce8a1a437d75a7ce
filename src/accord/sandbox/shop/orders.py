"""How an order is put together: the REST shape with every field a webhook carries. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from accord.sandbox.catalogue import SHOP_CURRENCY, exchange
from accord.sandbox.shop.wire import (
    NOTHING,
    TAX_RATE,
    Currencies,
    Document,
    Money,
    address,
    gid,
    in_places,
    included_tax,
    tag_text,
    zoned,
)

SHIPPING_PRICE = Decimal("4.90")
SHIPPING_FREE_FROM = Decimal("100.00")


class Line(msgspec.Struct, frozen=True):
    """What is ordered; ``variant`` and ``product`` are null for a custom line."""

    title: str
    quantity: int
    unit: Money
    sku: str = ""
    variant: Document | None = None
    product: Document | None = None
    vendor: str | None = None
    requires_shipping: bool = True
    taxable: bool = True
    properties: tuple[Document, ...] = ()


class Draft(msgspec.Struct, frozen=True):
    """An order before it has ids."""

    lines: tuple[Line, ...]
    currencies: Currencies = Currencies(SHOP_CURRENCY, SHOP_CURRENCY)
    customer: Document | None = None
    email: str | None = None
    phone: str | None = None
    shipping_address: Document | None = None
    billing_address: Document | None = None
    shipping: tuple[tuple[str, Money], ...] = ()
    financial_status: str = "paid"
    note: str | None = None
    tags: str = ""
    name: str | None = None
    po_number: str | None = None
    source_name: str = "web"
    source_identifier: str | None = None
    note_attributes: tuple[Document, ...] = ()
    is_taxed: bool = True  # the shop's own rate is inside the prices; otherwise ``tax`` is what the caller says
    tax: Money = NOTHING
    taxes_included: bool = True
    is_test: bool = False
    processed_at: str | None = None


def priced(amount: Decimal, currency: str) -> Money:
    """The shop's price as the customer sees it."""
    return Money(amount, exchange(amount, currency))


def shipping_for(lines: tuple[Line, ...], currency: str) -> tuple[tuple[str, Money], ...]:
    total = sum((line.unit.shop * line.quantity for line in lines), Decimal(0))
    price = Decimal("0.00") if total >= SHIPPING_FREE_FROM else SHIPPING_PRICE
    return (("Standard", priced(price, currency)),)


def build_order(draft: Draft, number: int, now: str, next_id: Callable[[str], int]) -> Document:
    """The order document; ``number`` counts the shop's orders from 1, ``now`` is UTC."""
    order_id, cur = next_id("Order"), draft.currencies
    lines = [_line(line, cur, draft.is_taxed, next_id("LineItem")) for line in draft.lines]
    goods = _sum(line.unit.times(line.quantity) for line in draft.lines)
    shipping = _sum(price for _, price in draft.shipping)
    taxed = _sum(line.unit.times(line.quantity) for line in draft.lines if line.taxable).plus(shipping)
    tax = included_tax(taxed) if draft.is_taxed else draft.tax
    total = goods.plus(shipping) if draft.taxes_included else goods.plus(shipping).plus(tax)
    is_paid = draft.financial_status == "paid"
    created, order_number = zoned(now), 1000 + number
    token = f"{order_id * 2654435761 % 2**64:016x}{order_id:016x}"
    billing = draft.billing_address or draft.shipping_address
    order: Document = {
        "id": order_id,
        "admin_graphql_api_id": gid("Order", order_id),
        "name": draft.name or f"#{order_number}",
        "number": number,
        "order_number": order_number,
        "token": token,
        "confirmation_number": f"{order_id * 40503 % 36**6:06X}"[:9],
        "order_status_url": f"https://shop.example/{order_id}/orders/{token}",
        "created_at": created,
        "updated_at": created,
        "processed_at": zoned(draft.processed_at) if draft.processed_at else created,
        "closed_at": None,
        "cancelled_at": None,
        "cancel_reason": None,
        "email": draft.email,
        "contact_email": draft.email,
        "phone": draft.phone,
        "customer": draft.customer,
        "shipping_address": address(draft.shipping_address) if draft.shipping_address else None,
        "billing_address": address(billing) if billing else None,
        "currency": cur.shop,
        "presentment_currency": cur.presentment,
        "financial_status": draft.financial_status,
        "fulfillment_status": None,
        "line_items": lines,
        "shipping_lines": [
            _shipping_line(title, price, cur, next_id("ShippingLine")) for title, price in draft.shipping
        ],
        "tax_lines": _tax_lines(tax, cur) if tax.shop else [],
        "fulfillments": [],
        "refunds": [],
        "note": draft.note,
        "note_attributes": list(draft.note_attributes),
        "tags": tag_text(draft.tags),
        "po_number": draft.po_number,
        "source_name": draft.source_name,
        "source_identifier": draft.source_identifier,
        "test": draft.is_test,
        "taxes_included": draft.taxes_included,
        "total_weight": sum((line.variant or {}).get("grams", 0) * line.quantity for line in draft.lines),
        "payment_gateway_names": ["bogus"] if is_paid else [],
        "total_outstanding": "0.00" if is_paid else in_places(total.shop, cur.shop),
        "total_tip_received": "0.00",
    }
    order.update(_totals(cur, goods, shipping, tax, total))
    order.update(_CONSTANT)
    return order


def _sum(amounts: Any) -> Money:
    total = NOTHING
    for money in amounts:
        total = total.plus(money)
    return total


def _totals(cur: Currencies, goods: Money, shipping: Money, tax: Money, total: Money) -> Document:
    found: Document = {}
    for name, money in (
        ("subtotal_price", goods),
        ("total_line_items_price", goods),
        ("total_discounts", NOTHING),
        ("total_tax", tax),
        ("total_price", total),
        ("current_subtotal_price", goods),
        ("current_total_discounts", NOTHING),
        ("current_total_tax", tax),
        ("current_total_price", total),
    ):
        found[name] = in_places(money.shop, cur.shop)
        found[f"{name}_set"] = cur.bag(money)
    found["total_shipping_price_set"] = found["current_shipping_price_set"] = cur.bag(shipping)
    found["total_cash_rounding_payment_adjustment_set"] = cur.bag(NOTHING)
    found["total_cash_rounding_refund_adjustment_set"] = cur.bag(NOTHING)
    return found


def _tax_lines(tax: Money, cur: Currencies) -> list[Document]:
    return [
        {
            "title": "VAT",
            "rate": float(TAX_RATE),
            "price": in_places(tax.shop, cur.shop),
            "price_set": cur.bag(tax),
            "channel_liable": False,
        }
    ]


def _line(line: Line, cur: Currencies, is_taxed: bool, line_id: int) -> Document:
    variant, product = line.variant or {}, line.product or {}
    variant_title = variant.get("title") if variant.get("title") != "Default Title" else None
    return {
        "id": line_id,
        "admin_graphql_api_id": gid("LineItem", line_id),
        "title": line.title,
        "name": f"{line.title} - {variant_title}" if variant_title else line.title,
        "sku": line.sku,
        "quantity": line.quantity,
        "current_quantity": line.quantity,
        "fulfillable_quantity": line.quantity,
        "fulfillment_service": "manual",
        "fulfillment_status": None,
        "variant_id": variant.get("id"),
        "variant_title": variant_title,
        "variant_inventory_management": "shopify" if variant else None,
        "product_id": product.get("id"),
        "product_exists": bool(product),
        "vendor": line.vendor or product.get("vendor"),
        "price": in_places(line.unit.shop, cur.shop),
        "price_set": cur.bag(line.unit),
        "total_discount": in_places(NOTHING.shop, cur.shop),
        "total_discount_set": cur.bag(NOTHING),
        "grams": variant.get("grams", 0),
        "gift_card": False,
        "requires_shipping": line.requires_shipping,
        "taxable": line.taxable,
        "tax_lines": _tax_lines(included_tax(line.unit.times(line.quantity)), cur) if is_taxed and line.taxable else [],
        "properties": list(line.properties),
        "discount_allocations": [],
        "attributed_staffs": [],
        "duties": [],
        "sales_line_item_group_id": None,
    }


def _shipping_line(title: str, price: Money, cur: Currencies, line_id: int) -> Document:
    return {
        "id": line_id,
        "title": title,
        "code": title,
        "source": "shopify",
        "price": in_places(price.shop, cur.shop),
        "price_set": cur.bag(price),
        "discounted_price": in_places(price.shop, cur.shop),
        "discounted_price_set": cur.bag(price),
        "current_discounted_price_set": cur.bag(price),
        "tax_lines": _tax_lines(included_tax(price), cur),
        "carrier_identifier": None,
        "phone": None,
        "is_removed": False,
        "requested_fulfillment_service_id": None,
        "discount_allocations": [],
    }


# What every order of this shop has the same: a webhook carries these fields, nothing here depends on them.
_CONSTANT: Document = {
    "app_id": None,
    "browser_ip": None,
    "buyer_accepts_marketing": False,
    "cart_token": None,
    "checkout_token": None,
    "client_details": None,
    "company": None,
    "confirmed": True,
    "current_total_additional_fees_set": None,
    "current_total_duties_set": None,
    "customer_locale": "en",
    "device_id": None,
    "discount_applications": [],
    "discount_codes": [],
    "duties_included": False,
    "estimated_taxes": False,
    "landing_site": "/",
    "landing_site_ref": None,
    "line_item_groups": [],
    "location_id": None,
    "merchant_business_entity_id": "MTU4MDAwMDAwMDAx",
    "merchant_of_record_app_id": None,
    "original_total_additional_fees_set": None,
    "original_total_duties_set": None,
    "payment_terms": None,
    "reference": None,
    "referring_site": "",
    "returns": [],
    "source_url": None,
    "tax_exempt": False,
    "user_id": None,
}
