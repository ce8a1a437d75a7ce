"""Proof that all systems agree: reads every system's own state and compares, order by order."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from accord.sandbox.launcher import Sandbox

ORDER_NAME = re.compile(r"#[\w-]+")
SHOWN_MAX = 5


@dataclass
class Check:
    """One thing that must hold of every paid order; ``wrong`` names the orders of which it does not."""

    title: str
    holds: int = 0
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        return not self.missing and not self.wrong


@dataclass
class Agreement:
    paid: int
    checks: list[Check]
    strangers: list[str]  # effects that belong to no paid order

    @property
    def is_reached(self) -> bool:
        return not self.strangers and all(check.is_fine for check in self.checks)

    @property
    def is_wrong(self) -> bool:
        """Something happened twice, or differently: waiting cannot mend it."""
        return bool(self.strangers) or any(check.wrong for check in self.checks)


def agreement(sandbox: Sandbox) -> Agreement:
    """Every paid order: stock moved once, one shipment, one invoice of equal sum, one mail."""
    orders = {
        order["name"]: order for order in sandbox.objects("shop", "orders") if order["financial_status"] == "paid"
    }
    movements = _by(sandbox.objects("inventory", "movements"), lambda row: row["reference"])
    shipments = _by(sandbox.objects("shipping", "shipments"), lambda row: row["reference"])
    invoices = _by(
        (row for row in sandbox.objects("accounting", "invoices") if not row["reference"].startswith("DEAL-")),
        lambda row: row["reference"],
    )
    mails = _by(sandbox.objects("mail", "messages"), lambda row: _order_in(row["subject"]))
    stock = _check(
        "stock moved once", orders, movements, lambda order, rows: _moved(rows) == _ordered(order), is_many=True
    )
    shipped = _check("one shipment", orders, shipments, lambda order, rows: _parcels(rows[0]) == _ordered(order))
    invoiced = _check(
        "one invoice of equal sum",
        orders,
        invoices,
        lambda order, rows: Decimal(str(rows[0]["total"])) == Decimal(order["total_price"]),
    )
    mailed = _check("one mail", orders, mails, lambda order, rows: order["email"] in str(rows[0]["recipients"]))
    found = (("movement", movements), ("shipment", shipments), ("invoice", invoices), ("mail", mails))
    strangers = [f"{kind} of {name}" for kind, rows in found for name in rows if name not in orders]
    return Agreement(len(orders), [stock, shipped, invoiced, mailed], strangers)


def _check(
    title: str, orders: dict[str, Any], found: dict[str, list[Any]], holds: Any, *, is_many: bool = False
) -> Check:
    check = Check(title)
    for name, order in orders.items():
        rows = found.get(name, [])
        if not rows or (is_many and sum(_moved(rows).values()) < sum(_ordered(order).values())):
            check.missing.append(name)
        elif (len(rows) > 1 and not is_many) or not holds(order, rows):
            check.wrong.append(name)
        else:
            check.holds += 1
    return check


def _ordered(order: dict[str, Any]) -> dict[str, int]:
    return _sums((item["sku"], item["quantity"]) for item in order["line_items"])


def _moved(rows: list[dict[str, Any]]) -> dict[str, int]:
    return _sums((row["sku"], row["by"]) for row in rows)


def _parcels(shipment: dict[str, Any]) -> dict[str, int]:
    return _sums((parcel["sku"], parcel["pieces"]) for parcel in shipment["parcels"])


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = collections.Counter()
    for name, count in pairs:
        sums[name] += count
    return dict(sums)


def _by(rows: Iterable[dict[str, Any]], key: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _order_in(subject: str) -> str:
    match = ORDER_NAME.search(subject)
    return match.group(0) if match else subject
