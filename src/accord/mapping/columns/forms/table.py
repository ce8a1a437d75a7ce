"""The table of column forms, and how a call gets one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from accord.mapping.calls import bind
from accord.mapping.columns.column import NULL, Column, NoColumn, as_type, depth_of, either, literal, nothing, odd_of
from accord.mapping.columns.dtypes import dtype_of
from accord.mapping.functions.signature import TYPES, Function, Parameter
from accord.mapping.value import NUMBERS, meet, outward
from accord.record.types import Boolean, Decimal, Integer, String

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler

Form: TypeAlias = Callable[..., Column]
_FORMS: dict[str, Form] = {}
_SPECIAL: dict[str, Callable[[Any, ast.Call], Column]] = {}


def form(name: str) -> Callable[[Form], Form]:
    """Registers the column form of a function: called with a column per parameter, null arguments already dealt with when all are null
    literals; where Polars does not hand null on by itself, the form must."""

    def register(call: Form) -> Form:
        _FORMS[name] = call
        return call

    return register


def special(name: str) -> Callable[[Callable[[Any, ast.Call], Column]], Callable[[Any, ast.Call], Column]]:
    """Registers a form that compiles its arguments itself."""

    def register(call: Callable[[Any, ast.Call], Column]) -> Callable[[Any, ast.Call], Column]:
        _SPECIAL[name] = call
        return call

    return register


def names_with_forms() -> frozenset[str]:
    """Built-in functions that have a column form; the others run row by row on their columns."""
    return frozenset(_FORMS) | frozenset(_SPECIAL)


def form_of(c: ColumnCompiler, name: str, node: ast.Call) -> Column:
    """The call in columns. Raises NoColumn."""
    function = c.scope.functions.get(name)
    if function is None:
        raise NoColumn(f"the function {name}()")
    if not function.is_project and name in _SPECIAL:
        return _SPECIAL[name](c, node)
    call = function.columns if function.is_project else _FORMS.get(name)
    if call is None:
        raise NoColumn(f"the function {name}()")
    columns: list[Column] = []
    pairs = bind(c.typing, function, node)
    kind = _number_of(c, pairs)
    is_missing = False
    for parameter, argument in pairs:
        column = c.compile(argument) if argument is not None else _default(parameter)
        is_missing = is_missing or (column.is_null and argument is not None and not parameter.pattern.nullable)
        columns.append(column if column.is_null else _number(column, parameter, kind))
    if is_missing:
        return nothing(columns)
    if function.is_project:
        return _project(c, function, node, columns)
    return call(*columns)


def _default(parameter: Parameter) -> Column:
    value = parameter.default
    if value is None:
        return NULL
    return literal(value, {str: String(), bool: Boolean()}.get(type(value), Integer()))


def _number_of(c: ColumnCompiler, pairs: list[tuple[Parameter, ast.expr | None]]) -> Any:
    """The type numbers of a signature with ``N`` or ``C`` meet in."""
    kind: Any = None
    for parameter, argument in pairs:
        if parameter.pattern.kind in ("N", "C", "T") and argument is not None:
            found = c.value_of(argument).type
            kind = found if kind is None else meet(kind, found)
    return kind


def _number(column: Column, parameter: Parameter, kind: Any) -> Column:
    pattern = parameter.pattern
    wanted = kind if pattern.kind in ("N", "C", "T") else TYPES.get(pattern.kind)
    if isinstance(wanted, Decimal) and isinstance(column.type, Integer):
        return as_type(column, Decimal())
    if isinstance(wanted, NUMBERS) and isinstance(column.type, NUMBERS) and type(wanted) is not type(column.type):
        raise NoColumn("numbers of several types")
    return column


def _project(c: ColumnCompiler, function: Function, node: ast.Call, columns: list[Column]) -> Column:
    assert function.columns is not None
    value = c.value_of(node)
    made: pl.Expr = function.columns(*(column.value for column in columns))
    strict = [
        column.value.is_null()
        for column, parameter in zip(columns, function.signature.parameters, strict=False)
        if column.nullable and not parameter.pattern.nullable
    ]
    if strict:
        made = pl.when(~pl.any_horizontal(strict)).then(made)
    missing = made.is_null() & ~pl.any_horizontal(strict) if strict else made.is_null()
    odd = odd_of(columns) if function.signature.result.nullable else either(odd_of(columns), missing)
    return Column(
        value=made.cast(dtype_of(outward(value.type))), type=value.type, nullable=value.nullable, odd=odd,
        depth=depth_of(columns),
    )  # fmt: skip
