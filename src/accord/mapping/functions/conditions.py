"""Choosing values: coalesce, case, require, look-up tables. Only what is chosen is evaluated."""

from __future__ import annotations

import ast
from typing import Any

from accord.errors import did_you_mean
from accord.mapping.check import Compiler
from accord.mapping.functions.signature import Function, Rejected
from accord.mapping.functions.table import builtin
from accord.mapping.hints import conversion_hint
from accord.mapping.value import TEXTS, Value, merged, replace, shown
from accord.record.types import Enum, Integer, String

ROWS_AS_ENUM_MAX = 100


def _coalesce(c: Compiler, function: Function, node: ast.Call) -> Value:
    if not node.args or node.keywords:
        c.fail("mapping.arguments", "coalesce() takes values.", "For example coalesce(note, \"''\").")
    made = c.branches(node.args)
    type_ = c.joined_type([(v, n) for (v, _), n in zip(made, node.args, strict=True)])
    values = [v for v, _ in made]
    facts = merged(values)
    first, lines = made[0]
    c.emitter.splice(lines, -1)
    if not (first.nullable or first.is_null) or len(made) == 1:
        return replace(c.with_type(first, type_), **facts)
    result = c.emitter.fresh()
    c.emitter.add(f"{result} = {c.with_type(first, type_).code}")
    depth = c.emitter.indent
    for value, more in made[1:]:
        c.emitter.add(f"if {result} is None:")
        c.emitter.indent += 1
        c.emitter.splice(more, c.emitter.indent - depth - 1)
        c.emitter.add(f"{result} = {c.with_type(value, type_).code}")
    c.emitter.indent = depth
    nullable = all(v.nullable or v.is_null for v in values)
    return Value(code=result, type=type_, nullable=nullable, is_atom=True, references=first.references, **facts)


@builtin("any -> any", 'coalesce(null, "a") == "a"', special=_coalesce)
def coalesce(*values: Any) -> Any:
    """The first value that is not null."""
    return next((v for v in values if v is not None), None)


def _case(c: Compiler, function: Function, node: ast.Call) -> Value:
    if len(node.args) < 2 or node.keywords:
        c.fail("mapping.arguments", "case() takes pairs of condition and value, and at the end what else.",
               'For example case(total > 100, "large", total > 10, "medium", "small").')  # fmt: skip
    arguments = list(node.args)
    otherwise: ast.expr = arguments.pop() if len(arguments) % 2 else ast.Constant(None)
    for index in range(len(arguments) - 2, -1, -2):
        otherwise = ast.IfExp(test=arguments[index], body=arguments[index + 1], orelse=otherwise)
    return c.compile(otherwise)


@builtin("any -> any", 'case(1 > 2, "a", 2 > 1, "b", "c") == "b"', special=_case)
def case(*pairs: Any) -> Any:
    """The value behind the first condition that is true; the last argument when none is (null when it is left out)."""
    raise NotImplementedError("compiled as conditionals")


def _require(c: Compiler, function: Function, node: ast.Call) -> Value:
    if not 1 <= len(node.args) <= 2 or node.keywords:
        c.fail(
            "mapping.arguments",
            "require() takes a value and a reason.",
            'For example require(email, "no e-mail address").',
        )
    value = c.compile(node.args[0])
    reason = "this is required, but null"
    if len(node.args) == 2:
        told = node.args[1]
        if not isinstance(told, ast.Constant) or not isinstance(told.value, str):
            c.fail("mapping.arguments", "The reason given to require() must be literal text.")
        reason = told.value
    if value.is_null:
        c.fail("mapping.arguments", "require() of the literal null always fails.")
    if not value.nullable:
        return value
    value = c.atom(value)
    c.emitter.add(f"if {value.code} is None: raise _R({reason!r})")
    return replace(value, nullable=False)


@builtin("any, string -> any", 'require("a", "must be there") == "a"', special=_require)
def require(value: Any, reason: str = "this is required, but null") -> Any:
    """The value; a record for which it is null is rejected with the reason."""
    if value is None:
        raise Rejected(reason)
    return value


def _lookup(c: Compiler, function: Function, node: ast.Call) -> Value:
    named = {k.arg: k.value for k in node.keywords}
    arguments = list(node.args)
    default_node = arguments[2] if len(arguments) == 3 else named.pop("default", None)
    if not 2 <= len(arguments) <= 3 or named:
        c.fail(
            "mapping.arguments",
            "lookup() takes a table's name, a key, and default=….",
            'For example lookup("countries", code, default="XX").',
        )
    name_node = arguments[0]
    if not isinstance(name_node, ast.Constant) or not isinstance(name_node.value, str):
        c.fail("mapping.arguments", "The table's name must be literal text.", 'For example lookup("countries", code).')
    table = c.scope.lookups.get(name_node.value)
    if table is None:
        mend = did_you_mean(name_node.value, c.scope.lookups) or "Declare it under 'lookups:'."
        c.fail("mapping.unknown-lookup", f"There is no look-up table '{name_node.value}'.", mend)
    key = c.compile(arguments[1])
    if isinstance(key.type, Integer):
        key = c.strict([key], lambda x: f"str({x})", String())
    if not isinstance(key.type, TEXTS) and not key.is_null:
        c.fail("mapping.arguments", f"A look-up key must be text or integer, not {shown(key.type)}.",
               conversion_hint(key.type, String(), c.says(arguments[1])))  # fmt: skip
    kind = table.type
    if isinstance(kind, String) and len(table.rows) <= ROWS_AS_ENUM_MAX:
        kind = Enum(tuple(dict.fromkeys(table.rows.values())))
    get = c.emitter.constant(table.rows)
    found = c.strict([key], lambda x: f"{get}.get({x})", kind, nullable=True)
    if default_node is None:
        return found
    name = c.emitter.fresh("x")
    c.locals.append({name: found})
    try:
        return _coalesce(
            c, function, ast.Call(ast.Name("coalesce", ast.Load()), [ast.Name(name, ast.Load()), default_node], [])
        )
    finally:
        c.locals.pop()


@builtin("const, string|integer, any -> any", 'lookup("example", "de", default="?") == "Germany"', special=_lookup)
def lookup(table: str, key: Any, default: Any = None) -> Any:
    """What a declared look-up table holds for a key; null, or the default, for an unknown key."""
    raise NotImplementedError("compiled as a dict access")
