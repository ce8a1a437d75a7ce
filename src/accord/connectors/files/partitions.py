"""Values that stand in the names of folders: ``country=DE/year=2026/…``, the convention of Hive, Spark, DuckDB and Polars. Pure.

What a folder says is the same value by rows and by columns: in the form that a column keeps (decimals without needless zeros, times
in UTC). A file below folders that do not say it is unreadable as a whole.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from accord.connectors.files.rows import Unreadable
from accord.connectors.files.spec import FilesEntity
from accord.connectors.files.values import Converter
from accord.record import Entity, Field
from accord.record import types as t
from accord.record.columns import DECIMAL_DIGITS, DECIMAL_PLACES, dtype_of
from accord.sdk.bulk import BulkRead

if TYPE_CHECKING:
    import polars

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
NO_FOLDER_NAMES = (t.List, t.Object, t.Json, t.Duration)  # types that have no form as a folder's name
_INTEGER_MAX = 2**63 - 1
_YEAR_MIN = 1000  # earlier ones have no sure form in columns
_Typed = int | float | bool | str | dt.date | decimal.Decimal


def folder_name(name: str, value: Any) -> str:
    """``field=value``."""
    if value is None:
        return f"{name}={NULL_PARTITION}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name}={urllib.parse.quote(text, safe=' ,+@')}"


def is_left_out(file_name: str) -> bool:
    """Below a folder in which Spark keeps what is not to be read (``_temporary``, ``_delta_log``)."""
    return any(part.startswith("_") and "=" not in part for part in file_name.split("/"))


class Partitions:
    """Of one entity's files. ``fields``: those that folders hold."""

    def __init__(self, entity: Entity, extra: FilesEntity, zone: str) -> None:
        self.fields: dict[str, Field] = {n: entity.fields[n] for n in extra.partition if n in entity.fields}
        plain = FilesEntity(dates=extra.dates, datetimes=extra.datetimes, trim=False)
        self._converter = Converter(self.fields, plain, ZoneInfo(zone))
        self._folders = {extra.headers.get(field, field): field for field in self.fields}

    def values(self, file_name: str) -> dict[str, Any]:
        """By field, as a reader of rows gives them. Raises Unreadable."""
        if not self.fields:
            return {}
        found: dict[str, Any] = {}
        for part in file_name.split("/")[:-1]:
            name, is_named, text = part.partition("=")
            field = self._folders.get(name) if is_named else None
            if field is None:
                continue
            if field in found:
                raise Unreadable(f"{file_name} lies in two folders '{name}='")
            found[field] = self._value(field, text, file_name)
        missing = [name for name, field in self._folders.items() if field not in found]
        if missing:
            raise Unreadable(f"{file_name} lies in no folder '{missing[0]}=…', which `partition` says it does")
        return found

    def is_outside(self, file_name: str, request: BulkRead) -> bool:
        """All rows of the file are before ``since`` or at or after ``until``: it need not be opened."""
        if request.cursor not in self.fields:
            return False
        try:
            value: Any = self._typed(request.cursor, self.values(file_name)[request.cursor])
        except Unreadable:
            return False
        if value is None:
            return False
        is_before = request.since is not None and value < request.since
        return is_before or (request.until is not None and value >= request.until)

    def columns(self, values: Mapping[str, Any], rows: int) -> list[polars.Series]:
        """The same values ``rows`` times, by ``values``."""
        import polars as pl

        return [
            pl.Series(n, [self._typed(n, value)], dtype=dtype_of(self.fields[n].type)).new_from_index(0, rows)
            for n, value in values.items()
        ]

    def _value(self, field: str, text: str, file_name: str) -> Any:
        if text == NULL_PARTITION:
            return None
        type_ = self.fields[field].type
        try:
            text = urllib.parse.unquote(text, errors="strict")
            if isinstance(type_, t.String | t.Enum):
                return text
            value = _kept(type_, self._converter.of_text(field, text))
        except (ValueError, ArithmeticError):
            kind = type(type_).__name__.lower()
            raise Unreadable(
                f"{file_name}: the folder '{field}={text}' holds no {kind} that a column can hold"
            ) from None
        return value

    def _typed(self, field: str, value: Any) -> _Typed | None:
        match self.fields[field].type:
            case _ if value is None:
                return None
            case t.Date():
                return dt.date.fromisoformat(value)
            case t.DateTime():
                return dt.datetime.fromisoformat(value)
            case t.Float():
                return float(value)
        kept: _Typed = value
        return kept


def _kept(type_: t.Type, value: Any) -> Any:
    """In the form that columns keep. Raises ValueError, ArithmeticError."""
    match type_:
        case _ if value is None:  # an empty name, which Hive does not write
            pass
        case t.Boolean() if isinstance(value, bool):
            return value
        case t.Integer() if isinstance(value, int) and -_INTEGER_MAX <= value <= _INTEGER_MAX:
            return value
        case t.Decimal() if isinstance(value, decimal.Decimal):
            return _short(value)
        case t.Float() if isinstance(value, decimal.Decimal) and math.isfinite(float(value)):
            return value
        case t.Date():
            day = dt.date.fromisoformat(value)
            if day.year >= _YEAR_MIN:
                return day.isoformat()
        case t.DateTime():
            instant = dt.datetime.fromisoformat(value)
            if instant.tzinfo is not None and instant.year >= _YEAR_MIN:
                return value
    raise ValueError(value)


def _short(value: decimal.Decimal) -> decimal.Decimal:
    """Without needless zeros. Raises ValueError where a column has not so many digits."""
    text = format(value, "f")
    whole, _, places = text.partition(".")
    places = places.rstrip("0")
    whole = whole.lstrip("+-").lstrip("0")
    if len(whole) > DECIMAL_DIGITS - DECIMAL_PLACES or len(places) > DECIMAL_PLACES:
        raise ValueError(text)
    sign = "-" if value < 0 else ""
    return decimal.Decimal(f"{sign}{whole or '0'}" + (f".{places}" if places else ""))
