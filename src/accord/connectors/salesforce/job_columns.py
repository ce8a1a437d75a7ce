"""Columns of bulk jobs: CSV as Salesforce writes and reads it, and typed frames. Pure.

Source: Salesforce, "Bulk API 2.0 and Bulk API Developer Guide": Prepare CSV Files (an empty value is left alone, ``#N/A`` sets null, a
column ``Account.Shop_Id__c`` finds a parent), Valid Date Format in Records; a query's empty value is null, there are no empty texts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from accord.connectors.salesforce.values import SYSTEM_FIELDS, read_record
from accord.record import Field
from accord.record import types as t
from accord.record.columns import schema_of
from accord.sdk import texts

if TYPE_CHECKING:
    import polars as pl

NULL = "#N/A"
_PLAIN = (t.String, t.Enum, t.Boolean, t.Integer, t.Decimal, t.Float, t.Date, t.DateTime)


def has_columns(fields: Mapping[str, Field]) -> bool:
    """Whether every field is one that bulk jobs carry: compound addresses and places are not among them."""
    return all(_has_column(field.type) for field in fields.values())


def _has_column(type_: t.Type) -> bool:
    match type_:
        case t.Object(fields=fields):
            return has_columns(fields)
        case t.List(item=item):
            return isinstance(item, t.String | t.Enum)
        case _:
            return isinstance(type_, _PLAIN)


def parents(fields: Mapping[str, Field], prefix: str = "") -> list[str]:
    """The ids of parents: what tells one without values from none."""
    found: list[str] = []
    for name, field in fields.items():
        if isinstance(field.type, t.Object):
            found += [f"{prefix}{name}.Id", *parents(field.type.fields, f"{prefix}{name}.")]
    return found


# reading


def read_table(csv: bytes, names: Sequence[str]) -> pl.DataFrame:
    """Texts by column, null where there is no value. The line of names may be there or not: an id is never 'Id'."""
    import polars as pl

    schema = dict.fromkeys(names, pl.String)
    if not csv.strip():
        return pl.DataFrame(schema=schema)
    table = pl.read_csv(csv, has_header=False, schema=schema, infer_schema=False)
    if table.row(0)[names.index("Id")] == "Id":
        table = table.slice(1)
    return table.with_columns(pl.when(pl.all() != "").then(pl.all()))


def typed(
    table: pl.DataFrame, fields: Mapping[str, Field], as_written: frozenset[str] = frozenset()
) -> tuple[pl.DataFrame, pl.Series]:
    """A frame of the fields, and which rows hold a value that does not fit (null there)."""
    import polars as pl

    wrong = pl.Series([False], dtype=pl.Boolean).new_from_index(0, table.height)
    made: list[pl.Series] = []
    for name, field in fields.items():
        column, bad = _column(table, name, field.type, exact=name in as_written)
        made.append(column.alias(name))
        wrong = wrong | bad
    return pl.DataFrame(made, schema=schema_of(fields)), wrong


def _column(table: pl.DataFrame, name: str, type_: t.Type, *, exact: bool) -> tuple[pl.Series, pl.Series]:
    import polars as pl

    if isinstance(type_, t.Object):
        there = table[f"{name}.Id"].is_not_null()
        inside = [
            (one, *_column(table, f"{name}.{one}", field.type, exact=exact)) for one, field in type_.fields.items()
        ]
        wrong = there & False
        for _, _, bad in inside:
            wrong = wrong | bad
        struct = pl.DataFrame([column.alias(one) for one, column, _ in inside]).to_struct("v").to_frame()
        return struct.select(pl.when(there).then(pl.col("v"))).to_series(), wrong
    sent = table[name].alias("t")
    if isinstance(type_, t.DateTime):
        sent = sent.str.replace(r"([+-]\d\d)(\d\d)$", "${1}:${2}")
    found = _typed(texts.as_kept(sent, type_) if exact else sent, type_)
    return found, found.is_null() & sent.is_not_null()


def _typed(sent: pl.Series, type_: t.Type) -> pl.Series:
    import polars as pl

    match type_:
        case t.Boolean():
            return sent.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
        case t.Integer():
            return texts.integers(sent.str.replace(r"\.0+$", ""))
        case t.Decimal():
            return texts.decimals(sent)
        case t.Float():
            return texts.floats(sent)
        case t.Date():
            return texts.dates(sent)
        case t.DateTime():
            return texts.instants(sent)
        case t.List():
            return sent.str.split(";")
        case _:
            return sent


def record_of(row: Mapping[str, str | None], fields: Mapping[str, Field]) -> dict[str, Any]:
    """A row as a query would have given it, for those who read rows."""
    return read_record(_nested(row, fields, ""), fields)


def _nested(row: Mapping[str, str | None], fields: Mapping[str, Field], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in fields.items():
        at = prefix + name
        if isinstance(field.type, t.Object):
            found[name] = _nested(row, field.type.fields, f"{at}.") if row[f"{at}.Id"] else None
        else:
            found[name] = _json_value(row[at], field.type)
    return found


def _json_value(text: str | None, type_: t.Type) -> Any:
    if isinstance(type_, t.Boolean):
        return {"true": True, "false": False}.get(text or "", text)
    if text is not None and isinstance(type_, t.Integer | t.Decimal | t.Float):
        try:
            number = Decimal(text)
        except InvalidOperation:
            return text
        return number if number.is_finite() else text
    return text


# writing


def written_table(frame: pl.DataFrame, fields: Mapping[str, Field], *, sets_null: bool) -> pl.DataFrame:
    """Texts as a job takes them. ``sets_null``: a field without a value becomes null; else it is left out."""
    import polars as pl

    made: list[pl.Series] = []
    for name, field in fields.items():
        if name in frame.columns and name not in SYSTEM_FIELDS:
            made += _flat(frame[name], name, field.type, NULL if sets_null else "")
    return pl.DataFrame(made)


def _flat(column: pl.Series, name: str, type_: t.Type, nothing: str) -> list[pl.Series]:
    """A parent without a value is left alone: what ``#N/A`` does in such a column is not documented."""
    if isinstance(type_, t.Object):
        found: list[pl.Series] = []
        for one, field in type_.fields.items():
            found += _flat(column.struct.field(one), f"{name}.{one}", field.type, "")
        return found
    text = _text(column, type_)
    return [text.replace("", None).fill_null(nothing).alias(name)]


def _text(column: pl.Series, type_: t.Type) -> pl.Series:
    import polars as pl

    match type_:
        case t.Boolean():
            return column.replace_strict({True: "true", False: "false"}, default=None, return_dtype=pl.String)
        case t.Decimal():
            return (
                column.cast(pl.String).str.replace(r"\.?0+$", "")
                if column.dtype.is_decimal()
                else column.cast(pl.String)
            )
        case t.DateTime():
            return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        case t.List():
            return column.list.eval(pl.element().cast(pl.String)).list.join(";")
        case _:
            return column.cast(pl.String)


def csv_of(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_csv(out, quote_style="always", line_terminator="\n")
    return out.getvalue()


def read_answers(csv: bytes) -> list[dict[str, str | None]]:
    """The rows of an ingest job's results by the names in their first line."""
    import polars as pl

    if not csv.strip():
        return []
    return pl.read_csv(csv, infer_schema=False).to_dicts()
