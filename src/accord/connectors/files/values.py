"""Texts of files to plain data by the declared type, and back. Pure.

What does not convert is left as it stands, so that the contract reports it with its path; nothing is guessed.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.files.spec import FilesEntity
from accord.record import Field
from accord.record import types as t
from accord.sdk.http import decode_json, encode_json

Convert = Callable[[str], Any]

_INTEGER = re.compile(r"[+-]?[0-9]{1,400}", re.ASCII)
_POINT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?", re.ASCII)


class Converter:
    """Converts the texts of one entity's fields. ``columns`` maps each field to where it stands in the file."""

    def __init__(self, fields: Mapping[str, Field], extra: FilesEntity, zone: ZoneInfo) -> None:
        self.extra = extra
        self.zone = zone
        self.fields = dict(fields)
        self.names = {field: extra.headers.get(field, field) for field in fields}
        self._nulls = frozenset(extra.nulls)
        self._booleans = {w.lower(): True for w in extra.true} | {w.lower(): False for w in extra.false}
        self._readers = {name: self._reader(field) for name, field in fields.items()}

    def of_text(self, field: str, text: str) -> Any:
        return self._readers[field](text)

    def of_texts(self, fields: list[str], texts: list[str]) -> dict[str, Any]:
        readers = self._readers
        return {field: readers[field](text) for field, text in zip(fields, texts, strict=False)}

    def of_cell(self, field: str, cell: Any) -> Any:
        """A typed cell of a spreadsheet."""
        if cell is None:
            return self.of_text(field, "")
        if isinstance(cell, str):
            return self.of_text(field, cell)
        return self._typed(self.fields[field].type, cell)

    def _typed(self, type_: t.Type, cell: Any) -> Any:
        if isinstance(cell, dt.datetime):
            if isinstance(type_, t.Date):
                return cell.date().isoformat()
            return self._instant(cell) if isinstance(type_, t.DateTime) else cell.isoformat()
        if isinstance(cell, dt.date | dt.time | dt.timedelta):
            return msgspec.to_builtins(cell)
        if isinstance(cell, float):
            if not math.isfinite(cell):
                return str(cell)
            cell = int(cell) if cell.is_integer() and not isinstance(type_, t.Decimal) else decimal.Decimal(repr(cell))
        if isinstance(type_, t.String | t.Enum) and not isinstance(cell, bool):
            return str(cell)
        if isinstance(type_, t.Decimal) and isinstance(cell, int) and not isinstance(cell, bool):
            return decimal.Decimal(cell)
        if isinstance(type_, t.Boolean) and cell in (0, 1):
            return bool(cell)
        return cell

    def _reader(self, field: Field) -> Convert:
        convert = self._by_type(field.type)
        nulls, trim = self._nulls, self.extra.trim
        empty = "" if isinstance(field.type, t.String) and not field.nullable else None

        def read(text: str) -> Any:
            if trim:
                text = text.strip()
            if not text:
                return empty
            if text in nulls:
                return None
            return convert(text)

        return read

    def _by_type(self, type_: t.Type) -> Convert:
        match type_:
            case t.Integer():
                return lambda text: int(text) if _INTEGER.fullmatch(text) else text
            case t.Decimal() | t.Float():
                return _decimal_comma if self.extra.decimal_comma else _decimal_point
            case t.Boolean():
                return lambda text: self._booleans.get(text.lower(), text)
            case t.Date():
                return self._date
            case t.DateTime():
                return self._datetime
            case t.Json() | t.List() | t.Object():
                return _json
            case _:
                return lambda text: text

    def _date(self, text: str) -> str:
        for form in self.extra.dates:
            try:
                return dt.datetime.strptime(text, form).date().isoformat()
            except ValueError:
                continue
        return text

    def _datetime(self, text: str) -> str:
        for form in self.extra.datetimes:
            try:
                return self._instant(dt.datetime.strptime(text, form))
            except (ValueError, OverflowError):
                continue
        try:
            return self._instant(dt.datetime.fromisoformat(text))
        except (ValueError, OverflowError):  # OverflowError: before year 1 or after 9999 in UTC
            return text

    def _instant(self, value: dt.datetime) -> str:
        whole = value if value.tzinfo else value.replace(tzinfo=self.zone)
        return whole.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")

    def to_text(self, field: str, value: Any) -> str:
        """A record's value as a text of the file."""
        match value:
            case None:
                return self.extra.nulls[0] if self.extra.nulls else ""
            case bool():
                return (self.extra.true if value else self.extra.false)[0]
            case decimal.Decimal():
                text = format(value, "f")
                return text.replace(".", ",") if self.extra.decimal_comma else text
            case dt.datetime():
                local = value.astimezone(self.zone)
                return local.strftime(self.extra.datetimes[0]) if self.extra.datetimes else local.isoformat()
            case dt.date():
                return value.strftime(self.extra.dates[0]) if self.extra.dates else value.isoformat()
            case dt.timedelta():
                return str(msgspec.to_builtins(value))
            case dict() | list():
                return encode_json(value).decode()
            case _:
                return str(value)


def _decimal_point(text: str) -> Any:
    return decimal.Decimal(text) if _POINT.fullmatch(text) else text


def _decimal_comma(text: str) -> Any:
    return decimal.Decimal(text.replace(".", "").replace(",", ".")) if _COMMA.fullmatch(text) else text


def _json(text: str) -> Any:
    try:
        return decode_json(text.encode())
    except msgspec.DecodeError:
        return text
