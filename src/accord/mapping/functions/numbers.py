"""Numbers: conversion, rounding with named modes, smallest, largest, sums of money."""

from __future__ import annotations

import ast
import decimal
import math
from decimal import Decimal
from typing import Any

from accord.mapping.check import Compiler
from accord.mapping.exact import EXACT, is_usable, read_decimal
from accord.mapping.functions.signature import Function, Rejected, fits
from accord.mapping.functions.signature import Pattern as _Pattern
from accord.mapping.functions.table import builtin
from accord.mapping.value import NULL, ORDERED, Value, replace, shown
from accord.record import types
from accord.record.types import List

MODES = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "half_down": decimal.ROUND_HALF_DOWN,
    "up": decimal.ROUND_UP,
    "down": decimal.ROUND_DOWN,
    "ceiling": decimal.ROUND_CEILING,
    "floor": decimal.ROUND_FLOOR,
}
DIGITS_MAX = 1000  # of an integer read from text


def _mode(name: str) -> str:
    if name not in MODES:
        raise ValueError(f"'{name}' is no rounding mode; they are {', '.join(MODES)}")
    return MODES[name]


@builtin("string|integer|decimal|float|json -> decimal", 'decimal("12.50") == 12.5', name="decimal")
def decimal_(value: Any) -> Decimal:
    """A number or text like -1234.5 as decimal. A float is taken by its shortest digits."""
    match value:
        case Decimal():
            return value
        case bool():
            raise Rejected("a boolean is no decimal", value)
        case int():
            return Decimal(value)
        case float():
            return read_decimal(repr(value))
        case str():
            return read_decimal(value)
        case _:
            raise Rejected("this json is no number", value)


@builtin(
    "string, const, const -> decimal",
    'parse_decimal("1.234,50", decimal_mark=",", group_mark=".") == 1234.5',
)
def parse_decimal(text: str, decimal_mark: str = ".", group_mark: str = ",") -> Decimal:
    """A number as people write it, with the marks of their country; blanks are ignored."""
    digits = "".join(text.split()).replace("\u202f", "")
    if group_mark:
        digits = digits.replace(group_mark, "")
    return read_decimal(digits.replace(decimal_mark, ".") if decimal_mark else digits)


@builtin("string|integer|decimal|float|json -> integer", 'integer("42") == 42')
def integer(value: Any) -> int:
    """A whole number, or text of one, as integer. What has a fraction is refused: round() first."""
    match value:
        case bool():
            raise Rejected("a boolean is no integer", value)
        case int():
            return value
        case Decimal():
            if value != value.to_integral_value():
                raise Rejected("this has a fraction; round() it first", value)
            return int(value)
        case float():
            if not value.is_integer():
                raise Rejected("this has a fraction; round() it first", value)
            return int(value)
        case str():
            digits = value.strip()
            if len(digits) > DIGITS_MAX or not digits.lstrip("+-").isdecimal() or digits.count("_"):
                raise Rejected("this is no whole number", value)
            return int(digits)
        case _:
            raise Rejected("this json is no number", value)


@builtin("string|integer|decimal|float|json -> float", 'float_("1.5") == float_(1.5)')
def float_(value: Any) -> float:
    """A number, or text of one, as binary floating point."""
    if isinstance(value, bool) or not isinstance(value, int | str | float | Decimal):
        raise Rejected("this is no number", value)
    try:
        made = float(value)
    except (ValueError, OverflowError):
        raise Rejected("this is no number a float can hold", value) from None
    if not math.isfinite(made):
        raise Rejected("this is no finite number", value)
    return made


@builtin("decimal, integer, const -> decimal", "round(2.345, 2) == 2.35", name="round", prepare={"mode": _mode})
def round_(value: Decimal, places: int = 0, mode: str = "half_up") -> Decimal:
    """Rounded to so many places. Modes: half_up (default), half_even, half_down, up, down, ceiling, floor."""
    if not -100 <= places <= 100:
        raise Rejected("places must be between -100 and 100", places)
    return value.quantize(Decimal(1).scaleb(-places), rounding=mode, context=_ROUNDING)


_ROUNDING = decimal.Context(prec=400, Emax=9999, Emin=-9999, traps=[decimal.InvalidOperation])


@builtin("N -> N", "abs(-2) == 2", name="abs")
def abs_(value: Any) -> Any:
    """Without its sign."""
    return EXACT.abs(value) if isinstance(value, Decimal) else abs(value)


