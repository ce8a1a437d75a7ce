"""Operators: which types they take, and their code."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accord.errors import did_you_mean
from accord.mapping.hints import conversion_hint
from accord.mapping.value import NULL, NUMBERS, ORDERED, TEXTS, Null, Value, meet, merged, shown
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
    from accord.mapping.check import Compiler


_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
_EXACT = {"+": "_add", "-": "_sub", "*": "_mul", "/": "_div", "//": "_floor", "%": "_mod"}
_MOMENTS = (Date, DateTime)


def binary(c: Compiler, node: ast.BinOp) -> Value:
    """Arithmetic and joining."""
    sign = _SIGNS[type(node.op)]
    left, right = c.compile(node.left), c.compile(node.right)
    if left.is_null or right.is_null:
        return NULL
    a, b = left.type, right.type
    if isinstance(a, NUMBERS) and isinstance(b, NUMBERS):
        return _numbers(c, node, sign, left, right)
    if sign == "+" and isinstance(a, TEXTS) and isinstance(b, TEXTS):
        return c.strict([left, right], lambda x, y: f"({x} + {y})", String())
    if sign == "+" and isinstance(a, List) and isinstance(b, List):
        joined = meet(a, b)
        if joined is not None:
            pair = [c.with_type(left, joined), c.with_type(right, joined)]
            return c.strict(pair, lambda x, y: f"({x} + {y})", joined)
    made = _moments(sign, a, b)
    if made is not None:
        return c.strict([left, right], lambda x, y: f"({x} {sign} {y})", made)
    raise c.failed(
        "mapping.type",
        f"'{sign}' does not take {shown(a)} and {shown(b)}.",
        _arithmetic_hint(a, b, c.says(node.left), c.says(node.right)),
    )


def _numbers(c: Compiler, node: ast.BinOp, sign: str, left: Value, right: Value) -> Value:
    kinds = (type(left.type), type(right.type))
    if Float in kinds and Decimal in kinds:
        said = c.says(node.left if kinds[0] is Float else node.right)
        c.fail(
            "mapping.type",
            f"'{c.says(node)}' mixes decimal (exact) and float (not exact).",
            f"Decide which: decimal({said}), or float_(…) of the other side.",
        )
    if Float in kinds:
        return c.strict([left, right], lambda x, y: f"({x} {sign} {y})", Float())
    if Decimal in kinds or sign == "/":
        return c.strict([left, right], lambda x, y: f"{_EXACT[sign]}({x}, {y})", Decimal())
    return c.strict([left, right], lambda x, y: f"({x} {sign} {y})", Integer())


def _moments(sign: str, a: Any, b: Any) -> Any | None:
    if sign == "+":
        if isinstance(a, (*_MOMENTS, Duration)) and isinstance(b, Duration):
            return a
        return b if isinstance(a, Duration) and isinstance(b, _MOMENTS) else None
    if sign == "-":
        if isinstance(a, (*_MOMENTS, Duration)) and isinstance(b, Duration):
            return a
        return Duration() if isinstance(a, _MOMENTS) and type(a) is type(b) else None
    if sign == "*":
        pair = {type(a), type(b)}
        return Duration() if pair == {Duration, Integer} else None
    if sign in ("/", "//") and isinstance(a, Duration) and isinstance(b, Duration):
        return Float() if sign == "/" else Integer()
    return None


def _arithmetic_hint(a: Any, b: Any, left: str, right: str) -> str:
    if isinstance(a, TEXTS) or isinstance(b, TEXTS):
        other, said = (b, right) if isinstance(a, TEXTS) else (a, left)
        if isinstance(other, List | Object):
            return conversion_hint(other, String(), said)
        return f"To join text write text({said})."
    if isinstance(a, Json) or isinstance(b, Json):
        said = left if isinstance(a, Json) else right
        return f"json has no fixed type; convert it, for example decimal({said}) or text({said})."
    if isinstance(a, _MOMENTS) and isinstance(b, NUMBERS):
        return f"Say what it counts: days({right}) or hours({right})."
    if {type(a), type(b)} == {Date, DateTime}:
        said = left if isinstance(a, DateTime) else right
        return f"Take the day of the other: date({said})."
    return ""


def unary(c: Compiler, node: ast.UnaryOp) -> Value:
    """``-x``, ``+x``, ``not x``."""
    if isinstance(node.op, ast.Not):
        value = c.condition(node.operand)
        return c.strict([value], lambda x: f"(not {x})", Boolean())
    value = c.compile(node.operand)
    if value.is_null:
        return NULL
    if not isinstance(value.type, (*NUMBERS, Duration)):
        c.fail("mapping.type", f"A sign needs a number, but '{c.says(node.operand)}' is {shown(value.type)}.")
    if isinstance(node.op, ast.UAdd):
        return value
    if value.is_literal:
        return c.literal(-value.literal)
    if isinstance(value.type, Decimal):
        return c.strict([value], lambda x: f"_neg({x})", value.type)
    return c.strict([value], lambda x: f"(-{x})", value.type)


def boolean(c: Compiler, node: ast.BoolOp) -> Value:
    """``and``/``or`` with null as 'unknown': false and null is false, true or null is true."""
    is_and = isinstance(node.op, ast.And)
    made = []
    for part in node.values:
        with c.emitter.captured() as lines:
            value = c.compile(part)
            if not isinstance(value.type, Boolean | Null):
                hint = (
                    f"To fall back on another value write coalesce({c.says(node.values[0])}, {c.says(node.values[1])})."
                )
                c.fail("mapping.type", f"'{c.says(part)}' is {shown(value.type)}, but and/or take booleans.", hint)
        made.append((value, lines))
    values = [v for v, _ in made]
    facts = merged(values)
    if not any(v.nullable or v.is_null for v in values) and not any(lines for _, lines in made):
        word = " and " if is_and else " or "
        return Value(code=f"({word.join(v.code for v in values)})", type=Boolean(), **facts)
    name = c.emitter.fresh()
    stop = "False" if is_and else "True"
    nullable = False
    depth = c.emitter.indent
    for index, (value, lines) in enumerate(made):
        if index:
            c.emitter.add(f"if {name} is not {stop}:")
            c.emitter.indent += 1
        c.emitter.splice(lines, c.emitter.indent - depth - 1)
        if index == 0:
            c.emitter.add(f"{name} = {value.code}")
        elif value.nullable or value.is_null or nullable:
            other = c.emitter.fresh()
            c.emitter.add(f"{other} = {value.code}")
            settled = name if is_and else f"{name} is False"
            c.emitter.add(f"{name} = {other} if {settled} or {other} is {stop} else None")
        else:
            c.emitter.add(f"{name} = {value.code}")
        nullable = nullable or value.nullable or value.is_null
    c.emitter.indent = depth
    return Value(code=name, type=Boolean(), nullable=nullable, is_atom=True, **facts)


def compare(c: Compiler, node: ast.Compare) -> Value:
    """Comparisons, also chained. Comparing with the literal null asks whether there is a value."""
    left_node: ast.expr = node.left
    left = c.compile(left_node)
    made: list[Value] = []
    for index, (operator, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        right = c.compile(right_node)
        if index < len(node.ops) - 1:
            right = c.atom(right)
        made.append(_pair(c, operator, left, right, left_node, right_node))
        left, left_node = right, right_node
    if len(made) == 1:
        return made[0]
    return c.strict(made, lambda *codes: f"({' and '.join(codes)})", Boolean())


def _pair(
    c: Compiler, operator: ast.cmpop, left: Value, right: Value, left_node: ast.expr, right_node: ast.expr
) -> Value:
    if isinstance(operator, ast.In | ast.NotIn):
        return _contains(c, operator, left, right, left_node, right_node)
    is_negative = isinstance(operator, ast.NotEq | ast.IsNot)
    if isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        if right.is_null or left.is_null:
            value = left if right.is_null else right
            if not value.nullable:
                return c.literal(value.is_null != is_negative)
            word = "is not" if is_negative else "is"
            return Value(code=f"({value.code} {word} None)", type=Boolean(), **merged([value]))
        if isinstance(operator, ast.Is | ast.IsNot):
            c.fail("mapping.not-allowed", "'is' compares with null only.", "Write '==' or '!='.")
        _check_equal(c, left, right, left_node, right_node)
        sign = "!=" if is_negative else "=="
        return c.strict([left, right], lambda x, y: f"({x} {sign} {y})", Boolean())
    signs = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
    if left.is_null or right.is_null:
        return NULL
    joined = None if {type(left.type), type(right.type)} == {Decimal, Float} else meet(left.type, right.type)
    if not isinstance(joined, ORDERED):
        _cannot_compare(c, left, right, left_node, right_node, signs[type(operator)])
    return c.strict([left, right], lambda x, y: f"({x} {signs[type(operator)]} {y})", Boolean())


def _check_equal(c: Compiler, left: Value, right: Value, left_node: ast.expr, right_node: ast.expr) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one.type, Enum) and isinstance(other.literal, str) and other.literal not in one.type.values:
            c.fail(
                "mapping.enum",
                f"'{other.literal}' is not a value of {shown(one.type)}, so this is never equal.",
                did_you_mean(other.literal, one.type.values),
            )
    if isinstance(left.type, Json) or isinstance(right.type, Json):
        other = right if isinstance(left.type, Json) else left
        if isinstance(other.type, Json | String | Enum | Boolean | Integer | Decimal):
            return
        _cannot_compare(c, left, right, left_node, right_node, "==")
    if {type(left.type), type(right.type)} == {Decimal, Float} or meet(left.type, right.type) is None:
        _cannot_compare(c, left, right, left_node, right_node, "==")


def _cannot_compare(
    c: Compiler, left: Value, right: Value, left_node: ast.expr, right_node: ast.expr, sign: str
) -> None:
    said, have, want = c.says(left_node), left.type, right.type
    if isinstance(right.type, Json | String) and not isinstance(left.type, Json):
        said, have, want = c.says(right_node), right.type, left.type
    c.fail(
        "mapping.type",
        f"'{sign}' cannot compare {shown(left.type)} with {shown(right.type)}.",
        conversion_hint(have, want, said),
    )


def _contains(
    c: Compiler, operator: ast.cmpop, left: Value, right: Value, left_node: ast.expr, right_node: ast.expr
) -> Value:
    word = "not in" if isinstance(operator, ast.NotIn) else "in"
    if left.is_null or right.is_null:
        return NULL
    if isinstance(right.type, TEXTS):
        if not isinstance(left.type, TEXTS):
            c.fail(
                "mapping.type",
                f"'{word}' text needs text on the left, not {shown(left.type)}.",
                conversion_hint(left.type, String(), c.says(left_node)),
            )
    elif isinstance(right.type, List):
        item = Value(code="", type=right.type.item)
        if isinstance(left.type, Enum) and isinstance(right_node, ast.List | ast.Tuple):
            for element in right_node.elts:
                if isinstance(element, ast.Constant) and isinstance(element.value, str):
                    _check_equal(c, left, Value(code="", type=String(), literal=element.value), left_node, element)
        if not isinstance(right.type.item, Null):
            _check_equal(c, left, item, left_node, right_node)
    elif isinstance(right.type, Json):
        return c.strict([left, right], lambda x, y: f"({'not ' * (word != 'in')}_has({x}, {y}))", Boolean())
    else:
        c.fail(
            "mapping.type",
            f"'{word}' needs a list or text on the right; '{c.says(right_node)}' is {shown(right.type)}.",
        )
    return c.strict([left, right], lambda x, y: f"({x} {word} {y})", Boolean())


_SPEC = re.compile(r"(?:[^{}]?[<>=^])?[+\- ]?0?\d{0,3}[,_]?(?:\.\d{1,2})?[a-zA-Z%]?")
_SPEC_TYPES = {Integer: "dn,%fx", Decimal: "f%e", Float: "fe%g", String: "s", Enum: "s"}


def joined(c: Compiler, parts: Sequence[ast.expr]) -> Value:
    """f-strings: null when a part is null; parts read as text() reads them unless a format is given."""
    codes: list[str] = []
    operands: list[Value] = []
    for part in parts:
        if isinstance(part, ast.Constant):
            codes.append(repr(part.value).replace("{", "{{").replace("}", "}}"))
            continue
        assert isinstance(part, ast.FormattedValue)
        value, template = _formatted(c, part)
        codes.append(template.replace("@", "{" + str(len(operands)) + "}"))
        operands.append(value)
    if not codes:
        return c.literal("")
    template = (
        codes[0]
        if len(codes) == 1
        else f"({' + '.join(codes)})"
        if len(codes) < 5
        else f"''.join(({', '.join(codes)}))"
    )
    return c.strict(operands, lambda *given: template.format(*given), String())


def _formatted(c: Compiler, part: ast.FormattedValue) -> tuple[Value, str]:
    value = c.compile(part.value)
    said = c.says(part.value)
    if part.conversion != -1:
        c.fail("mapping.not-allowed", "'!r', '!s' and '!a' are not part of the language.", f"Write text({said}).")
    if isinstance(value.type, List | Object) or not isinstance(value.type, (*ORDERED, Boolean, Json, Null)):
        c.fail(
            "mapping.type",
            f"'{said}' is {shown(value.type)} and cannot stand in text.",
            conversion_hint(value.type, String(), said),
        )
    if part.format_spec is not None:
        spec = "".join(str(p.value) for p in getattr(part.format_spec, "values", []) if isinstance(p, ast.Constant))
        simple = all(isinstance(p, ast.Constant) for p in getattr(part.format_spec, "values", []))
        kinds = _SPEC_TYPES.get(type(value.type))
        if isinstance(value.type, Date | DateTime):
            c.fail("mapping.type", "Dates take no format inside f-strings.", f'Write format({said}, "%d.%m.%Y").')
        if not simple or kinds is None or not _SPEC.fullmatch(spec) or (spec[-1:].isalpha() and spec[-1] not in kinds):
            c.fail(
                "mapping.type",
                f"The format ':{spec}' does not suit '{said}' ({shown(value.type)}).",
                "For example ':.2f' or ':05d'.",
            )
        return value, f"_format(@, {spec!r})".replace("{", "{{").replace("}", "}}")
    if isinstance(value.type, TEXTS):
        return value, "@"
    return value, "str(@)" if isinstance(value.type, Integer) else "_text(@)"
