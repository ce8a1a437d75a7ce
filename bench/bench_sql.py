"""Records per second written through the sql connector, one record per call, each with its effect id in the transaction.

    python bench/bench_sql.py [--seconds 2] [sqlite postgresql mariadb]

Columns: one call after another, and 64 callers at once (their writes share transactions). For PostgreSQL also the same
transaction by hand: psycopg on four threads, and psycopg's asyncio connections, with 64 callers on four connections.
Servers run with sync off (tests/servers.py), so this measures code and round trips, not a disk; SQLite syncs.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psycopg
from tests.connectors.sql.databases import TestDatabase, fresh, item
from tests.servers import running_mariadb, running_postgres

from accord.record import Done
from accord.sdk.connector import WriteMode

CALLERS = 64
DATA = "INSERT INTO products (sku, name, on_hand, version) VALUES (%s, 'n', 1, 1)"
EFFECT = "INSERT INTO accord_effects (effect_id, result, at) VALUES (%s, NULL, now())"


async def rate(write: Callable[[str], Awaitable[None]], seconds: float, callers: int) -> float:
    """Writes per second by so many callers, each waiting for its write."""
    end, count = time.perf_counter() + seconds, 0

    async def caller(who: int) -> None:
        nonlocal count
        number = 0
        while time.perf_counter() < end:
            number += 1
            await write(f"{callers}-{who}-{number}-{time.monotonic_ns()}")
            count += 1

    begin = time.perf_counter()
    await asyncio.gather(*(caller(who) for who in range(callers)))
    return count / (time.perf_counter() - begin)


async def connector(database: TestDatabase, seconds: float) -> None:
    products = database.entity("products")
    for mode in (WriteMode.CREATE, WriteMode.UPSERT):
        async with database.open() as connection:

            async def write(key: str, mode: WriteMode = mode) -> None:
                record = {"sku": key, "name": "n", "on_hand": 1, "version": 1}
                outcome = await connection.write(products, mode, [item(record, key)])
                assert isinstance(outcome, Done), outcome

            await write(f"warm-{mode}")
            alone, many = await rate(write, seconds, 1), await rate(write, seconds, CALLERS)
        print(f"{database.name:<11} {mode:<7} {alone:>9,.0f}/s {many:>9,.0f}/s")


async def by_hand(database: TestDatabase, seconds: float) -> None:
    address = database.url
    local = threading.local()
    pool = concurrent.futures.ThreadPoolExecutor(4)

    def one(key: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(address)
        local.connection.execute(DATA, (key,))
        local.connection.execute(EFFECT, (key,))
        local.connection.commit()

    async def threaded(key: str) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, one, key)

    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(4):
        free.put_nowait(await psycopg.AsyncConnection.connect(address))

    async def asynchronous(key: str) -> None:
        connection = await free.get()
        await connection.execute(DATA, (key,))
        await connection.execute(EFFECT, (key,))
        await connection.commit()
        free.put_nowait(connection)

    for name, write in (("4 threads", threaded), ("asyncio", asynchronous)):
        alone, many = await rate(write, seconds, 1), await rate(write, seconds, CALLERS)
        print(f"{'by hand':<11} {name:<9} {alone:>7,.0f}/s {many:>9,.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("databases", nargs="*", default=["sqlite", "postgresql", "mariadb"])
    chosen = parser.parse_args()
    servers: dict[str, Any] = {"postgresql": running_postgres, "mariadb": running_mariadb}
    print(f"{'database':<11} {'mode':<7} {'one caller':>11} {CALLERS:>5} callers")
    for name in chosen.databases:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            server = stack.enter_context(servers[name]()) if name in servers else None
            database = fresh(name, Path(folder), server)
            asyncio.run(connector(database, chosen.seconds))
            if name == "postgresql":
                asyncio.run(by_hand(database, chosen.seconds))


if __name__ == "__main__":
    main()