def _extreme(c: Compiler, function: Function, node: ast.Call) -> Value:
    if not node.args or node.keywords:
        c.fail(
            "mapping.arguments", f"{function.name}() takes values, or one list.", f"For example {function.name}(a, b)."
        )
    values = [c.compile(argument) for argument in node.args]
    word = "min" if function.name == "min" else "max"
    if len(values) == 1 and isinstance(values[0].type, List):
        item = values[0].type.item
        if not isinstance(item, (*ORDERED, type(NULL.type))):
            c.fail("mapping.arguments", f"Items of type {shown(item)} have no order.", "Take a field of each item.")
        return c.strict(values, lambda x: f"{c.emitter.constant(function.call)}({x})", item, nullable=True)
    bound: dict[str, Any] = {}
    for value, argument in zip(values, node.args, strict=True):
        if not fits(_Pattern("C"), value.type, bound):
            c.fail(
                "mapping.arguments",
                f"{word}() cannot compare '{c.says(argument)}' ({shown(value.type)}) with the others.",
            )
    kind = bound.get("C", NULL.type)
    if len(values) == 1:
        return values[0]
    ready = [replace(c.with_type(v, kind)) for v in values]
    return c.strict(ready, lambda *codes: f"{word}({', '.join(codes)})", kind)


@builtin("any -> any", "min(3, 2) == 2 and min([3, 2]) == 2", name="min", special=_extreme)
def min_(*values: Any) -> Any:
    """The smallest of several values, or of a list (null for an empty one; nulls in a list are left out)."""
    return min((v for v in values[0] if v is not None), default=None)


@builtin("any -> any", "max(3, 2) == 3 and max([3, 2]) == 3", name="max", special=_extreme)
def max_(*values: Any) -> Any:
    """The largest of several values, or of a list (null for an empty one; nulls in a list are left out)."""
    return max((v for v in values[0] if v is not None), default=None)


def _sum(c: Compiler, function: Function, node: ast.Call) -> Value:
    if len(node.args) != 1 or node.keywords:
        c.fail(
            "mapping.arguments", "sum() takes one list.", "For example sum(x.price * x.quantity for x in line_items)."
        )
    value = c.compile(node.args[0])
    item = value.type.item if isinstance(value.type, List) else value.type
    if not isinstance(value.type, List) or not isinstance(
        item, types.Integer | types.Decimal | types.Float | types.Duration | type(NULL.type)
    ):
        c.fail(
            "mapping.arguments",
            f"sum() takes a list of numbers, not {shown(value.type)}.",
            "Take a number of each item: sum(x.price for x in …).",
        )
    if isinstance(item, types.Decimal):
        return c.strict([value], lambda x: f"{c.emitter.constant(sum_)}({x})", item)
    start = c.emitter.constant(_ZERO) if isinstance(item, types.Duration) else "0"
    kind = types.Integer() if isinstance(item, type(NULL.type)) else item
    if value.type.is_item_nullable:
        return c.strict([value], lambda x: f"sum((v for v in {x} if v is not None), {start})", kind)
    return c.strict([value], lambda x: f"sum({x}, {start})", kind)


_ZERO = __import__("datetime").timedelta(0)


@builtin("list[N?] -> N", "sum([1.10, 2.20]) == 3.30", name="sum", special=_sum)
def sum_(values: list[Decimal | None]) -> Decimal:
    """The exact sum of a list of numbers (or durations); 0 for an empty list; nulls are left out."""
    total = Decimal(0)
    add = EXACT.add
    for value in values:
        if value is not None:
            total = add(total, value)
    return total


@builtin("decimal, decimal, integer, const -> decimal", "percent(200, 19) == 38", prepare={"mode": _mode})
def percent(value: Decimal, rate: Decimal, places: int = 2, mode: str = "half_up") -> Decimal:
    """So many percent of a value, rounded: ``percent(net, 19)`` is the tax."""
    return round_(EXACT.multiply(value, rate).scaleb(-2, context=EXACT), places, mode)


@builtin("decimal, integer -> list[decimal]", "allocate(10, 3) == [3.34, 3.33, 3.33]")
def allocate(value: Decimal, parts: int) -> list[Decimal]:
    """An amount split into equal parts of two places (or the amount's own, if more) that add up to it exactly."""
    if not 1 <= parts <= 10_000:
        raise Rejected("parts must be between 1 and 10000", parts)
    exponent = value.as_tuple().exponent
    unit = Decimal(1).scaleb(min(exponent if isinstance(exponent, int) else 0, -2))
    units = int(value / unit) if is_usable(value) else 0
    base, rest = divmod(abs(units), parts)
    sign = -1 if units < 0 else 1
    return [EXACT.multiply(Decimal(sign * (base + (1 if i < rest else 0))), unit) for i in range(parts)]
