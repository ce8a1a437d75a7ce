"""Values between records and columns: exact, with zones. Pure.

A record holds typed values (Decimal, aware datetimes); a row read back is handed on as plain data: dates, instants (UTC) and
durations as ISO 8601 text, numbers exact. SQLite has no decimals, dates or booleans, so it depends on the declared column:

| column | decimal | datetime |
|---|---|---|
| TEXT, VARCHAR | its digits, exact | ``YYYY-MM-DD HH:MM:SS[.ffffff]`` in the system's zone |
| INTEGER | whole, or scaled by the entity's ``scaled`` | seconds since 1970 |
| NUMERIC, DECIMAL | kept by SQLite as binary: exact to 15 digits, more are refused | as TEXT |
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from accord.record import types as t
from accord.sdk.http import decode_json, encode_json

SQLITE_DIGITS_MAX = 15  # what a binary double keeps of a decimal number (sqlite.org/datatype3.html, section 3)

Convert = Callable[[Any], Any]


class ColumnShape(msgspec.Struct, frozen=True):
    """What of a database column matters for values. ``kind``: text, integer, exact, binary-exact (SQLite), float, boolean,
    date, datetime, interval, json, uuid, bytes, other. ``zoned``: its datetimes carry a zone."""

    kind: str
    zoned: bool = False
    scale: int | None = None
    is_native_json: bool = False


class Unfit(ValueError):
    """A value that the column cannot hold; the text says why, without the value."""


def encoder(type_: t.Type, shape: ColumnShape, zone: ZoneInfo, scaled: int | None) -> Convert:
    """From a typed value of a record to what the driver binds. Raises Unfit."""
    match type_:
        case t.Decimal() | t.Integer() if scaled is not None:
            return lambda v: _scaled(v, scaled)
        case t.Decimal():
            return _DECIMAL_OUT.get(shape.kind, lambda v: v)
        case t.Float():
            return float
        case t.Boolean():
            return (
                bool if shape.kind == "boolean" else int if shape.kind != "text" else lambda v: "true" if v else "false"
            )
        case t.Integer():
            return str if shape.kind == "text" else _integer if shape.kind == "integer" else lambda v: v
        case t.DateTime():
            return lambda v: _instant_out(v, shape, zone)
        case t.Date():
            return (lambda v: v) if shape.kind in ("date", "datetime") else lambda v: v.isoformat()
        case t.Duration():
            return (lambda v: v) if shape.kind == "interval" else lambda v: msgspec.to_builtins(v)
        case t.Json() | t.Object() | t.List():
            return plain if shape.is_native_json else lambda v: encode_json(v).decode()
        case _ if shape.kind == "bytes":
            return lambda v: str(v).encode()
        case _ if shape.kind in ("integer", "exact", "binary-exact"):
            return _number_text
        case _:
            return lambda v: v


def decoder(type_: t.Type, shape: ColumnShape, zone: ZoneInfo, scaled: int | None) -> Convert:
    """From what the driver gives to plain data. What does not fit the declared type is left for the contract to refuse."""
    match type_:
        case t.Decimal() | t.Integer() if scaled is not None:
            return lambda v: decimal.Decimal(v).scaleb(-scaled) if isinstance(v, int) else v
        case t.Decimal():
            return lambda v: _decimal_in(v, shape.scale)
        case t.Boolean():
            return _boolean_in
        case t.Integer():
            return _integer_in
        case t.DateTime():
            return lambda v: _instant_in(v, zone)
        case t.Date():
            return lambda v: v.date().isoformat() if isinstance(v, dt.datetime) else _plain_value(v)
        case t.Json() | t.Object() | t.List():
            return _json_in
        case t.Float():
            return lambda v: float(v) if isinstance(v, decimal.Decimal) else v
        case _:
            return lambda v: v if isinstance(v, str) else _text_in(v)


def plain(value: Any) -> Any:
    """Typed values to JSON-like data; decimals stay decimals."""
    return msgspec.to_builtins(value, builtin_types=(decimal.Decimal,))


def of_row(value: Any) -> Any:
    """A value of an undeclared column (answers of operations, queries) as plain data; naive datetimes stay naive."""
    return decimal.Decimal(repr(value)) if isinstance(value, float) and math.isfinite(value) else _plain_value(value)


def _plain_value(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return iso_utc(value) if value.tzinfo else value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview | dt.date | dt.time | dt.timedelta):
        return msgspec.to_builtins(bytes(value) if isinstance(value, memoryview) else value)
    return value


def iso_utc(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _text_in(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return msgspec.to_builtins(value)
    return _plain_value(value)


def _scaled(value: Any, places: int) -> int:
    moved = decimal.Decimal(value).scaleb(places)
    if moved != moved.to_integral_value():
        raise Unfit(f"has more than the {places} decimal places the column keeps")
    return _integer(int(moved))


def _integer(value: Any) -> int:
    if not -(2**63) <= value < 2**63:
        raise Unfit("is too large for a 64-bit integer column")
    return int(value)


def _whole(value: decimal.Decimal) -> int:
    if value != value.to_integral_value():
        raise Unfit("has decimal places, but the column keeps whole numbers; declare `scaled` for it")
    return _integer(int(value))


def _binary_exact(value: decimal.Decimal) -> Any:
    if len(value.normalize().as_tuple().digits) > SQLITE_DIGITS_MAX:
        raise Unfit(
            f"has more than {SQLITE_DIGITS_MAX} digits, which a NUMERIC column of SQLite does not keep; use TEXT"
        )
    return str(value)


_DECIMAL_OUT: dict[str, Convert] = {
    "text": lambda v: format(v, "f"),
    "integer": _whole,
    "binary-exact": _binary_exact,
    "float": float,
}


def _number_text(value: Any) -> Any:
    """Text for a number column: only a number fits."""
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        raise Unfit("is text, but the column holds numbers") from None


def _decimal_in(value: Any, scale: int | None) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        value = decimal.Decimal(repr(value))
    elif isinstance(value, int) and not isinstance(value, bool):
        value = decimal.Decimal(value)
    elif isinstance(value, str):
        try:
            return decimal.Decimal(value.strip())
        except decimal.InvalidOperation:
            return value
    if isinstance(value, decimal.Decimal) and scale is not None and value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and -exponent < scale:
            return value.quantize(decimal.Decimal(1).scaleb(-scale))
    return value


_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _boolean_in(value: Any) -> Any:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, bytes) and value in (b"\x00", b"\x01"):
        return value == b"\x01"
    return _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


def _integer_in(value: Any) -> Any:
    if isinstance(value, decimal.Decimal | float) and value == int(value):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return value
    return value


def _json_in(value: Any) -> Any:
    if isinstance(value, str | bytes):
        try:
            return decode_json(value if isinstance(value, bytes) else value.encode())
        except msgspec.DecodeError:
            return value
    return value


def _instant_out(value: dt.datetime, shape: ColumnShape, zone: ZoneInfo) -> Any:
    if shape.kind == "integer":
        return int(value.timestamp())
    if shape.kind == "datetime":
        return value if shape.zoned else value.astimezone(zone).replace(tzinfo=None)
    return value.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ")


def _instant_in(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        value = dt.datetime.fromtimestamp(value, dt.UTC)
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if not isinstance(value, dt.datetime):
        return value
    return iso_utc(value if value.tzinfo else value.replace(tzinfo=zone))
