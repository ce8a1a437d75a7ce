"""What callers ask for, turned into a draft order: REST bodies, storefront carts, random but seeded orders."""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec

from accord.sandbox.catalogue import RATES, SHOP_CURRENCY, Buyer, buyer
from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.memory import Invalid
from accord.sandbox.shop.orders import Draft, Line, priced, shipping_for
from accord.sandbox.shop.wire import NOTHING, Currencies, Document, Money, buyer_address, utc

LINES_MAX = 4
PIECES_MAX = 3
BUYERS = 500  # random orders come from so many different customers

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CartLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    variant_id: int
    quantity: Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Cart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer sends to ``POST /storefront/orders``."""

    lines: Annotated[tuple[CartLine, ...], msgspec.Meta(min_length=1, max_length=10_000)]
    first_name: Short
    last_name: Short
    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=255)]
    address1: Short
    city: Short
    zip: Annotated[str, msgspec.Meta(max_length=20)] = ""
    province: Annotated[str, msgspec.Meta(max_length=100)] = ""
    province_code: Annotated[str, msgspec.Meta(max_length=10)] = ""
    country: Short = "Germany"
    country_code: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "DE"
    phone: Annotated[str, msgspec.Meta(max_length=40)] = ""
    currency: str = SHOP_CURRENCY
    note: Annotated[str, msgspec.Meta(max_length=5_000)] | None = None


def draft_from_cart(data: ShopData, cart: Cart) -> Draft:
    """Raises Invalid for an unknown variant or currency; makes or finds the customer."""
    if cart.currency not in RATES:
        raise Invalid("currency", f"must be one of {', '.join(sorted(RATES))}")
    lines = tuple(variant_line(data, line.variant_id, line.quantity, cart.currency) for line in cart.lines)
    person = Buyer(
        cart.first_name, cart.last_name, cart.email, cart.phone, cart.address1, cart.city, cart.zip, cart.province,
        cart.province_code, cart.country, cart.country_code, cart.currency,
    )  # fmt: skip
    return _draft(data, person, lines, cart.note)


def _draft(data: ShopData, person: Buyer, lines: tuple[Line, ...], note: str | None) -> Draft:
    where = buyer_address(person)
    return Draft(
        lines=lines,
        currencies=Currencies(SHOP_CURRENCY, person.currency),
        customer=_customer(data, person, where),
        email=person.email,
        shipping_address=where,
        billing_address=where,
        shipping=shipping_for(lines, person.currency),
        note=note,
    )


def _customer(data: ShopData, person: Buyer, where: Document) -> Document:
    known = data.customer_by("email", person.email)
    if known is not None:
        return known
    return data.save_customer(
        {
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "currency": person.currency,
            "default_address": where,
            "note": "",
        }
    )


def variant_line(data: ShopData, number: int, quantity: int, currency: str) -> Line:
    found = data.variant(number)
    if found is None:
        raise Invalid("line_items", f"name a variant this shop does not have: {number}")
    variant, product = found
    return Line(
        product["title"], quantity, priced(Decimal(variant["price"]), currency), variant["sku"], variant, product
    )


def random_draft(data: ShopData, seed: int, number: int, variants: list[int]) -> Draft:
    """The order of this number: same seed, same number, same order."""
    dice = random.Random(f"{seed}:order:{number}")
    person = buyer(seed, dice.randrange(BUYERS))
    chosen = dice.sample(variants, dice.randint(1, min(LINES_MAX, len(variants))))
    lines = tuple(variant_line(data, variant, dice.randint(1, PIECES_MAX), person.currency) for variant in chosen)
    note = dice.choice((None, None, None, "Please ring twice 🔔", "لا تتصل", "Déposer chez le voisin"))
    return _draft(data, person, lines, note)


def draft_from_rest(data: ShopData, given: Document) -> Draft:
    """An order as ``POST orders.json`` names it; raises Invalid."""
    items = given.get("line_items") or []
    if not isinstance(items, list) or not items:
        raise Invalid("line_items", "must have at least one line")
    currency = str(given.get("currency") or SHOP_CURRENCY)
    customer = _rest_customer(data, given)
    email = given.get("email") or (customer or {}).get("email")
    return Draft(
        lines=tuple(_rest_line(data, item) for item in items),
        currencies=Currencies(currency, str(given.get("presentment_currency") or currency)),
        customer=customer,
        email=email,
        phone=given.get("phone"),
        shipping_address=given.get("shipping_address") or (customer or {}).get("default_address"),
        billing_address=given.get("billing_address"),
        shipping=tuple(
            (s.get("title", "Standard"), same(s.get("price", 0), "price")) for s in given.get("shipping_lines") or ()
        ),
        financial_status=given.get("financial_status") or "paid",
        note=given.get("note"),
        tags=given.get("tags") or "",
        po_number=given.get("po_number"),
        source_name=given.get("source_name") or "api",
        source_identifier=given.get("source_identifier"),
        note_attributes=tuple(given.get("note_attributes") or ()),
        is_taxed=False,  # the Admin takes taxes from the caller, it does not compute them
        tax=_sum(same(tax.get("price", 0), "price") for tax in given.get("tax_lines") or ()),
        taxes_included=bool(given.get("taxes_included")),
        is_test=bool(given.get("test")),
        processed_at=utc(given.get("processed_at")),
    )


def _rest_customer(data: ShopData, given: Document) -> Document | None:
    asked = given.get("customer")
    if isinstance(asked, dict) and asked.get("id"):
        found = data.find("customers", int(asked["id"]))
        if found is None:
            raise Invalid("customer", "does not exist")
        return found
    email = (asked or {}).get("email") or given.get("email")
    if email:
        return data.customer_by("email", email) or data.save_customer({**(asked or {}), "email": email})
    return data.save_customer(asked) if asked else None


def _rest_line(data: ShopData, item: Document) -> Line:
    quantity = item.get("quantity", 1)
    if not isinstance(quantity, int) or quantity < 1:
        raise Invalid("line_items", "must have a quantity of at least 1")
    if item.get("variant_id"):
        line = variant_line(data, int(item["variant_id"]), quantity, SHOP_CURRENCY)
        return (
            msgspec.structs.replace(line, unit=same(item["price"], "price")) if item.get("price") is not None else line
        )
    if not item.get("title"):
        raise Invalid("line_items", "must have a title or a variant_id")
    return Line(
        item["title"], quantity, same(item.get("price", 0), "price"), item.get("sku") or "", vendor=item.get("vendor")
    )


def _sum(amounts: Iterable[Money]) -> Money:
    total = NOTHING
    for money in amounts:
        total = total.plus(money)
    return total


def same(amount: Any, field: str) -> Money:
    """The same amount in both currencies; raises Invalid."""
    try:
        found = Decimal(str(amount))
    except InvalidOperation:
        raise Invalid(field, "is not a number") from None
    if not found.is_finite() or found < 0:
        raise Invalid(field, "must be greater than or equal to 0")
    return Money(found, found)
