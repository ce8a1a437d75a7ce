"""What generated code calls: small helpers that would be too long to write inline."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from accord.mapping.exact import EXACT, QUOTIENT, plain
from accord.mapping.functions.signature import Rejected


def member(value: Any, name: str) -> Any:
    """``value.name`` of json: null when it is no object or has no such field."""
    return value.get(name) if isinstance(value, dict) else None


def item(value: Any, key: Any) -> Any:
    """``value[key]`` of json: null when there is no such part."""
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else None
    if isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
        return at(value, key)
    return None


def at(value: Any, index: int) -> Any:
    """Item of a list or character of text; negative counts from the end; null when out of range."""
    return value[index] if -len(value) <= index < len(value) else None


def items(value: Any) -> list[Any]:
    """A json value that must be a list."""
    if not isinstance(value, list):
        raise Rejected("this json is not a list", value)
    return value


def has(value: Any, container: Any) -> bool:
    """``value in container`` of json: item of a list, key of an object, part of text."""
    if isinstance(container, str):
        return isinstance(value, str) and value in container
    if isinstance(container, dict):
        return isinstance(value, str) and value in container
    return isinstance(container, list) and value in container


def text(value: Any) -> str:
    """A value as text: digits without exponent, ISO 8601 dates, true/false. Lists and objects are refused."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return plain(value)
        case float():
            return repr(value)
        case dt.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dt.date():
            return value.isoformat()
        case dt.timedelta():
            return duration_text(value)
        case None:
            raise Rejected("this json is null and cannot be text")
        case _:
            raise Rejected("a list or object cannot be text; use json_text()", value)


def duration_text(value: dt.timedelta) -> str:
    """ISO 8601 duration of days and seconds."""
    sign = "-" if value < dt.timedelta(0) else ""
    value = abs(value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0") if value.microseconds else str(value.seconds)
    days = f"{value.days}D" if value.days else ""
    clock = f"T{seconds}S" if value.seconds or value.microseconds or not value.days else ""
    return f"{sign}P{days}{clock}"


def neg(value: Decimal) -> Decimal:
    return EXACT.minus(value)


GLOBALS: dict[str, Any] = {
    "_D": Decimal,
    "_add": EXACT.add,
    "_sub": EXACT.subtract,
    "_mul": EXACT.multiply,
    "_div": QUOTIENT.divide,
    "_floor": QUOTIENT.divide_int,
    "_mod": QUOTIENT.remainder,
    "_neg": neg,
    "_member": member,
    "_item": item,
    "_at": at,
    "_items": items,
    "_has": has,
    "_text": text,
    "_format": format,
    "_R": Rejected,
}
