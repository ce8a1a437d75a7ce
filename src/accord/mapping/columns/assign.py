"""A column becomes a field of a declared type, as ``accord.mapping.assign`` does it for rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from accord.mapping.assign import has_constraints, needs_checks
from accord.mapping.columns.column import ANY_DEPTH, Column, NoColumn, as_decimal, changed, either
from accord.mapping.columns.constraints import broken
from accord.mapping.columns.dtypes import dtype_of
from accord.mapping.columns.operators import together
from accord.mapping.value import Null
from accord.record.types import Boolean, Decimal, Enum, Field, Float, Integer, Json, List, Object, String

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler


def assign(c: ColumnCompiler, column: Column, target: Field) -> Column:
    """The value as the field wants it; odd where it breaks the field's constraints. Raises NoColumn."""
    made = assigned(c, column, target)
    return made if made.is_literal else changed(made, odd=either(made.odd, kept_to(target, made.value)))


def assigned(c: ColumnCompiler, column: Column, target: Field) -> Column:
    """The value as the field's type wants it, its constraints not yet asked."""
    if column.is_null:
        value = pl.lit(None, dtype=dtype_of(target.type))
        return Column(value=value, type=target.type, nullable=True, odd=column.odd, depth=ANY_DEPTH)
    return fit(c, column, target.type)


def kept_to(target: Field, value: pl.Expr) -> pl.Expr | None:
    """True where a value of the right type breaks, or may break, what the field asks."""
    finite = ~value.is_finite() if isinstance(target.type, Float) else None
    return either(broken(target, value) if has_constraints(target) else None, finite)


def fit(c: ColumnCompiler, column: Column, type_: Any) -> Column:
    match type_, column.type:
        case (Json(), Json()):
            return column
        case (Json(), Integer()):
            return together([column], column.value.cast(pl.String), type_)
        case (Json(), Boolean()):
            value = pl.when(column.value).then(pl.lit("true")).when(~column.value).then(pl.lit("false"))
            return together([column], value, type_)
        case (Json(), _):
            raise NoColumn("writing json")
        case (Decimal(), Integer()):
            return as_decimal(column)
        case (Float(), Integer()):
            return together([column], column.value.cast(pl.Float64), type_)
        case (Enum(values=values), String() | Enum()):
            if column.is_literal or (isinstance(column.type, Enum) and set(column.type.values) <= set(values)):
                return changed(column, type=type_)
            return changed(column, odd=either(column.odd, ~column.value.is_in(list(values))), type=type_)
        case (List(), List()):
            return _list(c, column, type_)
        case (Object(), Object()):
            return _object(c, column, type_)
        case _:
            return changed(column, type=type_)


def _list(c: ColumnCompiler, column: Column, type_: List) -> Column:
    item = column.type.item
    if isinstance(item, Null) or (isinstance(item, Json) and not isinstance(type_.item, Json)):
        raise NoColumn("a list of nothing")
    if item == type_.item and not needs_checks(item):
        return changed(column, type=type_)
    one = c.item_of(column)
    made = fit(c, one, type_.item)
    if made.depth != one.depth:
        raise NoColumn("a list of constants")
    return changed(c.walked(column, one, (), made, type_), type=type_)


def _object(c: ColumnCompiler, column: Column, type_: Object) -> Column:
    have: Object = column.type
    if have.fields == type_.fields and not needs_checks(have):
        return column
    parts: list[pl.Expr] = []
    odd = column.odd
    for name, field in type_.fields.items():
        if name in have.fields:
            part = assign(c, c.member(column, name), field)
            parts.append(part.value.alias(name))
            odd = either(odd, part.odd if part.odd is None else column.value.is_not_null() & part.odd)
            if not field.nullable:
                odd = either(odd, column.value.is_not_null() & part.value.is_null())
        else:
            parts.append(pl.lit(None, dtype=dtype_of(field.type)).alias(name))
    value = pl.when(column.value.is_not_null()).then(pl.struct(parts)) if column.nullable else pl.struct(parts)
    return changed(column, value=value, odd=odd, type=type_)
