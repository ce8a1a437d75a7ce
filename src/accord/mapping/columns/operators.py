"""Operators in columns: where Polars means the same, and what it would silently do otherwise.

Polars wraps integers that overflow, raises for a whole frame when one decimal does, rounds products to the column's scale, has
null for a division by zero, and calls NaN equal to itself. Each form below guards against that.
"""

from __future__ import annotations

import ast
import datetime as dt
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from accord.mapping.columns import texts
from accord.mapping.columns.column import (
    FIXED,
    INTEGER_DIGITS,
    UTC,
    Column,
    NoColumn,
    as_type,
    changed,
    depth_of,
    either,
    guarded,
    limited,
    nothing,
    odd_of,
)
from accord.mapping.columns.dtypes import DURATION, SCALE, WHOLE_DIGITS
from accord.mapping.value import NUMBERS, TEXTS, Null, meet
from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Float,
    Integer,
    Json,
    List,
    Object,
    String,
)

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
_SIGNED: dict[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_INTEGER_MAX = 2**63 - 1
_EXACT_FLOAT = 2**53
_DAY_US = 86_400_000_000
TIME_MIN = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
TIME_MAX = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
_DAYS_MIN, _DAYS_MAX = -719162, 2932896  # 0001-01-01 and 9999-12-31, counted from 1970-01-01


def together(columns: Sequence[Column], value: pl.Expr, type_: Any, **facts: Any) -> Column:
    """A value computed from columns, null where one of them is (as Polars does by itself)."""
    if any(column.is_null for column in columns):
        return nothing(columns)
    return Column(
        value=value,
        type=type_,
        nullable=facts.pop("nullable", any(column.nullable for column in columns)),
        odd=either(odd_of(columns), facts.pop("odd", None)),
        depth=depth_of(columns),
        **facts,
    )


def binary(c: ColumnCompiler, node: ast.BinOp) -> Column:
    """Arithmetic and joining."""
    sign = _SIGNS[type(node.op)]
    if sign == "+" and isinstance(c.value_of(node).type, String):
        return _text_chain(c, node)
    left, right = c.compile(node.left), c.compile(node.right)
    if left.is_null or right.is_null:
        return nothing([left, right])
    a, b = left.type, right.type
    if isinstance(a, NUMBERS) and isinstance(b, NUMBERS):
        made = numbers(sign, left, right)
        return c.pinned(node, made) if sign == "*" and isinstance(made.type, Decimal) else made
    if sign == "+" and isinstance(a, List) and isinstance(b, List):
        joined = meet(a, b)
        pair = [as_type(left, joined), as_type(right, joined)]
        value = pl.concat_list(pair[0].value, pair[1].value)
        return together(pair, value, joined, is_plain=left.is_plain and right.is_plain)
    return _moments(sign, left, right)


def _text_chain(c: ColumnCompiler, node: ast.BinOp) -> Column:
    """``a + b + c`` of texts, joined at once."""
    parts: list[ast.expr] = [node.right]
    left = node.left
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add) and isinstance(c.value_of(left).type, String):
        parts.append(left.right)
        left = left.left
    columns = [c.compile(part) for part in (left, *reversed(parts))]
    return together(columns, pl.concat_str([column.value for column in columns]), String())


def numbers(sign: str, left: Column, right: Column) -> Column:
    kinds = (type(left.type), type(right.type))
    if Float in kinds:
        return _floats(sign, left, right)
    if Decimal in kinds or sign == "/":
        return _decimals(sign, left, right)
    return _integers(sign, left, right)


def _decimals(sign: str, left: Column, right: Column) -> Column:
    if sign not in "+-*":
        raise NoColumn("division of decimals, which has 28 digits")
    if sign != "*":
        a, b = (as_type(guarded(x, WHOLE_DIGITS - 1), Decimal()) for x in (left, right))
        value = a.value + b.value if sign == "+" else a.value - b.value
        return together(
            [a, b], value, Decimal(), whole=max(a.whole, b.whole) + 1, places=max(a.places, b.places)
        )  # fmt: skip
    a, b = (as_type(x, Decimal()) for x in _multipliable(left, right))
    return together([a, b], a.value * b.value, Decimal(), whole=a.whole + b.whole, places=a.places + b.places)


