"""Calls of registered functions: arguments to parameters, types, null handling, code."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from accord.errors import did_you_mean
from accord.mapping.functions.signature import TYPES, Function, Parameter, fits, result_type
from accord.mapping.hints import conversion_hint
from accord.mapping.syntax import CHOICE_HINT
from accord.mapping.value import NULL, Value, merged, replace, shown
from accord.record.types import Decimal, Integer, List, String

if TYPE_CHECKING:
    from accord.mapping.check import Compiler


ARGUMENTS_MAX = 60


def call(c: Compiler, node: ast.Call) -> Value:
    """One call."""
    function = _function(c, node)
    if len(node.args) + len(node.keywords) > ARGUMENTS_MAX:
        c.fail("mapping.too-large", f"A call may have at most {ARGUMENTS_MAX} arguments.")
    if any(k.arg is None for k in node.keywords):
        c.fail("mapping.not-allowed", "'**' is not part of the mapping language.")
    if function.special is not None:
        made: Value = function.special(c, function, node)
        return replace(made, personal=False) if function.clears_personal else made
    pairs = bind(c, function, node)
    return _ordinary(c, function, pairs)


def _function(c: Compiler, node: ast.Call) -> Function:
    if isinstance(node.func, ast.Attribute):
        name, owner = node.func.attr, c.says(node.func.value)
        hint = f"Write {name}({owner})." if name in c.scope.functions else did_you_mean(name, c.scope.functions.names())
        c.fail("mapping.unknown-function", f"Values have no methods ('{c.says(node.func)}').", hint)
    if not isinstance(node.func, ast.Name):
        c.fail("mapping.not-allowed", f"'{c.says(node.func)}' cannot be called.")
    function = c.scope.functions.get(node.func.id)
    if function is None:
        pythons = {
            "str": "text",
            "int": "integer",
            "float": "float_",
            "bool": "boolean",
            "Decimal": "decimal",
            "strip": "trim",
        }
        other = pythons.get(node.func.id)
        mend = f"Did you mean '{other}'?" if other else did_you_mean(node.func.id, c.scope.functions.names())
        if node.func.id.lower() in ("if", "if_", "iff", "iif", "ifelse", "when"):
            mend = CHOICE_HINT
        c.fail("mapping.unknown-function", f"There is no function '{node.func.id}'.", mend)
    return function


def bind(c: Compiler, function: Function, node: ast.Call) -> list[tuple[Parameter, ast.expr | None]]:
    """Each parameter with its argument (None: its default), in the order of the row form's parameters."""
    parameters = list(function.signature.parameters)
    usage = f"It is {function.name}{function.signature}."
    given = list(node.args)
    named = {str(k.arg): k.value for k in node.keywords}
    pairs: list[tuple[Parameter, ast.expr | None]] = []
    for parameter in parameters:
        if parameter.is_variadic:
            pairs.extend((parameter, argument) for argument in given)
            given = []
        elif given:
            if parameter.name in named:
                c.fail("mapping.arguments", f"{function.name}() gets '{parameter.name}' twice.", usage)
            pairs.append((parameter, given.pop(0)))
        elif parameter.name in named:
            pairs.append((parameter, named.pop(parameter.name)))
        elif parameter.is_required:
            c.fail("mapping.arguments", f"{function.name}() lacks the argument '{parameter.name}'.", usage)
        else:
            pairs.append((parameter, None))
    if given:
        c.fail(
            "mapping.arguments", f"{function.name}() takes {len(parameters)} arguments, not {len(node.args)}.", usage
        )
    if named:
        wrong = next(iter(named))
        hint = did_you_mean(wrong, [p.name for p in parameters])
        c.fail("mapping.arguments", f"{function.name}() has no argument '{wrong}'.", hint or usage)
    return pairs


