"""Measures a contract and a mapping of 12 fields over columns in memory, beside the row form: ``python bench/bench_columns.py``.

Scenario S6. Medians of several rounds, rows a second of CPU time on one thread (POLARS_MAX_THREADS=1, which the script sets
unless it is set) with 1 % bad rows and the collector as `accord` sets it. The same records go through the row form: a record decoded from
JSON and mapped.
"""

from __future__ import annotations

import datetime as dt
import gc
import os
import random
import statistics
import time
from collections.abc import Callable
from decimal import Decimal

os.environ.setdefault("POLARS_MAX_THREADS", "1")

from accord.cli.main import COLLECT_AFTER
from accord.errors import Faults, RecordError
from accord.mapping import FunctionTable, compile_contract, compile_mapping, read_mapping
from accord.mapping.columns import compile_contract_columns, compile_mapping_columns
from accord.mapping.columns.dtypes import frame_of, records_of
from accord.record import Entity, Rule
from accord.record import types as t
from accord.record.types import Field
from accord.sdk.http import encode_json
from accord.settings.node import parse_yaml

ROUNDS = 5
CHUNK = 50_000
CHUNKS = 4
BAD = 100  # one row in so many breaks its contract

SALE = Entity(
    name="shop.sales",
    key=("id",),
    fields={
        "id": Field(type=t.Integer()),
        "number": Field(type=t.String(), length_max=40),
        "sold_at": Field(type=t.DateTime()),
        "email": Field(type=t.String(), nullable=True, format="email", personal="contact"),
        "first_name": Field(type=t.String()),
        "last_name": Field(type=t.String()),
        "country": Field(type=t.String(), format="country"),
        "sku": Field(type=t.String(), pattern="[A-Z]{3}-[0-9]{4}"),
        "quantity": Field(type=t.Integer(), min=1),
        "price": Field(type=t.Decimal(), min=Decimal(0)),
        "discount": Field(type=t.Decimal(), nullable=True),
        "status": Field(type=t.Enum(("open", "paid", "refunded"))),
    },
    rules=(Rule("discount is null or discount <= price", "the discount is above the price"),),
)
LEDGER = Entity(
    name="books.entries",
    fields={
        "reference": Field(type=t.String(), length_max=60),
        "sale": Field(type=t.Integer()),
        "day": Field(type=t.Date()),
        "due": Field(type=t.Date()),
        "email": Field(type=t.String()),
        "customer": Field(type=t.String()),
        "country": Field(type=t.String()),
        "article": Field(type=t.String()),
        "pieces": Field(type=t.Integer(), min=1),
        "net": Field(type=t.Decimal()),
        "tax": Field(type=t.Decimal()),
        "is_open": Field(type=t.Boolean()),
    },
)
MAPPING = """
mapping: sale-to-entry
from: shop.sales
to: books.entries
lookups:
  regions: {DE: home, AT: near, FR: near, US: far}
fields:
  reference: '"S-" + number'
  sale: id
  day: date(sold_at)
  due: date(sold_at) + days(14)
  email: coalesce(lower(email), "")
  customer: trim(first_name) + " " + trim(last_name)
  country: lookup("regions", country, default="other")
  article: left(sku, 3)
  pieces: quantity
  net: price * quantity - coalesce(discount, 0)
  tax: percent(price * quantity, 19)
  is_open: status == "open"
"""


def sales(count: int) -> list[dict[str, object]]:
    """Seeded records; one in BAD breaks its contract."""
    chance = random.Random(6)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    made: list[dict[str, object]] = []
    for number in range(count):
        first = chance.choice(["Ada", "Grace", "Alan", "Zoë"])
        made.append(
            {
                "id": number,
                "number": f"{100_000 + number}",
                "sold_at": start + dt.timedelta(seconds=chance.randrange(31_000_000)),
                "email": None if number % 7 == 0 else f"user.{number}@example.com",
                "first_name": first,
                "last_name": chance.choice(["Lovelace", "Hopper", "Turing ", "Bloggs"]),
                "country": "Germany" if number % BAD == 0 else chance.choice(["DE", "AT", "FR", "US", "NL"]),
                "sku": f"ABC-{chance.randrange(1000, 9999)}",
                "quantity": chance.randrange(1, 9),
                "price": Decimal(chance.randrange(100, 100_000)) / 100,
                "discount": Decimal(chance.randrange(100)) / 100 if number % 3 == 0 else None,
                "status": chance.choice(["open", "paid", "refunded"]),
            }
        )
    return made


def rate(work: Callable[[], int]) -> float:
    """Rows a second of CPU time: the median of ROUNDS."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        rows = work()
        found.append(rows / (time.process_time() - start))
    return statistics.median(found)


def main() -> None:
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    faults = Faults()
    contract = compile_contract(SALE, FunctionTable.builtin(), faults)
    spec = read_mapping(parse_yaml(MAPPING, "bench.yaml", faults), faults)
    assert spec is not None
    entities = {SALE.name: SALE, LEDGER.name: LEDGER}
    mapping = compile_mapping(spec, entities, FunctionTable.builtin(), None, faults)
    faults.raise_if_any()
    assert mapping is not None
    checker, mapper = compile_contract_columns(contract), compile_mapping_columns(mapping)
    frame, unfit = frame_of(sales(CHUNK), SALE.fields)
    assert not unfit and not checker.row_only and not mapper.row_only, (checker.row_only, mapper.row_only)
    records = records_of(frame, SALE.fields)
    raws = [encode_json(record) for record in records]

    def columns() -> int:
        for _ in range(CHUNKS):
            checked = checker.check(frame)
            mapped = mapper.apply(checked.frame)
            assert len(checked.rejects) == CHUNK // BAD and mapped.frame.height == CHUNK - CHUNK // BAD
        return CHUNK * CHUNKS

    def contract_only() -> int:
        for _ in range(CHUNKS):
            checker.check(frame)
        return CHUNK * CHUNKS

    def rows() -> int:
        bad = 0
        for raw in raws:
            try:
                mapping.apply(contract.decode(raw))
            except RecordError:
                bad += 1
        assert bad == CHUNK // BAD
        return CHUNK

    print(f"S6 columns={rate(columns):,.0f} rows/s contract_only={rate(contract_only):,.0f} rows={rate(rows):,.0f} "
          f"threads={os.environ['POLARS_MAX_THREADS']}")  # fmt: skip


if __name__ == "__main__":
    main()
