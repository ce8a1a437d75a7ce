"""Text in columns: what several forms share. Positions are code points in Polars as in Python."""

from __future__ import annotations

import polars as pl

from accord.mapping.columns.column import UTC, Column, NoColumn, changed, doubt
from accord.mapping.support import text as row_text
from accord.record.types import Boolean, Date, DateTime, Decimal, Enum, Integer, String

# Python's blanks; Rust does not count the four separators 1c to 1f among them.
BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
FIRST_PLAIN_YEAR = 1000  # years before are written with fewer digits by some


def contains(text: Column, part: Column) -> pl.Expr:
    return text.value.str.contains(part.value, literal=True)


def not_ascii(text: pl.Expr) -> pl.Expr:
    return text.str.len_bytes() != text.str.len_chars()


def beyond_latin(text: pl.Expr) -> pl.Expr:
    """Where case is not surely the same: up to U+017F letters and their case are settled; beyond, capitals are still being added."""
    return text.str.contains(r"[^\x{0}-\x{17f}]")


def text_of(column: Column) -> Column:
    """As ``text()`` writes it. Raises NoColumn where the digits or the zone of a value are not the column's to know."""
    if column.is_literal and column.literal is not None:
        return changed(column, value=pl.lit(row_text(column.literal)), type=String())
    made: pl.Expr
    match column.type:
        case String() | Enum():
            return changed(column, value=column.value, type=String())
        case Boolean():
            made = pl.when(column.value).then(pl.lit("true")).when(~column.value).then(pl.lit("false"))
        case Integer():
            made = column.value.cast(pl.String)
        case Decimal() if column.is_plain:
            made = column.value.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
        case Date():
            made = column.value.cast(pl.String)
            column = doubt(column, column.value.dt.year() < FIRST_PLAIN_YEAR)
        case DateTime() if column.zone == UTC:
            whole = column.value.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
            parts = column.value.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
            made = pl.when(column.value.dt.microsecond() == 0).then(whole).otherwise(parts)
            column = doubt(column, column.value.dt.year() < FIRST_PLAIN_YEAR)
        case _:
            raise NoColumn("text of such a value")
    return Column(value=made, type=String(), nullable=column.nullable, odd=column.odd, depth=column.depth)


__all__ = ["BLANKS", "beyond_latin", "contains", "not_ascii", "text_of"]
