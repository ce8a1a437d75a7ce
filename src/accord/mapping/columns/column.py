"""A value in columns: the expression, where it may not be trusted, and what is known of its size."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal as PyDecimal
from typing import Any

import msgspec
import polars as pl

from accord.mapping.columns.dtypes import DECIMAL, SCALE, WHOLE_DIGITS, dtype_of, fits_decimal, quantized
from accord.mapping.value import UNKNOWN, Null, outward
from accord.record.types import DateTime, Decimal, Integer, Json

INTEGER_DIGITS = 19
UTC = "UTC"
FIXED = "fixed"  # each value has an offset of its own, which the column does not know
ANY_DEPTH = -1
MIXED = "mixed"  # some values are in a zone with clock changes: not even comparing is safe


class NoColumn(Exception):
    """This has no column form: the caller takes the row form of a larger part. ``why`` is for people."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """``odd`` is true (never false, but maybe null, which counts as false) in rows whose value the row form must decide.

    ``whole`` and ``places`` bound the digits before and after the point of numbers. ``is_plain``: a decimal straight from the
    record, whose digits are the canonical ones. ``zone``: on whose clocks a datetime is. ``depth``: of how many lists around
    it the value is an item; 0 for the record's own, ANY_DEPTH for constants.
    """

    value: pl.Expr
    type: Any
    nullable: bool = False
    odd: pl.Expr | None = None
    whole: int = WHOLE_DIGITS
    places: int = SCALE
    is_plain: bool = False
    zone: str = UTC
    depth: int = 0
    literal: Any = UNKNOWN

    @property
    def is_literal(self) -> bool:
        return self.literal is not UNKNOWN

    @property
    def is_null(self) -> bool:
        return isinstance(self.type, Null)


NULL = Column(value=pl.lit(None), type=Null(), nullable=True, literal=None, depth=ANY_DEPTH)


def changed(column: Column, **changes: Any) -> Column:
    """The same column with some facts changed; a changed value is no literal any more."""
    if "value" in changes:
        changes.setdefault("literal", UNKNOWN)
    return msgspec.structs.replace(column, **changes)


def either(*odds: pl.Expr | None) -> pl.Expr | None:
    """True where one of them is."""
    found = [odd for odd in odds if odd is not None]
    if not found:
        return None
    made = found[0]
    for odd in found[1:]:
        made = made | odd
    return made


def odd_of(columns: Iterable[Column]) -> pl.Expr | None:
    return either(*(column.odd for column in columns))


def doubt(column: Column, odd: pl.Expr) -> Column:
    return msgspec.structs.replace(column, odd=either(column.odd, odd))


def nothing(columns: Iterable[Column]) -> Column:
    """Null, whatever the columns hold; odd where one of them is, since the row form has looked at them all."""
    odd = odd_of(columns)
    return NULL if odd is None else msgspec.structs.replace(NULL, odd=odd, literal=UNKNOWN)


def depth_of(columns: Iterable[Column]) -> int:
    """The depth they have in common. Raises NoColumn for items of a list beside values from outside it."""
    found = {column.depth for column in columns} - {ANY_DEPTH}
    if len(found) > 1:
        raise NoColumn("values from outside the list that is walked")
    return found.pop() if found else ANY_DEPTH


def literal(value: Any, type_: Any) -> Column:
    """A literal of the language. Raises NoColumn for one its column cannot hold."""
    if value is None:
        return NULL
    if isinstance(value, PyDecimal):
        if not fits_decimal(value):
            raise NoColumn("a literal with more digits than a column holds")
        exponent = value.as_tuple().exponent
        places = max(0, -exponent) if isinstance(exponent, int) else SCALE
        whole = max(1, value.adjusted() + 1) if value else 1
        expr = decimal_literal(value)
        return Column(value=expr, type=type_, whole=whole, places=min(places, SCALE), literal=value, depth=ANY_DEPTH)
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise NoColumn("a whole number with more digits than a column holds")
        return Column(
            value=pl.lit(value, dtype=pl.Int64),
            type=type_,
            whole=len(str(abs(value))),
            places=0,
            literal=value,
            depth=ANY_DEPTH,
        )
    return Column(value=pl.lit(value), type=type_, literal=value, depth=ANY_DEPTH)


def decimal_literal(value: PyDecimal) -> pl.Expr:
    return pl.lit(quantized(value), dtype=DECIMAL)


def source(value: pl.Expr, type_: Any, nullable: bool, depth: int) -> Column:
    """A value straight from the record."""
    whole = INTEGER_DIGITS if isinstance(type_, Integer) else WHOLE_DIGITS
    places = 0 if isinstance(type_, Integer) else SCALE
    return Column(
        value=value, type=type_, nullable=nullable, whole=whole, places=places, depth=depth,
        is_plain=isinstance(type_, Decimal),
    )  # fmt: skip


def guarded(column: Column, whole: int) -> Column:
    """A number with at most ``whole`` digits before the point; null and odd where it has more."""
    if column.whole <= whole:
        return column
    if isinstance(column.type, Integer):
        limit = min(10**whole - 1, 2**63 - 1)
        fits = column.value.is_between(pl.lit(-limit, dtype=pl.Int64), pl.lit(limit, dtype=pl.Int64))
    else:
        limit_ = decimal_literal(PyDecimal(10**whole - 1))
        fits = column.value.is_between(-limit_, limit_)
    return changed(
        column, value=pl.when(fits).then(column.value), odd=either(column.odd, ~fits), whole=whole, is_plain=False
    )


def limited(column: Column, places: int) -> Column:
    """A decimal with at most ``places`` digits after the point; odd where it has more."""
    if column.places <= places:
        return column
    unit = pl.lit(10 ** (SCALE - places), dtype=pl.Int128)
    return changed(
        column, odd=either(column.odd, column.value.to_physical() % unit != pl.lit(0, dtype=pl.Int128)), places=places
    )


def as_decimal(column: Column) -> Column:
    """An integer as decimal."""
    if column.is_literal and isinstance(column.literal, int):
        return literal(PyDecimal(column.literal), Decimal())
    return changed(column, value=column.value.cast(DECIMAL), type=Decimal(), places=0, is_plain=False)


def as_type(column: Column, type_: Any) -> Column:
    """What meeting types ask for: integers become decimals or floats, null gets the type."""
    if column.is_null and isinstance(type_, Null):
        return column
    if column.is_null:
        value = pl.lit(None, dtype=dtype_of(outward(type_)))
        return Column(value=value, type=type_, nullable=True, odd=column.odd, depth=ANY_DEPTH)
    if isinstance(type_, Decimal) and isinstance(column.type, Integer):
        return as_decimal(column)
    if column.type == type_ or isinstance(type_, Null):
        return column
    if isinstance(type_, Json) != isinstance(column.type, Json):
        raise NoColumn("writing json")
    if dtype_of(outward(column.type)) != dtype_of(outward(type_)):
        raise NoColumn("types that meet in another column type")
    return changed(column, value=column.value, type=type_, literal=column.literal)


def same_zone(columns: list[Column]) -> str:
    zones = {column.zone for column in columns if isinstance(column.type, DateTime)}
    if len(zones) <= 1:
        return next(iter(zones), UTC)
    return FIXED if zones <= {UTC, FIXED} else MIXED