def _ordinary(c: Compiler, function: Function, pairs: list[tuple[Parameter, ast.expr | None]]) -> Value:
    bound: dict[str, Any] = {}
    values: list[tuple[Parameter, Value, ast.expr | None]] = []
    for parameter, node in pairs:
        value = c.literal_of_default(parameter) if node is None else c.compile(node)
        if node is not None and not fits(parameter.pattern, value.type, bound):
            _unfit(c, function, parameter, value, node, bound)
        values.append((parameter, value, node))
    guards: list[str] = []
    codes: list[str] = []
    for parameter, value, node in values:
        if parameter.pattern.kind == "const" or (parameter.name in function.prepare and value.is_literal):
            codes.append(_constant(c, function, parameter, value, node))
            continue
        if value.is_null and not parameter.pattern.nullable and node is not None:
            return NULL
        value = _number(c, parameter, value, bound)
        if value.nullable and not parameter.pattern.nullable:
            value = c.atom(value)
            guards.append(f"{value.code} is None")
        codes.append(value.code)
    code = _code(c, function, codes)
    if guards:
        code = f"(None if {' or '.join(dict.fromkeys(guards))} else {code})"
    facts = merged(v for _, v, _ in values)
    if function.clears_personal:
        facts["personal"] = False
    result = function.signature.result
    return Value(code=code, type=result_type(result, bound), nullable=result.nullable or bool(guards), **facts)


def _code(c: Compiler, function: Function, codes: list[str]) -> str:
    if function.inline and not function.needs_environment:
        return function.inline.format(*codes)
    name = c.emitter.constant(function.call, "f_")
    c.uses_environment = c.uses_environment or function.needs_environment
    return f"{name}({', '.join(['e', *codes] if function.needs_environment else codes)})"


def _number(c: Compiler, parameter: Parameter, value: Value, bound: dict[str, Any]) -> Value:
    """Integers become decimals where the parameter is decimal (or a number variable that turned out decimal)."""
    pattern = parameter.pattern
    wanted = bound.get(pattern.kind) if pattern.kind in ("N", "C", "T") else TYPES.get(pattern.kind)
    if isinstance(wanted, Decimal) and isinstance(value.type, Integer):
        return c.with_type(value, Decimal())
    if pattern.kind == "list" and isinstance(value.type, List):
        item = bound.get(pattern.parts[0].kind, TYPES.get(pattern.parts[0].kind))
        if isinstance(item, Decimal) and isinstance(value.type.item, Integer):
            return c.with_type(value, List(Decimal(), value.type.is_item_nullable))
    return value


def _constant(c: Compiler, function: Function, parameter: Parameter, value: Value, node: ast.expr | None) -> str:
    if not value.is_literal or (value.literal is None and node is not None and not parameter.pattern.nullable):
        said = c.says(node) if node is not None else parameter.name
        c.fail(
            "mapping.arguments",
            f"The argument '{parameter.name}' of {function.name}() must be literal text, not '{said}'.",
            "Only literals can be checked before anything runs.",
        )
    prepare = function.prepare.get(parameter.name)
    if prepare is None or value.literal is None:
        return value.code
    try:
        return c.emitter.constant(prepare(value.literal))
    except ValueError as error:
        c.fail("mapping.arguments", f"The argument '{parameter.name}' of {function.name}() cannot be used: {error}.")


def _unfit(
    c: Compiler, function: Function, parameter: Parameter, value: Value, node: ast.expr, bound: dict[str, Any]
) -> None:
    said = c.says(node)
    wanted = TYPES.get(parameter.pattern.kind) or bound.get(parameter.pattern.kind)
    if parameter.pattern.kind == "const":
        wanted = String()
    mend = conversion_hint(value.type, wanted, said) if wanted is not None else ""
    name = shown(wanted) if wanted is not None else str(parameter.pattern)
    c.fail(
        "mapping.arguments",
        f"The argument '{parameter.name}' of {function.name}() must be {name}, but '{said}' is {shown(value.type)}.",
        mend or f"It is {function.name}{function.signature}.",
    )
