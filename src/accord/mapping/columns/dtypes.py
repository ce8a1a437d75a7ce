"""Typed records into frames and back. The columns' types are those of ``accord.record.columns``; Polars is the extra ``bulk``.

| field | column | in the row form |
|---|---|---|
| string, enum | String | str |
| boolean | Boolean | bool |
| integer | Int64 | int; wider numbers do not fit |
| decimal | Decimal(38, 10) | Decimal; more than 28 digits before or 10 after the point do not fit |
| float | Float64 | float |
| date | Date | date |
| datetime | Datetime('us', 'UTC') | datetime in UTC: a column keeps the instant, not the zone it was written in |
| duration | Duration('us') | timedelta; more than 290,000 years do not fit |
| json | String holding JSON text | what the text says, numbers with a point as Decimal |
| list | List | list |
| object | Struct | dict |

A column keeps a decimal's value, not how many zeros it was written with: ``records_of`` gives the digits that are needed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal as PyDecimal
from typing import Any, Final

import msgspec
import polars as pl

from accord.record.columns import DECIMAL_DIGITS, DECIMAL_PLACES, dtype_of, schema_of
from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Field,
    Float,
    Integer,
    Json,
    List,
    Object,
    String,
    Type,
)
from accord.sdk.records import DIGITS, Reader, canonical, json_value, records_of, values_of

SCALE: Final = DECIMAL_PLACES
WHOLE_DIGITS: Final = DECIMAL_DIGITS - SCALE
DECIMAL: Final = pl.Decimal(DECIMAL_DIGITS, SCALE)
DATETIME: Final = pl.Datetime("us", "UTC")
DURATION: Final = pl.Duration("us")
INTEGER_MAX: Final = 2**63 - 1

_UNIT = PyDecimal(1).scaleb(-SCALE)
_MICROSECOND = dt.timedelta(microseconds=1)


def empty_frame(fields: Mapping[str, Field]) -> pl.DataFrame:
    """No rows, all columns."""
    return pl.DataFrame(schema=schema_of(fields))


_json_encoder = msgspec.json.Encoder(decimal_format="number")


def json_text(value: Any) -> str:
    """JSON text of a json value that reads back as the same value with the same types. Raises TypeError, ValueError."""
    return _json_encoder.encode(_pointed(value)).decode()


def _pointed(value: Any) -> Any:
    """Whole decimals get a point, so that they are read back as decimals."""
    match value:
        case PyDecimal():
            exponent = value.as_tuple().exponent
            if not isinstance(exponent, int):
                raise ValueError("number out of range")
            return value.quantize(PyDecimal("0.0"), context=DIGITS) if exponent >= 0 else value
        case list() | tuple():
            return [_pointed(v) for v in value]
        case dict():
            return {k: _pointed(v) for k, v in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            raise TypeError("json cannot hold this")


class Unfit(Exception):
    """A value that its column cannot hold."""


def frame_of(records: Sequence[Mapping[str, Any]], fields: Mapping[str, Field]) -> tuple[pl.DataFrame, list[int]]:
    """Typed records as columns, and the indexes of records that did not fit, which are not in the frame. Never rounds or cuts.

    It asks only whether a value fits its column; null fits every column. What else must hold is the contract's to say.
    """
    columns: dict[str, list[Any]] = {}
    unfit: set[int] = set()
    for name, field in fields.items():
        write = _writer(field.type)
        columns[name] = [_written(write, record.get(name), index, unfit) for index, record in enumerate(records)]
    schema = schema_of(fields)
    if not schema:
        return pl.DataFrame(height=len(records)), []
    if unfit:
        keep = [index for index in range(len(records)) if index not in unfit]
        columns = {name: [values[index] for index in keep] for name, values in columns.items()}
    made = [pl.Series(name, columns[name], dtype=dtype, strict=True) for name, dtype in schema.items()]
    return pl.DataFrame(made), sorted(unfit)


def series_of(values: Sequence[Any], type_: Type) -> tuple[pl.Series, list[int]]:
    """Values as a column; those that do not fit it are null and their indexes are told."""
    unfit: set[int] = set()
    write = _writer(type_)
    made = [_written(write, value, index, unfit) for index, value in enumerate(values)]
    return pl.Series("", made, dtype=dtype_of(type_), strict=True), sorted(unfit)


def _written(write: Reader, value: Any, index: int, unfit: set[int]) -> Any:
    if value is None:
        return None
    try:
        return write(value)
    except (Unfit, ValueError, TypeError, ArithmeticError, RecursionError):
        unfit.add(index)
        return None


def _writer(type_: Type) -> Reader:
    """Checks a value of the row form and turns it into what Polars takes; raises Unfit."""
    match type_:
        case List(item=item):
            inner = _writer(item)
            return lambda values: [None if v is None else inner(v) for v in _of(list, values)]
        case Object(fields=fields):
            writers = {name: _writer(field.type) for name, field in fields.items()}
            return lambda record: {
                name: None if (value := _of(dict, record).get(name)) is None else write(value)
                for name, write in writers.items()
            }
        case _:
            return _WRITERS[type(type_)]


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Unfit
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise Unfit
    if not value.isascii():
        value.encode()  # lone surrogates are no text
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise Unfit
    return value


def quantized(value: PyDecimal) -> PyDecimal:
    """A number that fits, with as many places as the column has."""
    return value.quantize(_UNIT, context=DIGITS)


def fits_decimal(value: PyDecimal) -> bool:
    """Whether a column holds the number exactly."""
    if not value.is_finite() or (value and not -SCALE <= value.adjusted() < WHOLE_DIGITS):
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and (exponent >= -SCALE or value == quantized(value))


def _decimal(value: Any) -> PyDecimal:
    if type(value) is int:
        value = PyDecimal(value)
    if not isinstance(value, PyDecimal) or not fits_decimal(value):
        raise Unfit
    return quantized(value)


def _float(value: Any) -> float:
    if type(value) is int and abs(value) <= 2**53:
        return float(value)
    made: float = _of(float, value)
    return made


def _datetime(value: Any) -> dt.datetime:
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise Unfit
    return value.astimezone(dt.UTC)


def _date(value: Any) -> dt.date:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Unfit
    return value


def _duration(value: Any) -> dt.timedelta:
    made: dt.timedelta = _of(dt.timedelta, value)
    if abs(made // _MICROSECOND) > INTEGER_MAX:
        raise Unfit
    return made


_WRITERS: dict[type, Reader] = {
    String: _string,
    Enum: _string,
    Json: json_text,
    Boolean: lambda value: _of(bool, value),
    Integer: _integer,
    Decimal: _decimal,
    Float: _float,
    Date: _date,
    DateTime: _datetime,
    Duration: _duration,
}

__all__ = [
    "DATETIME",
    "DECIMAL",
    "DURATION",
    "SCALE",
    "WHOLE_DIGITS",
    "Unfit",
    "canonical",
    "dtype_of",
    "empty_frame",
    "fits_decimal",
    "frame_of",
    "json_text",
    "json_value",
    "quantized",
    "records_of",
    "schema_of",
    "series_of",
    "values_of",
]
