"""Measures decode+validate and mapping on one core: ``python bench/bench_mapping.py``. Prints medians of several rounds."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

from accord.errors import Faults
from accord.mapping import Environment, FunctionTable, compile_contract, compile_mapping, read_mapping
from accord.record import Entity, Rule
from accord.record import types as t
from accord.record.types import Field
from accord.sdk.http import encode_json
from accord.settings.node import Node, parse_yaml

ROUNDS = 9
CALLS = 10_000

_MONEY = Field(type=t.Decimal(), min=0)
_ADDRESS = t.Object(
    {
        "first_name": Field(type=t.String(), personal="identity"),
        "last_name": Field(type=t.String(), personal="identity"),
        "address1": Field(type=t.String(), personal="contact"),
        "city": Field(type=t.String()),
        "zip": Field(type=t.String()),
        "country_code": Field(type=t.String(), format="country"),
    }
)
ORDER = Entity(
    name="shop.orders",
    key=("id",),
    fields={
        "id": Field(type=t.Integer()),
        "name": Field(type=t.String(), length_max=40),
        "email": Field(type=t.String(), nullable=True, personal="contact", format="email"),
        "created_at": Field(type=t.DateTime()),
        "currency": Field(type=t.String(), format="currency"),
        "total_price": _MONEY,
        "subtotal_price": _MONEY,
        "total_tax": _MONEY,
        "financial_status": Field(type=t.Enum(("pending", "paid", "refunded"))),
        "customer": Field(type=t.Object({"id": Field(type=t.Integer(), references="shop.customers")}), nullable=True),
        "shipping_address": Field(type=_ADDRESS),
        "line_items": Field(
            type=t.List(
                t.Object(
                    {
                        "sku": Field(type=t.String()),
                        "quantity": Field(type=t.Integer(), min=1),
                        "price": Field(type=t.Decimal()),
                        "title": Field(type=t.String()),
                    }
                )
            ),
            length_min=1,
        ),
        "note": Field(type=t.String(), nullable=True),
    },
    rules=(Rule("total_price >= subtotal_price", "the total is below the subtotal"),),
)
INVOICE = Entity(
    name="accounting.invoices",
    fields={
        "number": Field(type=t.String(), length_max=60),
        "order_id": Field(type=t.Integer()),
        "customer": Field(type=t.String()),
        "street": Field(type=t.String()),
        "city": Field(type=t.String()),
        "zip": Field(type=t.String()),
        "country": Field(type=t.String()),
        "currency": Field(type=t.String()),
        "net": Field(type=t.Decimal()),
        "gross": Field(type=t.Decimal()),
        "due": Field(type=t.Date()),
        "note": Field(type=t.String()),
    },
)
MAPPING = """
mapping: order-to-invoice
from: shop.orders
to: accounting.invoices
fields:
  number: '"INV-" + name'
  order_id: id
  customer: shipping_address.first_name + " " + shipping_address.last_name
  street: shipping_address.address1
  city: shipping_address.city
  zip: shipping_address.zip
  country: upper(shipping_address.country_code)
  currency: currency
  net: total_price - total_tax
  gross: total_price
  due: date(created_at) + days(14)
  note: coalesce(note, "''")
""".replace("\"''\"", "''")

BODY = encode_json(
    {
        "id": 820982911946154508,
        "admin_graphql_api_id": "gid://shopify/Order/820982911946154508",
        "name": "#1001",
        "email": "ada@example.com",
        "created_at": "2024-05-31T10:20:30+02:00",
        "updated_at": "2024-05-31T10:20:30+02:00",
        "currency": "EUR",
        "total_price": "238.00",
        "subtotal_price": "200.00",
        "total_tax": "38.00",
        "financial_status": "paid",
        "fulfillment_status": None,
        "tags": "new, web",
        "browser_ip": "203.0.113.9",
        "source_name": "web",
        "customer": {"id": 115310627314723954, "email": "ada@example.com", "state": "enabled", "verified_email": True},
        "shipping_address": {
            "first_name": "Ada",
            "last_name": "Lovelace",
            "address1": "Unter den Linden 6",
            "city": "Berlin",
            "zip": "10117",
            "country_code": "DE",
            "phone": "+4930123456",
            "province": None,
        },
        "line_items": [
            {
                "id": 866550311766439020 + n,
                "sku": f"SKU-{n}",
                "title": "A thing that is sold",
                "quantity": n + 1,
                "price": "50.00",
                "vendor": None,
                "taxable": True,
                "grams": 200,
                "fulfillment_service": "manual",
            }
            for n in range(3)
        ],
        "note": None,
    }
)


def rate(work: Callable[[], object]) -> float:
    """Median calls per second of processor time over the rounds."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            work()
        found.append(CALLS / (time.process_time() - start))
    return statistics.median(found)


def main() -> None:
    faults = Faults()
    functions = FunctionTable.builtin()
    spec = read_mapping(parse_yaml(MAPPING, "bench.yaml", faults) or Node(None), faults)
    assert spec is not None
    mapping = compile_mapping(spec, {ORDER.name: ORDER, INVOICE.name: INVOICE}, functions, {}, faults)
    contract = compile_contract(ORDER, functions, faults)
    types_only = compile_contract(ORDER, functions, faults, types_only=True)
    faults.raise_if_any()
    assert mapping is not None
    record = contract.decode(BODY)
    environment = Environment()
    print(f"{platform.machine()}, Python {platform.python_version()}, one core, order of {len(BODY)} bytes")
    print(f"decode + validate   {rate(lambda: contract.decode(BODY)):>10,.0f} orders/s")
    print(f"decode, types only  {rate(lambda: types_only.decode(BODY)):>10,.0f} orders/s")
    print(f"map, 12 fields      {rate(lambda: mapping.apply(record, None, environment)):>10,.0f} orders/s")
    print(f"check plain data    {rate(lambda: contract.check(record)):>10,.0f} orders/s")


if __name__ == "__main__":
    main()
