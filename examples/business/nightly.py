"""The nightly loads into the warehouse: run now, and proven to hold what the systems hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from stage import Stage

from accord.sandbox.launcher import Sandbox

FLOWS = ("nightly-sales", "nightly-customers", "nightly-invoices")
FILE = Path("data") / "warehouse.duckdb"
TABLES = {  # what is counted and summed up
    "sales": "SELECT count(*), sum(total) FROM sales",
    "sales_lines": "SELECT count(*), sum(amount) FROM sales_lines",
    "customers": "SELECT count(*), NULL FROM customers WHERE is_current",
    "invoices": "SELECT count(*), sum(total) FROM invoices",
}


@dataclass(frozen=True)
class Tally:
    """Rows, and what they are worth together (None: nothing to sum up)."""

    rows: int
    total: Decimal | None = None


@dataclass(frozen=True)
class Comparison:
    table: str
    of_systems: Tally
    of_warehouse: Tally

    @property
    def is_equal(self) -> bool:
        return self.of_systems == self.of_warehouse


def run_nightly(stage: Stage) -> list[dict[str, Any]]:
    """`accord bulk run` of each flow, in the running engine. What each run tells, the sums with it."""
    runs = []
    for flow in FLOWS:
        done = stage.run("bulk", "run", flow, "--json")
        if done.returncode:
            raise RuntimeError(f"{flow}: {done.stdout}{done.stderr}")
        runs.append(json.loads(done.stdout))
    return runs


def compare(sandbox: Sandbox, file: Path) -> list[Comparison]:
    """Each table beside its system: counts, and sums that are equal to the last digit."""
    there = tallies_of_systems(sandbox)
    here = tallies_of_warehouse(file)
    return [Comparison(table, there[table], here[table]) for table in TABLES]


def tallies_of_systems(sandbox: Sandbox) -> dict[str, Tally]:
    orders = list(sandbox.objects("shop", "orders"))
    lines = [line for order in orders for line in order["line_items"]]
    invoices = list(sandbox.objects("accounting", "invoices"))
    return {
        "sales": Tally(len(orders), _sum(order["total_price"] for order in orders)),
        "sales_lines": Tally(len(lines), sum((Decimal(one["price"]) * one["quantity"] for one in lines), Decimal(0))),
        "customers": Tally(sum(1 for _ in sandbox.objects("crm", "Account"))),
        "invoices": Tally(len(invoices), _sum(invoice["total"] for invoice in invoices)),
    }


def tallies_of_warehouse(file: Path) -> dict[str, Tally]:
    found = {table: ask(file, query)[0] for table, query in TABLES.items()}
    return {table: Tally(rows, None if total is None else Decimal(total)) for table, (rows, total) in found.items()}


def ask(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Between loads the file is anybody's to read."""
    with duckdb.connect(str(file), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def _sum(amounts: Iterable[Any]) -> Decimal:
    return sum((Decimal(str(amount)) for amount in amounts), Decimal(0))
