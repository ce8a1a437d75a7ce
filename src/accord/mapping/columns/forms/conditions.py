"""Choosing values: only the parts that are reached make a row odd."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import polars as pl

from accord.mapping.columns.column import Column, NoColumn, as_type, doubt, either, nothing
from accord.mapping.columns.dtypes import dtype_of
from accord.mapping.columns.forms.table import special
from accord.mapping.columns.operators import together
from accord.mapping.value import outward
from accord.record.types import Integer

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler


@special("coalesce")
def coalesce(c: ColumnCompiler, node: ast.Call) -> Column:
    columns = [c.compile(argument) for argument in node.args]
    return first_of(c, columns, node)


def first_of(c: ColumnCompiler, columns: list[Column], node: ast.Call) -> Column:
    whole = c.value_of(node)
    ready = [as_type(column, whole.type) for column in columns if not column.is_null or column.odd is not None]
    if not ready or whole.is_null:
        return nothing(columns)
    odd = ready[0].odd
    missing = ready[0].value.is_null()
    for column in ready[1:]:
        if column.odd is not None:
            odd = either(odd, missing & column.odd)
        missing = missing & column.value.is_null()
    value = pl.coalesce([column.value for column in ready]) if len(ready) > 1 else ready[0].value
    return c.combined(ready, value, whole.type, whole.nullable, odd=odd)


@special("case")
def case(c: ColumnCompiler, node: ast.Call) -> Column:
    arguments = list(node.args)
    otherwise: ast.expr | None = arguments.pop() if len(arguments) % 2 else None
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    if otherwise is None:
        otherwise = ast.Constant(None)
        c.typing.compile(otherwise)
    return c.choose(pairs, otherwise, c.value_of(node))


@special("require")
def require(c: ColumnCompiler, node: ast.Call) -> Column:
    column = c.compile(node.args[0])
    return doubt(column, column.value.is_null()) if column.nullable else column


@special("lookup")
def lookup(c: ColumnCompiler, node: ast.Call) -> Column:
    name = node.args[0]
    table = c.scope.lookups.get(name.value) if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
    if table is None:
        raise NoColumn("a table that is not known")
    key = c.compile(node.args[1])
    given = node.args[2] if len(node.args) == 3 else next((k.value for k in node.keywords if k.arg == "default"), None)
    if key.is_null:
        if given is None:
            return key
        raise NoColumn("lookup() of nothing")
    text = key.value.cast(pl.String) if isinstance(key.type, Integer) else key.value
    values = list(table.rows.values())
    kind = dtype_of(outward(table.type))
    found = text.replace_strict(
        pl.Series(list(table.rows), dtype=pl.String), pl.Series(values, dtype=kind), default=None, return_dtype=kind
    )
    made = together([key], found, table.type, nullable=True)
    if given is None:
        return made
    return first_of(c, [made, c.compile(given)], node)