def _multipliable(a: Column, b: Column) -> tuple[Column, Column]:
    """Factors whose product is exact and fits; amounts of up to a quadrillion times quantities of up to a billion do."""
    if a.places + b.places > SCALE:
        if min(a.places, b.places) <= SCALE // 2:
            a, b = (limited(a, SCALE - b.places), b) if a.places > b.places else (a, limited(b, SCALE - a.places))
        else:
            a, b = limited(a, SCALE // 2), limited(b, SCALE // 2)
    if a.whole + b.whole > WHOLE_DIGITS - 1:
        if min(a.whole, b.whole) <= 9:
            high = WHOLE_DIGITS - 1 - min(a.whole, b.whole)
            a, b = guarded(a, max(a.whole, high) if a.whole <= 9 else high), guarded(b, b.whole if b.whole <= 9 else high)  # fmt: skip
        else:
            a, b = guarded(a, 12 if a.places else 9), guarded(b, 12 if b.places else 9)
    return a, b


def _integers(sign: str, a: Column, b: Column) -> Column:
    x, y = a.value, b.value
    if sign in ("//", "%"):
        odd: pl.Expr | None = None if b.is_literal and b.literal else y == 0
        if a.whole >= INTEGER_DIGITS:
            odd = either(odd, x == -_INTEGER_MAX - 1)
        return together([a, b], x // y if sign == "//" else x % y, Integer(), odd=odd, whole=INTEGER_DIGITS, places=0)
    value = {"+": x + y, "-": x - y, "*": x * y}[sign]
    whole = a.whole + b.whole if sign == "*" else max(a.whole, b.whole) + 1
    if whole < INTEGER_DIGITS:
        return together([a, b], value, Integer(), whole=whole, places=0)
    f, g = x.cast(pl.Float64), y.cast(pl.Float64)
    near = {"+": f + g, "-": f - g, "*": f * g}[sign]
    return together([a, b], value, Integer(), odd=near.abs() > 9.2e18, whole=INTEGER_DIGITS, places=0)


def _floats(sign: str, a: Column, b: Column) -> Column:
    if sign in ("//", "%"):
        raise NoColumn(f"'{sign}' of floats")
    if any(column.is_literal and (sign == "/" or column.literal == 0) for column in (a, b)):
        raise NoColumn("floats with a literal")  # Polars multiplies by the reciprocal, and leaves out what adds nothing
    x, y = a.value.cast(pl.Float64), b.value.cast(pl.Float64)
    value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[sign]
    return together([a, b], value, Float(), odd=y == 0.0 if sign == "/" else None)


def _moments(sign: str, a: Column, b: Column) -> Column:
    match a.type, b.type:
        case (Date() | DateTime(), Duration()) if sign in "+-":
            return _moved(a, b, sign)
        case (Duration(), Date() | DateTime()) if sign == "+":
            return _moved(b, a, sign)
        case (Date(), Date()):
            return together([a, b], (a.value - b.value).cast(DURATION), Duration())
        case (DateTime(), DateTime()):
            if not {a.zone, b.zone} <= {UTC, FIXED}:
                raise NoColumn("differences on the clocks of a zone")
            return together([a, b], a.value - b.value, Duration())
        case (Duration(), Duration()) if sign in "+-":
            x, y = _micros(a), _micros(b)
            near = x.cast(pl.Float64) + y.cast(pl.Float64) if sign == "+" else x.cast(pl.Float64) - y.cast(pl.Float64)
            value = a.value + b.value if sign == "+" else a.value - b.value
            return together([a, b], value, Duration(), odd=near.abs() > 9.2e18)
        case (Duration(), Integer()) | (Integer(), Duration()):
            length, count = (a, b) if isinstance(a.type, Duration) else (b, a)
            x, y = _micros(length), count.value
            odd = (x.cast(pl.Float64) * y.cast(pl.Float64)).abs() > 9.2e18
            return together([a, b], (x * y).cast(DURATION), Duration(), odd=odd)
        case (Duration(), Duration()) if sign == "//":
            x, y = _micros(a), _micros(b)
            odd = (y == 0) | (x == -_INTEGER_MAX - 1)
            return together([a, b], x // y, Integer(), odd=odd, whole=INTEGER_DIGITS, places=0)
        case _:
            raise NoColumn("a quotient of durations")


def _micros(column: Column) -> pl.Expr:
    return column.value.cast(pl.Int64)


def _moved(moment: Column, length: Column, sign: str) -> Column:
    if length.is_literal:
        return _moved_by(moment, length.literal, sign)
    micros = _micros(length)
    if isinstance(moment.type, Date):
        days = micros // _DAY_US
        made = moment.value.cast(pl.Int32).cast(pl.Int64) + (days if sign == "+" else -days)
        odd = ~made.is_between(_DAYS_MIN, _DAYS_MAX)
        value = pl.when(made.is_between(_DAYS_MIN, _DAYS_MAX)).then(made).cast(pl.Int32).cast(pl.Date)
        return together([moment, length], value, Date(), odd=odd)
    if moment.zone not in (UTC, FIXED):
        raise NoColumn("calculating on the clocks of a zone")
    fits = micros.is_between(-(2**62), 2**62)
    steps = pl.when(fits).then(length.value)
    value = moment.value + steps if sign == "+" else moment.value - steps
    odd = ~fits | ~value.is_between(pl.lit(TIME_MIN), pl.lit(TIME_MAX))
    if moment.zone == FIXED:  # the clock of its offset, too, must stay within the years 1 to 9999
        day = dt.timedelta(days=1)
        odd = ~fits | ~value.is_between(pl.lit(TIME_MIN + day), pl.lit(TIME_MAX - day))
    return together([moment, length], value, DateTime(), odd=odd, zone=moment.zone)


def _moved_by(moment: Column, length: dt.timedelta, sign: str) -> Column:
    """A moment, moved by a length that is known."""
    if isinstance(moment.type, Date):
        days = length.days if sign == "+" else -length.days
        number = moment.value.cast(pl.Int32)
        fits = number.is_between(max(_DAYS_MIN - days, -(2**31)), min(_DAYS_MAX - days, 2**31 - 1))
        return together([moment], (number + days).cast(pl.Date), Date(), odd=~fits)
    if moment.zone not in (UTC, FIXED):
        raise NoColumn("calculating on the clocks of a zone")
    value = moment.value + length if sign == "+" else moment.value - length
    margin = dt.timedelta(days=1 if moment.zone == FIXED else 0)
    odd = ~value.is_between(pl.lit(TIME_MIN + margin), pl.lit(TIME_MAX - margin))
    return together([moment], value, DateTime(), odd=odd, zone=moment.zone)


def unary(c: ColumnCompiler, node: ast.UnaryOp) -> Column:
    """``-x``, ``+x``, ``not x``."""
    column = c.compile(node.operand)
    if column.is_null:
        return column
    if isinstance(node.op, ast.Not):
        return together([column], ~column.value, Boolean())
    if isinstance(node.op, ast.UAdd):
        return column
    known = c.value_of(node)
    if known.is_literal:
        from accord.mapping.columns.column import literal

        return literal(known.literal, known.type)
    odd = None
    if isinstance(column.type, Integer | Duration) and column.whole >= INTEGER_DIGITS:
        odd = column.value.cast(pl.Int64) == -_INTEGER_MAX - 1
    return together([column], -column.value, column.type, odd=odd, whole=column.whole, places=column.places)


def boolean(c: ColumnCompiler, node: ast.BoolOp) -> Column:
    """``and``/``or``: Polars has the same three values; what comes after the value that settles it is not looked at."""
    is_and = isinstance(node.op, ast.And)
    made = as_type(c.compile(node.values[0]), Boolean())
    for part in node.values[1:]:
        other = as_type(c.compile(part), Boolean())
        odd = other.odd
        if odd is not None:
            odd = odd & made.value.ne_missing(pl.lit(not is_and))
        value = made.value & other.value if is_and else made.value | other.value
        made = Column(
            value=value,
            type=Boolean(),
            nullable=made.nullable or other.nullable,
            odd=either(made.odd, odd),
            depth=depth_of([made, other]),
        )
    return made


def compare(c: ColumnCompiler, node: ast.Compare) -> Column:
    """Comparisons, also chained."""
    columns = [c.compile(n) for n in (node.left, *node.comparators)]
    nodes = [node.left, *node.comparators]
    made = [_pair(op, columns[i], columns[i + 1], nodes[i + 1]) for i, op in enumerate(node.ops)]
    if len(made) == 1:
        return made[0]
    if any(m.is_null for m in made):
        return nothing(made)
    value = made[0].value
    missing = made[0].value.is_null()
    for other in made[1:]:
        value, missing = value & other.value, missing | other.value.is_null()
    return together(made, pl.when(~missing).then(value), Boolean())


def _pair(op: ast.cmpop, left: Column, right: Column, right_node: ast.expr) -> Column:
    if isinstance(op, ast.In | ast.NotIn):
        made = _contains(left, right, right_node)
        return made if made.is_null or isinstance(op, ast.In) else changed(made, value=~made.value)
    is_negative = isinstance(op, ast.NotEq | ast.IsNot)
    if isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) and (left.is_null or right.is_null):
        column = left if right.is_null else right
        value = column.value.is_not_null() if is_negative else column.value.is_null()
        if column.is_null:
            value = pl.lit(not is_negative)
        return Column(value=value, type=Boolean(), odd=column.odd, depth=column.depth)
    if left.is_null or right.is_null:
        return nothing([left, right])
    a, b, odd = _comparable(left, right)
    value = _SIGNED[type(op)](a.value, b.value)
    return together([a, b], value, Boolean(), odd=odd)


def _comparable(left: Column, right: Column) -> tuple[Column, Column, pl.Expr | None]:
    kind = meet(left.type, right.type)
    if isinstance(kind, Json | List | Object | Null) or kind is None:
        raise NoColumn("comparing json, lists or objects")
    odd: pl.Expr | None = None
    if isinstance(kind, Float):
        for column in (left, right):
            if isinstance(column.type, Integer):
                odd = either(odd, ~column.value.is_between(-_EXACT_FLOAT, _EXACT_FLOAT))
            else:
                odd = either(odd, column.value.is_nan())
        return (
            changed(left, value=left.value.cast(pl.Float64)),
            changed(right, value=right.value.cast(pl.Float64)),
            odd,
        )  # fmt: skip
    if isinstance(kind, DateTime) and not {left.zone, right.zone} <= {UTC, FIXED}:
        raise NoColumn("comparing on the clocks of a zone")
    return as_type(left, kind), as_type(right, kind), odd


def _contains(left: Column, right: Column, right_node: ast.expr) -> Column:
    if left.is_null or right.is_null:
        return nothing([left, right])
    if isinstance(right.type, TEXTS):
        return together([left, right], texts.contains(right, left), Boolean())
    if not isinstance(right.type, List):
        raise NoColumn("'in' of json")
    if isinstance(left.type, Float) or isinstance(right.type.item, Float | List | Object | Json):
        raise NoColumn("'in' of such a list")
    if isinstance(right.type.item, Null):
        return together([left, right], pl.when(left.value.is_not_null()).then(pl.lit(value=False)), Boolean())
    kind = meet(left.type, right.type.item)
    if isinstance(kind, DateTime) or kind is None:
        raise NoColumn("'in' of times")
    known = _literals(right_node)
    if known is not None and isinstance(kind, String | Enum | Integer):
        value = left.value.is_in(known) if known else pl.when(left.value.is_not_null()).then(pl.lit(value=False))
        return together([left], value, Boolean())
    if type(kind) is not type(right.type.item) and not isinstance(kind, TEXTS):
        raise NoColumn("'in' of a list of another type")
    found = right.value.list.contains(as_type(left, kind).value, nulls_equal=False).fill_null(value=False)
    none = left.value.is_null() | right.value.is_null()
    return together([left, right], pl.when(~none).then(found), Boolean())


def _literals(node: ast.expr) -> list[Any] | None:
    if not isinstance(node, ast.List | ast.Tuple):
        return None
    values = [e.value for e in node.elts if isinstance(e, ast.Constant)]
    good = len(values) == len(node.elts) and (
        all(type(v) is str for v in values) or all(type(v) is int and abs(v) < 2**63 for v in values)
    )
    return values if good else None


def joined(c: ColumnCompiler, parts: Sequence[ast.expr]) -> Column:
    """f-strings: null when a part is null."""
    columns: list[Column] = []
    pieces: list[pl.Expr] = []
    for part in parts:
        if isinstance(part, ast.Constant):
            pieces.append(pl.lit(str(part.value)))
            continue
        assert isinstance(part, ast.FormattedValue)
        if part.format_spec is not None:
            raise NoColumn("a format")
        column = c.compile(part.value)
        if column.is_null:
            columns.append(column)
            continue
        written = texts.text_of(column)
        columns.append(written)
        pieces.append(written.value)
    if not columns:
        from accord.mapping.columns.column import literal

        return literal("".join(str(p.value) for p in parts if isinstance(p, ast.Constant)), String())
    return together(columns, pl.concat_str(pieces), String())


def subscript(c: ColumnCompiler, node: ast.Subscript) -> Column:
    """``base[index]`` and slices, with literal positions."""
    base = c.compile(node.value)
    if base.is_null:
        return base
    if isinstance(base.type, Object):
        index = c.value_of(node.slice).literal
        return c.member(base, index)
    if not isinstance(base.type, List | String | Enum):
        raise NoColumn("parts of json")
    if isinstance(node.slice, ast.Slice):
        low, high = (_position(c, part) for part in (node.slice.lower, node.slice.upper))
        value = _sliced(base, low, high)
        kind = base.type if isinstance(base.type, List) else String()
        return together(
            [base], value, kind, is_plain=base.is_plain, zone=base.zone, whole=base.whole, places=base.places
        )
    position = _position(c, node.slice)
    if position is None:
        return nothing([base])
    if isinstance(base.type, List):
        value = base.value.list.get(position, null_on_oob=True)
        return together(
            [base], value, base.type.item, nullable=True, is_plain=base.is_plain, zone=base.zone,
            whole=base.whole, places=base.places,
        )  # fmt: skip
    reach = position + 1 if position >= 0 else -position
    value = pl.when(base.value.str.len_chars() >= reach).then(base.value.str.slice(position, 1))
    return together([base], value, String(), nullable=True)


def _position(c: ColumnCompiler, node: ast.expr | None) -> int | None:
    if node is None:
        return None
    known = c.value_of(node)
    if known.is_null:
        return None
    if type(known.literal) is not int or abs(known.literal) > 2**31:
        raise NoColumn("a position that is computed")
    return known.literal


def _sliced(base: Column, low: int | None, high: int | None) -> pl.Expr:
    part = base.value.list if isinstance(base.type, List) else base.value.str
    low = low or 0
    made: pl.Expr
    if low < 0 and high is None:
        made = part.tail(-low)
    elif low >= 0 and (high is None or high >= 0):
        made = part.slice(low, None if high is None else max(high - low, 0))
    else:
        raise NoColumn("a slice from the end")
    return made


__all__ = [
    "TIME_MAX",
    "TIME_MIN",
    "binary",
    "boolean",
    "compare",
    "joined",
    "numbers",
    "subscript",
    "together",
    "unary",
]
