"""Entities the mapping tests share."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from accord.record import Entity
from accord.record import types as t
from accord.record.types import Field


def f(type_: t.Type, **facts: object) -> Field:
    return Field(type=type_, **facts)


LINE = t.Object(
    {
        "sku": f(t.String()),
        "quantity": f(t.Integer(), min=1),
        "price": f(t.Decimal()),
        "gift": f(t.Boolean(), nullable=True),
    }
)
ORDER = Entity(
    name="shop.orders",
    key=("id",),
    fields={
        "id": f(t.Integer()),
        "name": f(t.String()),
        "email": f(t.String(), nullable=True, personal="contact"),
        "created_at": f(t.DateTime()),
        "day": f(t.Date(), nullable=True),
        "total": f(t.Decimal(), min=Decimal(0)),
        "discount": f(t.Decimal(), nullable=True),
        "weight": f(t.Float()),
        "status": f(t.Enum(("open", "paid"))),
        "paid": f(t.Boolean(), nullable=True),
        "test": f(t.Boolean()),
        "customer": f(
            t.Object({"id": f(t.Integer(), references="shop.customers"), "name": f(t.String(), personal="identity")}),
            nullable=True,
        ),
        "line_items": f(t.List(LINE)),
        "tags": f(t.List(t.String()), nullable=True),
        "extra": f(t.Json(), nullable=True),
        "took": f(t.Duration(), nullable=True),
        "first-name": f(t.String(), nullable=True),
    },
)
RECORD = {
    "id": 7,
    "name": "#1001",
    "email": "ada@example.com",
    "created_at": dt.datetime(2024, 5, 31, 10, 0, tzinfo=dt.UTC),
    "total": Decimal("20.10"),
    "weight": 1.5,
    "status": "paid",
    "test": False,
    "customer": {"id": 3, "name": "Ada"},
    "line_items": [
        {"sku": "A", "quantity": 2, "price": Decimal("5.05"), "gift": True},
        {"sku": "B", "quantity": 1, "price": Decimal("10.00")},
    ],
    "tags": ["x", "y"],
    "extra": {"a": [1, {"b": "deep"}], "n": Decimal("1.5")},
    "first-name": "Ada",
}
EMPTY = {
    "id": 7,
    "name": "",
    "created_at": dt.datetime(2024, 5, 31, 10, 0, tzinfo=dt.UTC),
    "total": Decimal(0),
    "weight": 0.0,
    "status": "open",
    "test": False,
    "line_items": [],
}
