"""Numbers. Text is read only in its plain form (digits, a point, digits); any other spelling is the row form's to judge."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import polars as pl

from accord.mapping.columns.column import (
    INTEGER_DIGITS,
    Column,
    NoColumn,
    as_decimal,
    as_type,
    doubt,
    guarded,
    limited,
    nothing,
)
from accord.mapping.columns.dtypes import DECIMAL, SCALE, WHOLE_DIGITS
from accord.mapping.columns.forms.table import form, special
from accord.mapping.columns.operators import numbers, together
from accord.mapping.columns.texts import BLANKS
from accord.record.types import Date, DateTime, Decimal, Duration, Float, Integer, List, String

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler

_READABLE_DIGITS = 18
_DECIMAL_TEXT = rf"\A[+-]?[0-9]{{1,{_READABLE_DIGITS}}}(?:\.[0-9]{{1,{SCALE}}})?\z"
_INTEGER_TEXT = rf"\A[+-]?[0-9]{{1,{_READABLE_DIGITS}}}\z"
_MODES = {"half_up": "half_away_from_zero", "half_even": "half_to_even"}
_LENGTH_MAX = 100_000  # items a list may have for its sum to be known not to overflow


@form("decimal")
def decimal_(value: Column) -> Column:
    match value.type:
        case Decimal():
            return value
        case Integer():
            return as_decimal(value)
        case String():
            return _read_decimal(value, value.value)
        case _:
            raise NoColumn("decimal() of floats and json")


def _read_decimal(column: Column, text: pl.Expr) -> Column:
    good = text.str.contains(_DECIMAL_TEXT)
    value = pl.when(good).then(text).cast(DECIMAL, strict=False)
    return together(
        [column], value, Decimal(), odd=~good | (value.is_null() & text.is_not_null()), whole=_READABLE_DIGITS
    )


@form("parse_decimal")
def parse_decimal(text: Column, decimal_mark: Column, group_mark: Column) -> Column:
    point, group = decimal_mark.literal, group_mark.literal
    if not isinstance(point, str) or not isinstance(group, str):
        raise NoColumn("marks that are computed")
    digits = text.value.str.replace_all("[" + "".join(f"\\x{{{ord(c):x}}}" for c in BLANKS) + "]", "")
    if group:
        digits = digits.str.replace_all(group, "", literal=True)
    if point:
        digits = digits.str.replace_all(point, ".", literal=True)
    return _read_decimal(text, digits)


@form("integer")
def integer(value: Column) -> Column:
    match value.type:
        case Integer():
            return value
        case String():
            good = value.value.str.contains(_INTEGER_TEXT)
            made = pl.when(good).then(value.value).cast(pl.Int64, strict=False)
            odd = ~good | (made.is_null() & value.value.is_not_null())
            return together([value], made, Integer(), odd=odd, whole=_READABLE_DIGITS, places=0)
        case Decimal():
            small = guarded(limited(value, 0), _READABLE_DIGITS)
            made = small.value.cast(pl.Int64, strict=False)
            return together([small], made, Integer(), whole=_READABLE_DIGITS, places=0)
        case _:
            raise NoColumn("integer() of floats and json")


@form("float_")
def float_(value: Column) -> Column:
    match value.type:
        case Float():
            return doubt(value, ~value.value.is_finite())
        case Integer():
            return together([value], value.value.cast(pl.Float64), Float())
        case _:
            raise NoColumn("float_() of text and decimals")


@form("round")
def round_(value: Column, places: Column, mode: Column) -> Column:
    how = _MODES.get(str(mode.literal))
    if type(places.literal) is not int or not 0 <= places.literal <= SCALE or how is None:
        raise NoColumn("this kind of rounding")
    column = guarded(value, WHOLE_DIGITS - 1)
    made = column.value.round(places.literal, mode=how)  # type: ignore[arg-type]
    return together([column], made, Decimal(), whole=column.whole + 1, places=min(column.places, places.literal))


@form("percent")
def percent(value: Column, rate: Column, places: Column, mode: Column) -> Column:
    if not rate.is_literal or rate.literal is None:
        raise NoColumn("percent() of a rate that is computed")
    from accord.mapping.columns.column import literal

    share = literal(rate.literal.scaleb(-2), Decimal())
    return round_(numbers("*", value, share), places, mode)


@form("abs")
def abs_(value: Column) -> Column:
    odd = value.value == -(2**63) if isinstance(value.type, Integer) and value.whole >= INTEGER_DIGITS else None
    return together([value], value.value.abs(), value.type, odd=odd, whole=value.whole, places=value.places)


def _extreme(c: ColumnCompiler, node: ast.Call, word: str) -> Column:
    columns = [c.compile(argument) for argument in node.args]
    whole = c.value_of(node)
    if any(column.is_null for column in columns):
        return nothing(columns)
    if len(columns) == 1 and isinstance(columns[0].type, List):
        return _extreme_of_list(columns[0], word)
    if isinstance(whole.type, Float | DateTime):
        raise NoColumn(f"{word}() of floats and times")
    ready = [as_type(column, whole.type) for column in columns]
    value = ready[0].value
    missing = value.is_null()
    for other in ready[1:]:
        is_beyond = other.value < value if word == "min" else other.value > value
        value, missing = pl.when(is_beyond).then(other.value).otherwise(value), missing | other.value.is_null()
    if any(column.nullable for column in ready) and len(ready) > 1:
        value = pl.when(~missing).then(value)
    facts = c.combined(ready, value, whole.type, whole.nullable, odd=None)
    return together(
        ready, value, whole.type, whole=facts.whole, places=facts.places, is_plain=facts.is_plain
    )  # fmt: skip


def _extreme_of_list(column: Column, word: str) -> Column:
    kind = column.type.item
    if not isinstance(kind, Integer | Decimal | String | Date | Duration):
        raise NoColumn(f"{word}() of such a list")
    items = column.value.list.drop_nulls()
    value = items.list.min() if word == "min" else items.list.max()
    if isinstance(kind, String):
        items = items.list.sort(descending=word == "max")
        value = items.list.first()
    return together(
        [column], value, kind, nullable=True, whole=column.whole, places=column.places, is_plain=column.is_plain
    )  # fmt: skip


@special("min")
def min_(c: ColumnCompiler, node: ast.Call) -> Column:
    return _extreme(c, node, "min")


@special("max")
def max_(c: ColumnCompiler, node: ast.Call) -> Column:
    return _extreme(c, node, "max")


@special("sum")
def sum_(c: ColumnCompiler, node: ast.Call) -> Column:
    column = c.compile(node.args[0])
    if column.is_null:
        return column
    if not isinstance(column.type, List) or not isinstance(column.type.item, Integer | Decimal):
        raise NoColumn("sum() of floats and durations")
    kind = column.type.item
    ceiling = INTEGER_DIGITS - 1 if isinstance(kind, Integer) else WHOLE_DIGITS
    items = column.value
    odd = items.list.len() > _LENGTH_MAX
    most = ceiling - len(str(_LENGTH_MAX)) + 1
    if column.whole >= most:
        dtype = pl.Int64() if isinstance(kind, Integer) else DECIMAL
        limit = pl.lit(10 ** (most - 1) - 1).cast(dtype)
        fits = pl.element().is_between(-limit, limit)
        odd = odd | items.list.eval(~fits).list.any()
        items = items.list.eval(pl.when(fits).then(pl.element()))
    made = items.list.sum()
    made = made.cast(pl.Int64) if isinstance(kind, Integer) else made
    return together([column], made, kind, odd=odd, whole=ceiling, places=column.places)
