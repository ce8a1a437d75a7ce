"""Parquet, read a stretch of rows at a time; resumed by row number. Pure but for the file given."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from accord.connectors.files.rows import Mark, Row, Unreadable
from accord.connectors.files.spec import FilesEntity
from accord.connectors.files.values import Converter
from accord.record import types as t

ROWS_AT_ONCE = 10_000


class ParquetReader:
    """Columns by name. Times without a zone are of the system's."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.converter = converter

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        try:
            import polars as pl
        except ImportError:
            raise Unreadable("Parquet needs the package polars: pip install 'accord-integration[bulk]'") from None
        number = mark.number
        try:
            names = pl.read_parquet_schema(file)
            found = {field: name for field, name in self.converter.names.items() if name in names}
            while True:
                file.seek(0)
                part = pl.scan_parquet(file).select(list(found.values())).slice(number, ROWS_AT_ONCE).collect()
                for values in part.iter_rows():
                    number += 1
                    pairs = zip(found, values, strict=True)
                    yield Row({field: self._plain(field, value) for field, value in pairs}, number, 0)
                if part.height < ROWS_AT_ONCE:
                    return
        except pl.exceptions.PolarsError as error:
            raise Unreadable(f"the Parquet file cannot be read: {type(error).__name__}") from None

    def _plain(self, field: str, value: Any) -> Any:
        type_ = self.converter.fields[field].type
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, dt.date) or (isinstance(value, float) and not isinstance(type_, t.Float)):
            return self.converter.of_cell(field, value)
        return msgspec.to_builtins(value, builtin_types=(decimal.Decimal,))
