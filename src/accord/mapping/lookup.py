"""Look-up tables: declared codes and what they stand for (countries, status codes, accounts)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal as PyDecimal
from typing import Any

import msgspec

from accord.errors import NOWHERE, Faults, Place
from accord.record.types import Boolean, Decimal, Integer, String, Type, name_of
from accord.settings.node import Node

ROWS_MAX = 200_000


class Lookup(msgspec.Struct, frozen=True):
    """``rows`` maps a text key to a value; all values have the one type ``type``."""

    name: str
    rows: dict[str, Any]
    type: Type
    place: Place = NOWHERE

    @classmethod
    def of(cls, name: str, rows: Mapping[Any, Any]) -> Lookup:
        """A table from plain Python data. Raises DeclarationError when values are of different kinds."""
        faults = Faults()
        table = _read_one(name, Node.of({str(k): v for k, v in rows.items()}), faults)
        faults.raise_if_any()
        assert table is not None
        return table


def read_lookups(node: Node | None, faults: Faults) -> dict[str, Lookup]:
    """Reads ``{table: {key: value}}``; a faulty table is left out."""
    if node is None or node.value is None:
        return {}
    if not node.is_map:
        faults.add("mapping.lookup", node.place, f"Look-up tables must be a mapping of names, not {node.describe()}.")
        return {}
    tables = {name: _read_one(name, child, faults) for name, child in node.items()}
    return {name: table for name, table in tables.items() if table is not None}


def _read_one(name: str, node: Node, faults: Faults) -> Lookup | None:
    if not node.is_map or not any(True for _ in node.items()):
        faults.add(
            "mapping.lookup",
            node.place,
            f"The look-up table '{name}' must be a mapping of keys to values, not {node.describe()}.",
            "Write one 'key: value' per line.",
        )
        return None
    rows: dict[str, Any] = {}
    kind: Type | None = None
    for key, child in node.items():
        found = _type_of(child.value)
        if found is None:
            faults.add(
                "mapping.lookup",
                child.place,
                f"The value of '{key}' in look-up table '{name}' is {child.describe()}.",
                "Values are text, numbers or true/false.",
            )
            continue
        kind = found if kind is None else _common(kind, found)
        if kind is None:
            faults.add(
                "mapping.lookup",
                child.place,
                f"The value of '{key}' in look-up table '{name}' is of type {name_of(found)}, unlike those before it.",
                "Give all values one type (quote them to make them text).",
            )
            return None
        rows[key] = child.value
    if len(rows) > ROWS_MAX:
        faults.add("mapping.lookup", node.place, f"The look-up table '{name}' has more than {ROWS_MAX} rows.")
        return None
    if kind is None:
        return None
    if isinstance(kind, Decimal):
        rows = {k: PyDecimal(v) for k, v in rows.items()}
    return Lookup(name, rows, kind, node.place)


def _type_of(value: Any) -> Type | None:
    match value:
        case bool():
            return Boolean()
        case int():
            return Integer()
        case PyDecimal():
            return Decimal()
        case str():
            return String()
        case _:
            return None


def _common(a: Type, b: Type) -> Type | None:
    if a == b:
        return a
    numbers = (Integer, Decimal)
    return Decimal() if isinstance(a, numbers) and isinstance(b, numbers) else None
