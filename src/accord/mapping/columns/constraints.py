"""What a field asks of its values, in columns: an expression that is true where a value breaks it or may break it."""

from __future__ import annotations

from typing import Any

import polars as pl

from accord.mapping.codes import COUNTRIES, CURRENCIES
from accord.mapping.columns.column import NoColumn, either
from accord.mapping.columns.dtypes import DECIMAL, dtype_of, fits_decimal, json_value, quantized
from accord.mapping.columns.patterns import whole_match
from accord.mapping.regex import bounded_pattern
from accord.record.types import DateTime, Decimal, Enum, Field, Float, Json, List, Object, Type

# Each accepts no more than the row form does; what it refuses the row form looks at.
_SURE_FORMATS = {
    "email": r"\A[A-Za-z0-9_%+\-]+(?:\.[A-Za-z0-9_%+\-]+)*@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z0-9]+\z",
    "uuid": r"\A[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\z",
    "phone": r"\A\+[1-9][0-9]{1,14}\z",
    "uri": r"\Ahttps?://[A-Za-z0-9][A-Za-z0-9.\-]*(?:[:/?#][!#-;=?-Z_a-z~]*)?\z",
}
_CODES = {"country": COUNTRIES, "currency": CURRENCIES}
_EMAIL_BYTES_MAX = 50  # below every bound of the row form on labels and length
_URI_BYTES_MAX = 8000


def broken(field: Field, value: pl.Expr) -> pl.Expr | None:
    """For a value that may be null (then nothing is broken): constraints only, not the type."""
    tests: list[pl.Expr] = []
    if field.min is not None:
        tests.append(value < _bound(field, field.min))
    if field.max is not None:
        tests.append(value > _bound(field, field.max))
    if field.length_min is not None or field.length_max is not None:
        length = value.list.len() if isinstance(field.type, List) else value.str.len_chars()
        if field.length_min is not None:
            tests.append(length < field.length_min)
        if field.length_max is not None:
            tests.append(length > field.length_max)
    if field.pattern is not None:
        tests.append(_pattern(value, field.pattern))
    if field.format is not None:
        tests.append(_format(value, field.format))
    return either(*tests)


def _bound(field: Field, bound: Any) -> pl.Expr:
    if isinstance(field.type, Decimal):
        if not fits_decimal(bound):
            raise NoColumn("a bound with more digits than a column holds")
        return pl.lit(quantized(bound), dtype=DECIMAL)
    if isinstance(field.type, DateTime):
        return pl.lit(bound)
    return pl.lit(bound, dtype=dtype_of(field.type))


def _pattern(value: pl.Expr, pattern: str) -> pl.Expr:
    try:
        found, odd = whole_match(value, pattern, bounded_pattern(pattern).length_max)
    except ValueError:
        return pl.lit(value=False)  # a fault of the contract already
    return ~found | odd


def _format(value: pl.Expr, format_: str) -> pl.Expr:
    codes = _CODES.get(format_)
    if codes is not None:
        return ~value.is_in(sorted(codes))
    sure = ~value.str.contains(_SURE_FORMATS[format_])
    if format_ == "email":
        return sure | (value.str.len_bytes() > _EMAIL_BYTES_MAX) | value.str.contains("-.", literal=True)
    return sure | (value.str.len_bytes() > _URI_BYTES_MAX) if format_ == "uri" else sure


def broken_type(type_: Type, value: pl.Expr, *, types_only: bool) -> pl.Expr | None:
    """What the column's type alone does not promise: presence inside objects and lists, enum values, finite floats, json."""
    match type_:
        case Enum(values=values):
            return ~value.is_in(list(values))
        case Float():
            return ~value.is_finite()
        case Json():
            return ~value.map_batches(_is_json, return_dtype=pl.Boolean).fill_null(value=True)
        case Object(fields=fields):
            inner = [broken_field(f, value.struct.field(n), types_only=types_only) for n, f in fields.items()]
            odd = either(*inner)
            return None if odd is None else value.is_not_null() & odd
        case List(item=item):
            one = pl.element()
            tests = [broken_type(item, one, types_only=types_only)]
            if not type_.is_item_nullable:
                tests.append(one.is_null())
            odd = either(*tests)
            return None if odd is None else value.list.eval(odd.fill_null(value=False)).list.any()
        case _:
            return None


def broken_field(field: Field, value: pl.Expr, *, types_only: bool) -> pl.Expr | None:
    """Everything a contract asks of one field."""
    tests = [broken_type(field.type, value, types_only=types_only)]
    if not field.nullable:
        tests.append(value.is_null())
    if not types_only:
        tests.append(broken(field, value))
    return either(*tests)


def _is_json(column: pl.Series) -> pl.Series:
    return pl.Series([None if text is None else _is_value(text) for text in column.to_list()], dtype=pl.Boolean)


def _is_value(text: str) -> bool:
    try:
        return json_value(text) is not None
    except (ValueError, RecursionError):
        return False


__all__ = ["broken", "broken_field", "broken_type"]
