"""PostgreSQL: a frame as the text of COPY … (FORMAT csv).

Polars writes the text in its own threads, so a row costs this process about a microsecond; the server reads it as fast as its
binary format. Strings are always quoted: an empty one is not null, and ``\\.`` alone on a line does not end the data.
Source: PostgreSQL documentation, COPY, "CSV Format".
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from accord.connectors.sql.bulk.table import LoadTable
from accord.connectors.sql.database import as_sqlalchemy
from accord.connectors.sql.values import ColumnShape, plain
from accord.record import types as t
from accord.sdk.http import encode_json

if TYPE_CHECKING:
    import polars

PIECE_SIZE_BYTES = 1 << 20  # given to the driver at once
_PLACES = (0, 2, 4, 6, 10)


def text_of(table: LoadTable, frame: polars.DataFrame, zone: ZoneInfo) -> memoryview:
    """The rows' CSV text, in the order of ``table.columns``."""
    import polars as pl

    columns = table.plan.columns
    made = []
    for field in table.fields:
        shape = columns.shapes[field]
        made.append(_column(frame[field], columns.fields[field].type, shape, zone, columns.scaled.get(field)))
    text = io.BytesIO()
    pl.DataFrame(made).write_csv(text, include_header=False, quote_style="non_numeric")
    return text.getbuffer()


def _column(
    series: polars.Series, type_: t.Type, shape: ColumnShape, zone: ZoneInfo, scaled: int | None
) -> polars.Series:
    import polars as pl

    match type_:
        case t.Decimal() | t.Integer() if scaled is not None:
            moved = (series.cast(pl.Decimal(38, 10)) * 10**scaled).alias(series.name)
            return _shortest(moved)
        case t.Decimal():
            return _shortest(series)
        case t.DateTime() if shape.zoned:
            return series.dt.replace_time_zone(None).dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00")
        case t.DateTime():
            return series.dt.convert_time_zone(str(zone)).dt.replace_time_zone(None)
        case t.Duration():
            return series.dt.total_microseconds().cast(pl.String) + " microseconds"
        case t.List() | t.Object():
            values = [None if v is None else encode_json(plain(v)).decode() for v in series.to_list()]
            return pl.Series(series.name, values, pl.String)
        case t.String() if shape.kind == "bytes":
            return "\\x" + series.str.encode("hex")
        case _:
            return series


def _shortest(series: polars.Series) -> polars.Series:
    """Decimals with as few places as all of them need: a column of two places is half the text."""
    import polars as pl

    for places in _PLACES[:-1]:
        short = series.cast(pl.Decimal(38, places), strict=False)
        if (short.cast(series.dtype).eq_missing(series)).all():
            return short
    return series


def copy(connection: Any, target: str, text: memoryview) -> None:
    """``connection``: SQLAlchemy's, inside a transaction. Raises SQLAlchemy's error."""
    driver = connection.connection.driver_connection
    with (
        as_sqlalchemy(connection, "COPY"),
        driver.cursor() as cursor,
        cursor.copy(f"COPY {target} FROM STDIN (FORMAT csv)") as out,
    ):
        for start in range(0, len(text), PIECE_SIZE_BYTES):
            out.write(text[start : start + PIECE_SIZE_BYTES])
