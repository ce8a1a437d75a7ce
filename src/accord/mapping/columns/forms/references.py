"""Cross-references and the clock: what a batch asks its environment, once for all its rows."""

from __future__ import annotations

import ast
import datetime as dt
from typing import TYPE_CHECKING

import polars as pl

from accord.mapping.columns.column import ANY_DEPTH, FIXED, UTC, Column, NoColumn
from accord.mapping.columns.forms.table import special
from accord.record.types import Date, DateTime, Integer

if TYPE_CHECKING:
    from accord.mapping.columns.compiler import ColumnCompiler


@special("ref")
def ref(c: ColumnCompiler, node: ast.Call) -> Column:
    named = {k.arg: k.value for k in node.keywords}
    to, of = (n.value if isinstance(n := named.get(k), ast.Constant) else None for k in ("to", "of"))
    entity = of or c.value_of(node.args[0]).references
    key = c.compile(node.args[0])
    if key.is_null:
        return key
    if key.depth > 0 or not isinstance(to, str) or not isinstance(entity, str) or not entity:
        raise NoColumn("a cross-reference of every item")
    text = key.value.cast(pl.String) if isinstance(key.type, Integer) else key.value
    return c.parts.reference(entity, to, text, key.odd)


@special("now")
def now(c: ColumnCompiler, node: ast.Call) -> Column:
    c.parts.uses_environment = True
    moment = c.environment.now
    return Column(value=pl.lit(moment, dtype=pl.Datetime("us", "UTC")), type=DateTime(), zone=_zone(c), depth=ANY_DEPTH)


@special("today")
def today(c: ColumnCompiler, node: ast.Call) -> Column:
    c.parts.uses_environment = True
    return Column(value=pl.lit(c.environment.now.astimezone(dt.UTC).date()), type=Date(), depth=ANY_DEPTH)


def _zone(c: ColumnCompiler) -> str:
    return UTC if not c.environment.now.utcoffset() else FIXED
