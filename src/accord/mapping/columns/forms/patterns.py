"""Regular expressions on text."""

from __future__ import annotations

import polars as pl

from accord.mapping.columns.column import Column, NoColumn
from accord.mapping.columns.forms.table import form
from accord.mapping.columns.operators import together
from accord.mapping.columns.patterns import RustPattern, whole_match
from accord.mapping.columns.texts import not_ascii
from accord.mapping.regex import bounded_pattern
from accord.record.types import Boolean, String


@form("matches")
def matches(text: Column, pattern: Column) -> Column:
    value, odd = whole_match(text.value, pattern.literal, bounded_pattern(pattern.literal).length_max)
    return together([text], value, Boolean(), odd=odd)


def _searched(text: Column, pattern: Column) -> tuple[RustPattern, pl.Expr]:
    made = RustPattern(pattern.literal, is_whole=False)
    odd = text.value.str.len_bytes() > bounded_pattern(pattern.literal).length_max
    return made, odd | not_ascii(text.value) if made.needs_ascii else odd


@form("extract")
def extract(text: Column, pattern: Column) -> Column:
    made, odd = _searched(text, pattern)
    groups = bounded_pattern(pattern.literal).regex.groups
    value = text.value.str.extract(made.text, 1 if groups else 0)
    return together([text], value, String(), nullable=True, odd=odd)


@form("replace_matches")
def replace_matches(text: Column, pattern: Column, new: Column) -> Column:
    if not isinstance(new.literal, str) or len(new.literal) > 1000:
        raise NoColumn("a replacement that is computed")
    made, odd = _searched(text, pattern)
    if bounded_pattern(pattern.literal).regex.match(""):
        raise NoColumn("a pattern that matches nothing")
    value = text.value.str.replace_all(made.text, new.literal.replace("$", "$$"))
    return together([text], value, String(), odd=odd)
