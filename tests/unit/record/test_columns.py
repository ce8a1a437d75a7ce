"""Every field type has a column type, nested ones too."""

from __future__ import annotations

import typing

import polars as pl

from accord.record import types as t
from accord.record.columns import dtype_of, schema_of


def test_every_type_has_a_column() -> None:
    leaf = {each.__name__: dtype_of(each()) for each in typing.get_args(t.Type) if not each.__struct_fields__}
    assert leaf == {
        "String": pl.String(),
        "Boolean": pl.Boolean(),
        "Integer": pl.Int64(),
        "Decimal": pl.Decimal(38, 10),
        "Float": pl.Float64(),
        "Date": pl.Date(),
        "DateTime": pl.Datetime("us", "UTC"),
        "Duration": pl.Duration("us"),
        "Json": pl.String(),
    }
    assert dtype_of(t.Enum(("a", "b"))) == pl.String()


def test_nested_types_and_order() -> None:
    lines = t.List(t.Object({"price": t.Field(type=t.Decimal()), "sku": t.Field(type=t.String())}))
    schema = schema_of({"b": t.Field(type=lines), "a": t.Field(type=t.Integer())})
    assert list(schema) == ["b", "a"]
    assert schema["b"] == pl.List(pl.Struct({"price": pl.Decimal(38, 10), "sku": pl.String()}))
