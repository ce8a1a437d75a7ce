"""Columns back into records, as the row form has them: exact decimals, times in UTC, json read. The way there is the mapping's."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Mapping
from decimal import Decimal as PyDecimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from accord.record.types import DateTime, Decimal, Field, Json, List, Object, Type

if TYPE_CHECKING:
    import polars as pl

Reader: TypeAlias = Callable[[Any], Any]

DIGITS: Final = decimal.Context(prec=120, Emax=9999, Emin=-9999)
_EXPONENT_MAX = 100  # as in the row form: numbers are between 1e-100 and 1e100


def records_of(frame: pl.DataFrame, fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    """The rows as the row form has them. Columns that are no field are left out; fields without a column are absent.
    Raises ValueError when a json column holds text that is not JSON."""
    names = [name for name in fields if name in frame.columns]
    columns = [values_of(frame[name], fields[name].type) for name in names]
    if not columns:
        return [{} for _ in range(frame.height)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def values_of(column: pl.Series, type_: Type) -> list[Any]:
    """One column's values as the row form has them."""
    values = column.to_list()
    read = _reader(type_)
    return values if read is None else [None if v is None else read(v) for v in values]


def _reader(type_: Type) -> Reader | None:
    """Turns what Polars gives into the row form's value; None when it is the same."""
    match type_:
        case Decimal():
            return canonical
        case DateTime():
            return _in_utc
        case Json():
            return json_value
        case List(item=item):
            inner = _reader(item)
            return None if inner is None else lambda values: [None if v is None else inner(v) for v in values]
        case Object(fields=fields):
            found = {name: _reader(field.type) for name, field in fields.items()}
            readers = {name: read for name, read in found.items() if read is not None}
            return None if not readers else lambda record: _read_object(record, readers)
        case _:
            return None


def _read_object(record: dict[str, Any], readers: dict[str, Reader]) -> dict[str, Any]:
    for name, read in readers.items():
        value = record.get(name)
        if value is not None:
            record[name] = read(value)
    return record


def _in_utc(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC)


def canonical(value: PyDecimal) -> PyDecimal:
    """The same number with the digits it needs: no zeros at the end of its fraction, no exponent."""
    if value == 0:
        return PyDecimal(0)
    made = value.normalize(DIGITS)
    exponent = made.as_tuple().exponent
    return made.quantize(PyDecimal(1), context=DIGITS) if isinstance(exponent, int) and exponent > 0 else made


def _exact(text: str) -> PyDecimal:
    value = PyDecimal(text)
    if not value.is_finite() or not -_EXPONENT_MAX <= value.adjusted() <= _EXPONENT_MAX:
        raise ValueError("number out of range")
    return value


_json_decoder = msgspec.json.Decoder(float_hook=_exact)


def json_value(text: str) -> Any:
    """What JSON text says; numbers with a point are Decimal. Raises ValueError."""
    return _json_decoder.decode(text)
