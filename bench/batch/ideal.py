"""The same work by hand, in Polars and COPY: ``python -m batch.ideal csv|upsert|parquet|jsonl|http SOURCE TARGET REJECTS``.

Checks and mapping are those of `projects.py`; rejects go to a file. Reading and mapping overlap with writing in one other thread. Nothing
is remembered: killed, it begins anew. The last line says the seconds without the start of the process.
"""

from __future__ import annotations

import itertools
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import psycopg

REGIONS = {"DE": "home", "FR": "near", "IT": "near", "GB": "near", "SE": "near", "US": "far", "JP": "far"}
STATUSES = ["open", "paid", "shipped", "cancelled"]
MONEY = pl.Decimal(14, 2)
ROWS = 100_000
PAGES_AT_ONCE = 8
BYTES = 16_000_000
NUMBERS = ("id", "quantity", "total", "discount")
NAMES = (
    "id",
    "number",
    "customer",
    "email",
    "status",
    "quantity",
    "total",
    "discount",
    "ordered_on",
    "updated_at",
    "country",
    "note",
)
TEXTS = dict.fromkeys(NAMES, pl.String)
LINE = pl.List(pl.Struct({"sku": pl.String, "quantity": pl.Int64, "price": pl.String}))


def checked(texts: pl.DataFrame, rejects: Path) -> pl.DataFrame:
    typed = texts.with_columns(
        pl.col("id", "quantity").cast(pl.Int64, strict=False),
        pl.col("total", "discount").cast(MONEY, strict=False),
        pl.col("ordered_on").cast(pl.String).str.to_date("%Y-%m-%d", strict=False),
        _instant(texts.schema["updated_at"]),
    )
    required = [name for name in NAMES if name not in ("discount", "note")]
    is_good = (
        pl.all_horizontal(pl.col(required).is_not_null())
        & pl.col("status").is_in(STATUSES).fill_null(False)
        & (pl.col("customer").str.len_bytes() > 0).fill_null(False)
        & (pl.col("discount").is_not_null() | texts["discount"].is_null())
    )
    mask = typed.select(is_good).to_series()
    bad = texts.filter(~mask)
    if bad.height:
        with rejects.open("ab") as file:
            bad.write_ndjson(file)
    return typed.filter(mask)


def _instant(kind: pl.DataType) -> pl.Expr:
    if kind == pl.String:
        return pl.col("updated_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us", strict=False)
    return pl.col("updated_at")


def mapped(good: pl.DataFrame) -> pl.DataFrame:
    return good.select(
        "id",
        ("S-" + pl.col("number")).alias("reference"),
        pl.col("customer").str.strip_chars(),
        pl.col("email").str.to_lowercase(),
        (pl.col("status") == "open").alias("is_open"),
        "quantity",
        (pl.col("total") - pl.col("discount").fill_null(0)).cast(MONEY).alias("net"),
        (pl.col("total") * pl.col("quantity")).cast(MONEY).alias("gross"),
        (pl.col("ordered_on") + pl.duration(days=14)).alias("due"),
        "updated_at",
        pl.col("country").replace_strict(REGIONS, default="other").alias("region"),
        pl.col("note").fill_null(""),
    )


