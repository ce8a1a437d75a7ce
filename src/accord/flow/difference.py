"""Field-by-field differences between what was expected and what came."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """``path`` within what is compared (``writes[0].record.total``); both values as they are shown."""

    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.actual}"


def compare(expected: Any, actual: Any, path: str) -> list[Difference]:
    """What differs. An expected object names the fields that matter; lists are compared whole. Numbers compare by value,
    and an expected text equals a date or time that is written so. Absent equals null."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [Difference(path, shown(expected), shown(actual))]
        return [d for name, value in expected.items() for d in compare(value, actual.get(name), f"{path}.{name}")]
    if isinstance(expected, list):
        if not isinstance(actual, list | tuple):
            return [Difference(path, shown(expected), shown(actual))]
        found = [
            d for i, (e, a) in enumerate(zip(expected, actual, strict=False)) for d in compare(e, a, f"{path}[{i}]")
        ]
        found += [Difference(f"{path}[{i}]", shown(expected[i]), "nothing") for i in range(len(actual), len(expected))]
        found += [Difference(f"{path}[{i}]", "nothing", shown(actual[i])) for i in range(len(expected), len(actual))]
        return found
    return [] if _is_same(expected, actual) else [Difference(path, shown(expected), shown(actual))]


def _is_same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | Decimal) and isinstance(actual, int | Decimal | float):
        return Decimal(expected) == (Decimal(repr(actual)) if isinstance(actual, float) else Decimal(actual))
    if isinstance(expected, str) and isinstance(actual, dt.datetime):
        return _instant(expected) == actual
    if isinstance(expected, str) and isinstance(actual, dt.date):
        return expected == actual.isoformat()
    if isinstance(expected, str) and isinstance(actual, dt.timedelta):
        return bool(expected == msgspec.to_builtins(actual))
    return bool(expected == actual)


def _instant(text: str) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
