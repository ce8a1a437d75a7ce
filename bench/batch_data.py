"""Orders for the batch bench, the same for the same seed: 12 columns, one row in a hundred bad.

    python bench/batch_data.py csv FILE --rows 1000000 [--seed 1] [--bad 0.01] [--changed 0.1]
    python bench/batch_data.py jsonl FILE --rows 500000          orders with three lines each
    python bench/batch_data.py postgresql URL --rows 1000000     table `orders`, typed, clean (a database holds no bad types)
    python bench/batch_data.py serve --rows 200000 --page 500    GET /orders?page=1&limit=500; prints its address

``--changed 0.1``: the same orders a day later, one in ten with another total, status and ``updated_at``.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl

ROWS_AT_ONCE = 250_000
STATUSES = ("open", "paid", "shipped", "cancelled")
COUNTRIES = ("DE", "FR", "GB", "US", "JP", "BR", "SE", "IT")
FIRST = (
    "Ada",
    "Björn",
    "Chloé",
    "Dmitri",
    "Élodie",
    "François",
    "Grażyna",
    "Håkon",
    "İpek",
    "José",
    "Kateřina",
    "Łukasz",
    "山田",
    "Zoë",
)
LAST = (
    "Lovelace",
    "Ångström",
    "Nuñez",
    "Özdemir",
    "O'Brien",
    "Müller",
    "Søren",
    "Ćosić",
    "太郎",
    "Smith-Jones",
    "van der Berg",
)
NOTES = ("please ring twice", "gift wrap, no invoice", "leave at the door", 'say "hello"', "naïve café – façade")
CREATE = """CREATE TABLE {table} (id bigint PRIMARY KEY, number text NOT NULL, customer text NOT NULL, email text NOT NULL,
    status text NOT NULL, quantity integer NOT NULL, total numeric(12, 2) NOT NULL, discount numeric(12, 2), ordered_on date NOT NULL,
    updated_at timestamptz NOT NULL, country text NOT NULL, note text)"""
FIELDS = {
    "id": "integer",
    "number": "string",
    "customer": {"type": "string", "length_min": 1},
    "email": "string",
    "status": {"enum": list(STATUSES)},
    "quantity": "integer",
    "total": "decimal",
    "discount": "decimal?",
    "ordered_on": "date",
    "updated_at": "datetime",
    "country": "string",
    "note": "string?",
}


def _random(column: str, seed: int, below: int) -> pl.Expr:
    """A whole number below ``below`` for each ``i``: splitmix64's finaliser, so that rows need no generator's state."""
    salt = (sum(column.encode()) * 7919 + seed * 104_729) % 2**32
    x = pl.col("i").cast(pl.UInt64) * pl.lit(0x9E3779B97F4A7C15, pl.UInt64) + pl.lit(salt, pl.UInt64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x // pl.lit(2**shift, pl.UInt64))) * pl.lit(factor, pl.UInt64)
    return ((x // pl.lit(2**31, pl.UInt64)) % pl.lit(below, pl.UInt64)).cast(pl.Int64)


def _one_of(values: tuple[str, ...], column: str, seed: int) -> pl.Expr:
    return pl.lit(pl.Series(values)).gather(_random(column, seed, len(values)))


def frame(first: int, rows: int, *, seed: int = 1, bad: float = 0.0, changed: float = 0.0) -> pl.DataFrame:
    """Orders ``first`` to ``first + rows - 1`` as texts, as they stand in a file."""
    is_changed = _random("changed", seed, 10_000) < int(changed * 10_000)
    cents = _random("total", seed, 5_000_000) + 1 + is_changed.cast(pl.Int64)
    name = pl.concat_str(_one_of(FIRST, "first", seed), pl.lit(" "), _one_of(LAST, "last", seed))
    seconds = _random("updated", seed, 86_400 * 365) + pl.when(is_changed).then(86_400 * 365).otherwise(0)
    made = pl.DataFrame({"i": pl.int_range(first, first + rows, eager=True)}).select(
        pl.col("i").cast(pl.String).alias("id"),
        pl.concat_str(pl.lit("SO-"), pl.col("i").cast(pl.String).str.zfill(8)).alias("number"),
        name.alias("customer"),
        pl.concat_str(pl.lit("c"), _random("email", seed, 300_000).cast(pl.String), pl.lit("@example.com")).alias(
            "email"
        ),
        pl.when(is_changed).then(pl.lit("shipped")).otherwise(_one_of(STATUSES, "status", seed)).alias("status"),
        (_random("quantity", seed, 40) + 1).cast(pl.String).alias("quantity"),
        _money(cents).alias("total"),
        pl.when(_random("discounted", seed, 3) == 0).then(_money(cents // 10)).alias("discount"),
        (pl.date(2025, 1, 1) + pl.duration(days=_random("day", seed, 365)))
        .dt.to_string("%Y-%m-%d")
        .alias("ordered_on"),
        (pl.datetime(2025, 1, 1) + pl.duration(seconds=seconds)).dt.to_string("%Y-%m-%dT%H:%M:%SZ").alias("updated_at"),
        _one_of(COUNTRIES, "country", seed).alias("country"),
        pl.when(_random("noted", seed, 4) == 0).then(_one_of(NOTES, "note", seed)).alias("note"),
        pl.when(_random("bad", seed, 10_000) < int(bad * 10_000)).then(_random("kind", seed, 5)).alias("bad"),
    )
    wrong = {"total": "12.5O", "ordered_on": "2025-02-30", "status": "unheard-of", "quantity": "many", "customer": None}
    return made.with_columns(
        pl.when(pl.col("bad") == kind).then(pl.lit(value, pl.String)).otherwise(pl.col(column)).alias(column)
        for kind, (column, value) in enumerate(wrong.items())
    ).drop("bad")


def _money(cents: pl.Expr) -> pl.Expr:
    return pl.concat_str((cents // 100).cast(pl.String), pl.lit("."), (cents % 100).cast(pl.String).str.zfill(2))


def typed(texts: pl.DataFrame) -> pl.DataFrame:
    """Clean orders in the types of the PostgreSQL table."""
    return texts.with_columns(
        pl.col("id", "quantity").cast(pl.Int64),
        pl.col("total", "discount").cast(pl.Decimal(12, 2)),
        pl.col("ordered_on").str.to_date("%Y-%m-%d"),
        pl.col("updated_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC"),
    )


def parts(rows: int, **how: float) -> Iterator[pl.DataFrame]:
    for first in range(1, rows + 1, ROWS_AT_ONCE):
        yield frame(first, min(ROWS_AT_ONCE, rows + 1 - first), **how)  # type: ignore[arg-type]


def write_csv(path: Path, rows: int, **how: float) -> None:
    with path.open("wb") as file:
        for place, part in enumerate(parts(rows, **how)):
            part.write_csv(file, include_header=place == 0)


def objects(texts: pl.DataFrame, *, with_lines: bool) -> list[bytes]:
    """One JSON object per order; numbers that are none stay strings."""
    numbers = [
        pl.when(pl.col(name).str.contains(r"^[0-9.]+$"))
        .then(pl.col(name))
        .otherwise('"' + pl.col(name) + '"')
        .alias(name)
        for name in ("id", "quantity", "total", "discount")
    ]
    strings = [
        (
            '"'
            + pl.col(name).str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
            + '"'
        ).alias(name)
        for name in ("number", "customer", "email", "status", "ordered_on", "updated_at", "country", "note")
    ]
    members = [pl.concat_str(pl.lit(f'"{n}": '), pl.col(n).fill_null("null")) for n in FIELDS]
    if with_lines:
        price = pl.concat_str(pl.col("quantity"), pl.lit(".10"))
        line = [
            pl.concat_str(
                pl.lit(f'{{"sku": "SKU-{n}-'),
                pl.col("id").str.tail(3),
                pl.lit(f'", "quantity": {n}, "price": '),
                price,
                pl.lit("}"),
            )
            for n in (1, 2, 3)
        ]
        clean = pl.when(pl.col("quantity").str.contains("^[0-9]+$")).then(pl.concat_str(line, separator=", "))
        members.append(pl.concat_str(pl.lit('"lines": ['), clean.fill_null(""), pl.lit("]")))
    made = texts.with_columns(strings).with_columns(numbers) if not with_lines else texts.with_columns(strings)
    if with_lines:
        lines = made.select(members[-1].alias("lines"))
        made = pl.concat([made.with_columns(numbers), lines], how="horizontal")
        members[-1] = pl.col("lines")
    whole = made.select(pl.concat_str(pl.lit("{"), pl.concat_str(members, separator=", "), pl.lit("}")).alias("o"))
    return [text.encode() for text in whole["o"]]


def write_jsonl(path: Path, rows: int, **how: float) -> None:
    with path.open("wb") as file:
        for part in parts(rows, **how):
            file.write(b"\n".join(objects(part, with_lines=True)) + b"\n")


def write_postgresql(url: str, rows: int, *, table: str = "orders", **how: float) -> None:
    import psycopg

    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(CREATE.format(table=table))
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy:
            for part in parts(rows, **how):
                copy.write(part.write_csv(include_header=False).encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"VACUUM ANALYZE {table}")


class Api:
    """``GET /orders?page=N``: the orders of a page under ``data``, made beforehand, so that a client is measured."""

    def __init__(self, rows: int, page: int, **how: float) -> None:
        found = [each for part in parts(rows, **how) for each in objects(part, with_lines=False)]
        self.pages = [_answer(found[at : at + page]) for at in range(0, len(found), page)]

    async def serve(self, port: int = 0) -> asyncio.Server:
        return await asyncio.start_server(self._client, "127.0.0.1", port)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
                number = int(query.get("page", ["1"])[0])
                writer.write(self.pages[number - 1] if number <= len(self.pages) else _answer([]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()


def _answer(records: list[bytes]) -> bytes:
    body = b'{"data": [' + b", ".join(records) + b"]}"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(rows: int, page: int, port: int, how: dict[str, float]) -> None:
    server = await Api(rows, page, **how).serve(port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("csv", "jsonl", "postgresql", "serve"))
    parser.add_argument("to", nargs="?", default="")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--page", type=int, default=500)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bad", type=float, default=0.01)
    parser.add_argument("--changed", type=float, default=0.0)
    given = parser.parse_args()
    how = {"seed": given.seed, "bad": given.bad, "changed": given.changed}
    match given.what:
        case "csv":
            write_csv(Path(given.to), given.rows, **how)
        case "jsonl":
            write_jsonl(Path(given.to), given.rows, **how)
        case "postgresql":
            write_postgresql(given.to, given.rows, **{**how, "bad": 0.0})
        case _:
            asyncio.run(_serve(given.rows, given.page, given.port, how))


if __name__ == "__main__":
    main()
