"""What the Python peers share: the signature, the order's model, and the shipment made of it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import os
from decimal import Decimal

from pydantic import BaseModel, Field

SECRET = os.environ["HOOK_SECRET"].encode()
TARGET = os.environ["TARGET"] + "/shipments"


class Item(BaseModel):
    sku: str
    title: str
    quantity: int = Field(ge=1)
    price: Decimal


class Customer(BaseModel):
    id: int
    first_name: str | None = None
    last_name: str | None = None


class Address(BaseModel):
    first_name: str | None = None
    last_name: str | None = None
    address1: str
    city: str
    zip: str | None = None
    country_code: str


class Order(BaseModel):
    id: int
    name: str
    email: str | None = None
    created_at: dt.datetime
    currency: str
    total_price: Decimal
    subtotal_price: Decimal
    total_tax: Decimal
    financial_status: str | None = None
    customer: Customer
    shipping_address: Address
    line_items: list[Item] = Field(min_length=1)


class Parcel(BaseModel):
    sku: str
    pieces: int
    value: Decimal


class Shipment(BaseModel):
    reference: str
    recipient: str
    street: str
    city: str
    postal_code: str | None
    country: str
    email: str | None
    currency: str
    total: Decimal
    tax: Decimal
    ship_by: dt.date
    is_paid: bool
    parcels: list[Parcel]


def is_signed(body: bytes, signature: str) -> bool:
    expected = base64.b64encode(hmac.digest(SECRET, body, hashlib.sha256)).decode()
    return hmac.compare_digest(expected, signature)


def shipment_of(order: Order) -> str:
    """The shipment as JSON."""
    to = order.shipping_address
    return Shipment(
        reference=order.name,
        recipient=f"{to.first_name or ''} {to.last_name or ''}",
        street=to.address1,
        city=to.city.upper(),
        postal_code=to.zip,
        country=to.country_code,
        email=order.email,
        currency=order.currency,
        total=order.total_price,
        tax=order.total_tax,
        ship_by=order.created_at.date() + dt.timedelta(days=2),
        is_paid=order.financial_status == "paid",
        parcels=[Parcel(sku=i.sku, pieces=i.quantity, value=i.price * i.quantity) for i in order.line_items],
    ).model_dump_json()


def headers_of(order: Order) -> dict[str, str]:
    return {"content-type": "application/json", "idempotency-key": f"order-{order.id}"}
