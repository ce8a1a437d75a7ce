"""What a target must hold, said apart from what is measured: from the generator in whole numbers, and of a target by SQL."""

from __future__ import annotations

import math
from pathlib import Path

import batch_data
import duckdb
import msgspec
import polars as pl
import psycopg

from batch.ideal import REGIONS, STATUSES

SUMS = """SELECT count(*), coalesce(sum(id), 0), coalesce(sum(net), 0) * 100, coalesce(sum(gross), 0) * 100,
 coalesce(sum(length(reference) + length(customer) + length(email) + length(region) + length(note)), 0),
 count(*) FILTER (WHERE is_open), coalesce(sum(quantity), 0), coalesce(sum(due - DATE '2025-01-01'), 0),
 coalesce(sum(extract(epoch FROM updated_at)), 0) FROM """
LINE_SUMS = (
    "SELECT count(*), coalesce(sum(order_id), 0), coalesce(sum(amount), 0) * 100, coalesce(sum(length(sku)), 0) FROM "
)


class Expected(msgspec.Struct, frozen=True):
    sums: tuple[int, ...]
    rejects: int
    line_sums: tuple[int, ...] = ()


def orders(rows: int, *, bad: float, changed: float = 0.0, bad_ids: int = 0) -> Expected:
    """``bad_ids``: each order whose id leaves 7 when divided by it is bad too."""
    sums, line_sums, good_rows = [0] * 9, [0] * 4, 0
    for texts in batch_data.parts(rows, bad=bad, changed=changed):
        good = texts.filter(
            pl.col("customer").is_not_null(),
            pl.col("status").is_in(STATUSES),
            pl.col("quantity") != "many",
            pl.col("total") != "12.5O",
            pl.col("ordered_on") != "2025-02-30",
        )
        if bad_ids:
            good = good.filter(pl.col("id").cast(pl.Int64) % bad_ids != 7)
        good_rows += good.height
        _add(sums, _sums(good))
        _add(line_sums, _line_sums(good))
    return Expected(tuple(sums), rows - good_rows, tuple(line_sums))


def _sums(good: pl.DataFrame) -> list[int]:
    total, discount = (pl.col(name).str.replace(".", "", literal=True).cast(pl.Int64) for name in ("total", "discount"))
    region = pl.col("country").replace_strict(REGIONS, default="other")
    texts = [pl.col("number"), pl.col("customer"), pl.col("email"), region, pl.col("note").fill_null("")]
    length = pl.sum_horizontal(text.str.len_chars().cast(pl.Int64) for text in texts) + 2
    found = good.select(
        pl.len().cast(pl.Int64).alias("0"),
        pl.col("id").cast(pl.Int64).sum().alias("1"),
        (total - discount.fill_null(0)).sum().alias("2"),
        (total * pl.col("quantity").cast(pl.Int64)).sum().alias("3"),
        length.sum().alias("4"),
        (pl.col("status") == "open").sum().cast(pl.Int64).alias("5"),
        pl.col("quantity").cast(pl.Int64).sum().alias("6"),
        ((pl.col("ordered_on").str.to_date("%Y-%m-%d") - pl.date(2025, 1, 1)).dt.total_days() + 14).sum().alias("7"),
        pl.col("updated_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("s").sum().alias("8"),
    )
    return [int(value or 0) for value in found.row(0)]


def _line_sums(good: pl.DataFrame) -> list[int]:
    """Lines 1 to 3 of each order: pieces 1 to 3, each for ``quantity`` and ten cents; ``SKU-n-`` and the id's last three digits."""
    number, quantity = pl.col("id").cast(pl.Int64), pl.col("quantity").cast(pl.Int64)
    found = good.select(
        (pl.len().cast(pl.Int64) * 3).alias("0"),
        (number.sum() * 3).alias("1"),
        ((quantity * 100 + 10) * 6).sum().alias("2"),
        ((pl.col("id").str.len_chars().cast(pl.Int64).clip(upper_bound=3) + 6) * 3).sum().alias("3"),
    )
    return [int(value or 0) for value in found.row(0)]


def _add(total: list[int], more: list[int]) -> None:
    total[:] = [a + b for a, b in zip(total, more, strict=True)]


def in_postgresql(url: str, table: str, sums: str = SUMS) -> tuple[int, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(sums + table).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


def in_parquet(folder: Path) -> tuple[int, ...]:
    files = f"read_parquet('{folder}/**/*.parquet')"
    row = duckdb.connect().execute(SUMS + files).fetchone()
    assert row is not None
    return tuple(math.floor(float(value) + 0.5) if isinstance(value, float) else int(value) for value in row)


def count_parquet(folder: Path) -> int:
    row = duckdb.connect().execute(f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet')").fetchone()
    assert row is not None
    return int(row[0])