def ahead(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames, made in another thread while the last ones are written."""
    ready: queue.Queue[pl.DataFrame | BaseException | None] = queue.Queue(2)

    def make() -> None:
        try:
            for frame in frames:
                ready.put(frame)
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            ready.put(error)

    threading.Thread(target=make, daemon=True).start()
    while (frame := ready.get()) is not None:
        if isinstance(frame, BaseException):
            raise frame
        yield frame


def copy(connection: psycopg.Connection, table: str, frames: Iterable[pl.DataFrame]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv)") as out:
        for frame in frames:
            out.write(frame.write_csv(include_header=False, quote_style="non_numeric", null_value="").encode())


def of_csv(source: str) -> Iterator[pl.DataFrame]:
    texts = pl.read_csv(source, schema=TEXTS)
    yield from texts.iter_slices(ROWS)


def of_postgresql(url: str) -> Iterator[pl.DataFrame]:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        with cursor.copy("COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT csv)") as out:
            parts: list[bytes] = []
            size = 0
            for row in out:
                parts.append(bytes(row))
                size += len(row)
                if size > BYTES:
                    yield _of_copied(b"".join(parts))
                    parts, size = [], 0
            if parts:
                yield _of_copied(b"".join(parts))


def _of_copied(text: bytes) -> pl.DataFrame:
    when = pl.col("updated_at").str.to_datetime("%Y-%m-%d %H:%M:%S%#z", time_unit="us", time_zone="UTC")
    return pl.read_csv(text, schema=TEXTS, has_header=False).with_columns(when)


def of_http(address: str) -> Iterator[pl.DataFrame]:
    place, local = urlsplit(address), threading.local()

    def page(number: int) -> bytes:
        if not hasattr(local, "connection"):
            local.connection = HTTPConnection(place.hostname or "", place.port)
        local.connection.request("GET", f"/orders?page={number}&limit=500")
        return bytes(local.connection.getresponse().read())

    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        for first in itertools.count(1, 4 * PAGES_AT_ONCE):
            bodies = list(pool.map(page, range(first, first + 4 * PAGES_AT_ONCE)))
            full = [body[10:-2] for body in bodies if len(body) > 20]
            if full:
                yield pl.read_json(b"[" + b",".join(full) + b"]", schema=TEXTS)
            if len(full) < len(bodies):
                return


def append(source: Iterable[pl.DataFrame], target: str, rejects: Path) -> None:
    with psycopg.connect(target) as connection:
        copy(connection, "entries", ahead(mapped(checked(texts, rejects)) for texts in source))


def upsert(source: Iterable[pl.DataFrame], target: str, rejects: Path) -> None:
    with psycopg.connect(target) as connection:
        connection.execute("CREATE TEMP TABLE staged (LIKE entries) ON COMMIT DROP")
        copy(connection, "staged", ahead(mapped(checked(texts, rejects)) for texts in source))
        names = [row[0] for row in connection.execute("SELECT * FROM entries LIMIT 0").description or ()]
        sets = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        connection.execute(
            f"INSERT INTO entries SELECT * FROM staged ON CONFLICT (id) DO UPDATE SET {sets} "
            f"WHERE entries IS DISTINCT FROM excluded"
        )


def parquet(source: Iterable[pl.DataFrame], target: str, rejects: Path) -> None:
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(ahead(mapped(checked(texts, rejects)) for texts in source)):
        frame.write_parquet(folder / f"{number}.parquet")


def jsonl(source: str, target: str, rejects: Path) -> None:
    texts = pl.read_ndjson(source, schema={**TEXTS, "lines": LINE})
    with psycopg.connect(target) as connection, psycopg.connect(target) as second:
        for part in texts.iter_slices(ROWS):
            good = checked(part, rejects)
            lines = (
                good.select(pl.col("id").alias("order_id"), "lines")
                .explode("lines")
                .unnest("lines")
                .select(
                    "order_id", "sku", (pl.col("price").cast(MONEY) * pl.col("quantity")).cast(MONEY).alias("amount")
                )
            )
            other = threading.Thread(target=copy, args=(second, "lines", [lines]))
            other.start()
            copy(connection, "entries", [mapped(good)])
            other.join()


WORK: dict[str, Callable[[str, str, Path], None]] = {
    "csv": lambda source, target, rejects: append(of_csv(source), target, rejects),
    "upsert": lambda source, target, rejects: upsert(of_csv(source), target, rejects),
    "parquet": lambda source, target, rejects: parquet(of_postgresql(source), target, rejects),
    "http": lambda source, target, rejects: append(of_http(source), target, rejects),
    "jsonl": jsonl,
}


def main() -> None:
    what, source, target, rejects = sys.argv[1:]
    began = time.perf_counter()
    WORK[what](source, target, Path(rejects))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
