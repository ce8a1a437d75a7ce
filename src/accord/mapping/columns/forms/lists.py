"""Lists. Nulls inside a list are left out by every function but len()."""

from __future__ import annotations

import polars as pl

from accord.mapping.columns.column import Column, NoColumn
from accord.mapping.columns.forms.table import form
from accord.mapping.columns.operators import together
from accord.mapping.value import Null
from accord.record.types import Boolean, Date, Decimal, Duration, Enum, Integer, List, String

_SORTABLE = (Integer, Decimal, String, Enum, Date, Duration)


def _same(column: Column, value: pl.Expr, type_: object, *, nullable: bool | None = None) -> Column:
    return together(
        [column], value, type_, nullable=column.nullable if nullable is None else nullable, whole=column.whole,
        places=column.places, is_plain=column.is_plain, zone=column.zone,
    )  # fmt: skip


def _full(column: Column) -> pl.Expr:
    return column.value.list.drop_nulls() if column.type.is_item_nullable else column.value


def _items(column: Column, *kinds: type) -> Column:
    if not isinstance(column.type, List) or isinstance(column.type.item, Null):
        raise NoColumn("a list of nothing")
    if kinds and not isinstance(column.type.item, kinds):
        raise NoColumn("a list of such items")
    return column


@form("len")
def len_(value: Column) -> Column:
    counted = value.value.list.len() if isinstance(value.type, List) else value.value.str.len_chars()
    return together([value], counted.cast(pl.Int64), Integer(), whole=10, places=0)


@form("first")
def first(items: Column) -> Column:
    return _same(_items(items), _full(items).list.first(), items.type.item, nullable=True)


@form("last")
def last(items: Column) -> Column:
    return _same(_items(items), _full(items).list.last(), items.type.item, nullable=True)


@form("sort")
def sort(items: Column, descending: Column) -> Column:
    _items(items, *_SORTABLE)
    if type(descending.literal) is not bool:
        raise NoColumn("a direction that is computed")
    return _same(items, _full(items).list.sort(descending=descending.literal), List(items.type.item))


@form("reverse")
def reverse(items: Column) -> Column:
    return _same(_items(items), _full(items).list.reverse(), List(items.type.item))


@form("unique")
def unique(items: Column) -> Column:
    _items(items, *_SORTABLE)
    return _same(items, _full(items).list.unique(maintain_order=True), List(items.type.item))


@form("compact")
def compact(items: Column) -> Column:
    return _same(_items(items), _full(items), List(items.type.item))


@form("take")
def take(items: Column, count: Column) -> Column:
    _items(items)
    if type(count.literal) is not int or abs(count.literal) > 2**31:
        raise NoColumn("a number that is computed")
    return _same(items, _full(items).list.head(max(count.literal, 0)), List(items.type.item))


def _truths(items: Column) -> pl.Expr:
    _items(items, Boolean)
    return items.value.list.eval(pl.element().fill_null(value=False))


@form("any")
def any_(items: Column) -> Column:
    return together([items], _truths(items).list.any(), Boolean())


@form("all")
def all_(items: Column) -> Column:
    return together([items], _truths(items).list.all(), Boolean())


@form("count")
def count(items: Column) -> Column:
    counted = _truths(items).list.eval(pl.element().cast(pl.Int64)).list.sum()
    return together([items], counted, Integer(), whole=10, places=0)
