"""Shopify's ways of writing: ids, times, money, addresses. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from accord.sandbox import clock
from accord.sandbox.catalogue import RATES, Buyer

API_VERSION = "2026-10"
SHOP_ID = 58_000_000_001
LOCATION_ID = 61_000_000_001
SHOP_ZONE = ZoneInfo("Europe/Berlin")
TAX_RATE = Decimal("0.19")
FULFILLMENT_ORDER_OFFSET = 1_000_000_000_000  # a fulfillment order's id is its order's id plus this

Document = dict[str, Any]


def gid(kind: str, number: int | str) -> str:
    return f"gid://shopify/{kind}/{number}"


def gid_number(text: str | int, kind: str) -> int:
    """The number in a global id of the kind (plain numbers pass); 0 when it is of another kind or malformed."""
    digits = str(text).removeprefix(f"gid://shopify/{kind}/").partition("?")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def now_utc() -> str:
    """The present as columns and GraphQL write it: UTC, whole seconds."""
    return clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def zoned(utc: str) -> str:
    """As REST and webhooks write times: in the shop's zone with its offset."""
    return datetime.fromisoformat(utc.replace("Z", "+00:00")).astimezone(SHOP_ZONE).isoformat(timespec="seconds")


def utc(text: str | None) -> str | None:
    """Any ISO time with zone as UTC, whole seconds; raises ValueError."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=SHOP_ZONE)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Money(NamedTuple):
    """An amount in the shop's and in the customer's currency."""

    shop: Decimal
    presentment: Decimal

    def plus(self, other: Money) -> Money:
        return Money(self.shop + other.shop, self.presentment + other.presentment)

    def times(self, factor: int) -> Money:
        return Money(self.shop * factor, self.presentment * factor)


NOTHING = Money(Decimal("0.00"), Decimal(0))


class Currencies(NamedTuple):
    shop: str
    presentment: str

    def bag(self, money: Money) -> Document:
        return {
            "shop_money": {"amount": in_places(money.shop, self.shop), "currency_code": self.shop},
            "presentment_money": {
                "amount": in_places(money.presentment, self.presentment),
                "currency_code": self.presentment,
            },
        }


def in_places(amount: Decimal, currency: str) -> str:
    places = RATES[currency][1] if currency in RATES else 2
    return str(amount.quantize(Decimal(1).scaleb(-places)))


def included_tax(money: Money) -> Money:
    """The tax inside gross amounts."""
    share = TAX_RATE / (1 + TAX_RATE)
    return Money((money.shop * share).quantize(Decimal("0.01")), (money.presentment * share).quantize(Decimal("0.01")))


ADDRESS_FIELDS = (
    "first_name", "last_name", "company", "address1", "address2", "city", "province", "province_code", "zip", "country",
    "country_code", "phone",
)  # fmt: skip


def address(given: Document) -> Document:
    """An address with every field Shopify shows; absent ones null."""
    found: Document = {name: given.get(name) for name in ADDRESS_FIELDS}
    found["name"] = " ".join(part for part in (found["first_name"], found["last_name"]) if part)
    found["latitude"] = found["longitude"] = None
    return found


def buyer_address(buyer: Buyer) -> Document:
    given = {name: getattr(buyer, name) for name in ADDRESS_FIELDS if hasattr(buyer, name)}
    return address({**given, "address2": "", "company": ""})  # a form's empty fields


def tag_text(tags: Any) -> str:
    """Tags as REST writes them: sorted, joined with comma and space."""
    parts = tags.split(",") if isinstance(tags, str) else list(tags or ())
    return ", ".join(sorted({part.strip() for part in parts if part.strip()}, key=str.lower))


def tag_list(text: str | None) -> list[str]:
    return [part for part in (text or "").split(", ") if part]
