"""SOQL queries as text. Names come from checked declarations, values are always quoted here. Pure.

Source: Salesforce, "SOQL and SOSL Reference": quoted string escape sequences, date formats, relationship queries.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from accord.record import Field
from accord.record.types import Object

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def columns(fields: Mapping[str, Field], prefix: str = "") -> list[str]:
    """Field names; those of a parent record (``Account: {object: {Name: string}}``) through its relationship."""
    found: list[str] = []
    for name, field in fields.items():
        if isinstance(field.type, Object):
            found += columns(field.type.fields, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def literal(value: Any) -> str:
    """Raises TypeError for what a query cannot hold."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value.translate(_ESCAPES)}'"
        case int() | Decimal():
            return format(value, "f") if isinstance(value, Decimal) else str(value)
        case dt.datetime():
            return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
        case dt.date():
            return value.isoformat()
        case _:
            raise TypeError(f"no SOQL literal for {type(value).__name__}")


def one_of(name: str, values: Iterable[Any]) -> str:
    return f"{name} IN ({', '.join(literal(value) for value in values)})"


def select(names: Iterable[str], object_: str, conditions: Iterable[str], tail: str = "") -> str:
    """``tail``: ORDER BY and LIMIT."""
    where = " AND ".join(f"({one})" for one in conditions if one)
    listed = ", ".join(dict.fromkeys(names))
    return f"SELECT {listed} FROM {object_}{f' WHERE {where}' if where else ''} {tail}".rstrip()  # noqa: S608
