"""The column type of each field type: what a ``Batch`` holds between reader, mapping and writer.

| field | column |
|---|---|
| string, enum | String |
| boolean | Boolean |
| integer | Int64; larger numbers do not fit |
| decimal | Decimal(38, 10): 28 digits before the point, 10 after it; more do not fit |
| float | Float64, finite |
| date | Date |
| datetime | Datetime in microseconds, UTC |
| duration | Duration in microseconds |
| json | String: the JSON text |
| list, object | List, Struct of these |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accord.record import types as t

if TYPE_CHECKING:
    import polars

DECIMAL_DIGITS = 38
DECIMAL_PLACES = 10


def dtype_of(type_: t.Type) -> Any:
    """The Polars type of a field type."""
    import polars as pl

    match type_:
        case t.Boolean():
            return pl.Boolean()
        case t.Integer():
            return pl.Int64()
        case t.Decimal():
            return pl.Decimal(DECIMAL_DIGITS, DECIMAL_PLACES)
        case t.Float():
            return pl.Float64()
        case t.Date():
            return pl.Date()
        case t.DateTime():
            return pl.Datetime("us", "UTC")
        case t.Duration():
            return pl.Duration("us")
        case t.List(item=item):
            return pl.List(dtype_of(item))
        case t.Object(fields=fields):
            return pl.Struct([pl.Field(name, dtype_of(field.type)) for name, field in fields.items()])
        case _:
            return pl.String()


def schema_of(fields: Mapping[str, t.Field]) -> polars.Schema:
    """The Polars schema of an entity's fields, in their order."""
    import polars as pl

    return pl.Schema({name: dtype_of(field.type) for name, field in fields.items()})
