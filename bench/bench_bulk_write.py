"""Rows a second into a table: append, upsert of a table where a tenth has changed, replace; twelve columns, chunks of 50,000.

``python bench/bench_bulk_write.py [--rows N] [--targets postgresql,sqlite]``. The time is from begin to finish, durable; CPU is
of this process alone, without the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import running_postgres

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.spec import SqlEntity, SqlSettings
from accord.record import Entity, Field
from accord.record import types as t
from accord.record.columns import schema_of
from accord.sdk.bulk import CHUNK_ROWS, Chunk, LoadMode, LoadSpec
from accord.sdk.connector import Context

FIELDS = {
    "id": Field(type=t.Integer()),
    "customer": Field(type=t.String()),
    "email": Field(type=t.String()),
    "status": Field(type=t.String()),
    "country": Field(type=t.String()),
    "note": Field(type=t.String(), nullable=True),
    "quantity": Field(type=t.Integer()),
    "price": Field(type=t.Decimal()),
    "total": Field(type=t.Decimal()),
    "ordered": Field(type=t.Date()),
    "changed_at": Field(type=t.DateTime()),
    "is_paid": Field(type=t.Boolean()),
}
DDL = """CREATE TABLE sales (id BIGINT PRIMARY KEY, customer TEXT, email TEXT, status TEXT, country TEXT, note TEXT,
 quantity BIGINT, price NUMERIC(12,2), total NUMERIC(12,2), ordered DATE, changed_at {instant}, is_paid BOOLEAN)"""


def rows(count: int) -> pl.DataFrame:
    n = pl.int_range(count, eager=True)
    return pl.DataFrame(
        {
            "id": n,
            "customer": "Customer " + n.cast(pl.String),
            "email": "c" + n.cast(pl.String) + "@example.com",
            "status": pl.Series(["open", "paid", "sent"])[n % 3],
            "country": pl.Series(["DE", "FR", "DK", "NL"])[n % 4],
            "note": pl.select(pl.when(n % 5 == 0).then(pl.lit("a note, with a comma"))).to_series(),
            "quantity": n % 7 + 1,
            "price": (n % 10_000).cast(pl.Decimal(38, 10)) / 100,
            "total": (n % 70_000).cast(pl.Decimal(38, 10)) / 100,
            "ordered": pl.select(pl.date(2026, 1, 1) + pl.duration(days=n % 300)).to_series(),
            "changed_at": pl.select(pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(seconds=n)).to_series(),
            "is_paid": n % 3 == 1,
        }
    ).cast(dict(schema_of(FIELDS)))


async def load(url: str, folder: Path, mode: LoadMode, frame: pl.DataFrame) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    entity = Entity(name="erp.sales", fields=FIELDS, key=("id",), extra=SqlEntity(table="sales"))
    context = Context(system="erp", http=None, folder=folder, state_folder=folder)  # type: ignore[arg-type]
    connection = CONNECTOR.connect(SqlSettings(url=url), {"sales": entity}, context)
    await connection.open()
    began, cpu = time.perf_counter(), time.process_time()
    made = connection.load(entity, LoadSpec(id=f"bench {began}", mode=mode, key=("id",), fields=tuple(FIELDS)))  # type: ignore[attr-defined]
    await made.begin()
    gate = asyncio.Semaphore(made.at_once)

    async def write(number: int) -> None:
        async with gate:
            written = await made.write(Chunk(number, frame[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]))
            assert not written.rejects, written.rejects[:3]

    await asyncio.gather(*(write(number) for number in range(-(-len(frame) // CHUNK_ROWS))))
    await made.finish()
    taken = time.perf_counter() - began, time.process_time() - cpu
    await connection.close()
    return taken


async def bench(name: str, url: str, folder: Path, count: int) -> None:
    frame = rows(count)
    changed = frame.with_columns(quantity=pl.col("quantity") + (pl.col("id") % 10 == 0).cast(pl.Int64))
    for mode, given in ((LoadMode.APPEND, frame), (LoadMode.UPSERT, changed), (LoadMode.REPLACE, frame)):
        seconds, cpu = await load(url, folder, mode, given)
        print(
            f"{name:11} {mode:8} {count / seconds:>10,.0f} rows/s   {cpu / count * 1e6:6.2f} µs CPU a row", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--targets", default="postgresql,sqlite")
    given = parser.parse_args(arguments)
    print(f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {given.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "sqlite" in given.targets:
            with sqlite3.connect(folder / "sales.db") as db:
                db.execute(DDL.format(instant="TEXT"))
            db.close()
            asyncio.run(bench("sqlite", "sqlite:///sales.db", folder, given.rows))
        if "postgresql" in given.targets:
            with running_postgres(is_synced=True) as server:
                with psycopg.connect(server.url) as db:
                    db.execute(DDL.format(instant="TIMESTAMPTZ"))
                asyncio.run(bench("postgresql", server.url, folder, given.rows))


if __name__ == "__main__":
    main()
