"""Loads are killed (SIGKILL) at every point of a chunk's way, in every mode: after the rerun the target is what it should be, the
rejects are what they should be, and no row is there twice.

``ACCORD_BULK_KILLS`` sets how many kills there are; each is one process of `accord bulk run`, and one more takes the run up.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from tests.servers import PostgresServer, postgres  # noqa: F401 - the fixture
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, rows_of, run_sql

KILLS = int(os.environ.get("ACCORD_BULK_KILLS", "6"))
CHUNKS = 8
ROWS = CHUNKS * 10
POINTS = ("before-write", "after-write", "before-checkpoint", "after-checkpoint", "before-finish", "after-finish")
GOOD = [n for n in range(1, ROWS + 1) if n % 10 not in (0, 5)]
BAD = [n for n in range(1, ROWS + 1) if n % 10 == 5]
WRITES = {
    "append": "{write: warehouse.log, mapping: log, mode: append}",
    "upsert": "{write: warehouse.orders, mapping: order, mode: upsert}",
    "replace": "{write: warehouse.orders, mapping: order, mode: replace}",
    "delete_missing": "{write: warehouse.orders, mapping: order, mode: delete_missing, deleted_share_max: 1}",
}
LOG = "mapping: log\nfrom: shop.orders\nto: warehouse.log\nfields: {number: '\"R\" + text(id)', total: total}\n"


def accord(folder: Path, crash: str = "") -> int:
    """`accord bulk run`, killed at this point if it comes there; its exit code (negative: the signal)."""
    environment = {**os.environ, "ACCORD_CRASH": crash} if crash else dict(os.environ)
    command = [sys.executable, "-m", "accord.cli.main", "bulk", "run", "nightly", "-p", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode


def rejected(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / ".accord/journal.db")) as db:
        found = db.execute("SELECT key FROM messages WHERE state = 11 ORDER BY CAST(key AS INTEGER)").fetchall()
    return [key for (key,) in found]


def prepared(folder: Path, mode: str, warehouse: str = "") -> None:
    """A project that loads the shop's orders in this mode. ``warehouse``: another system file for the target."""
    flow = NIGHTLY.replace("{write: warehouse.orders, mapping: order}", WRITES[mode])
    more = {"systems/warehouse.yaml": warehouse} if warehouse else {}
    make(folder, flow.replace("steps:", "stop_after: 20% rejects\nsteps:"), **{"mappings/log.yaml": LOG, **more})
    put_orders(folder, [(n, "test" if n % 10 == 0 else "x", -1 if n % 10 == 5 else n) for n in range(1, ROWS + 1)])


def expected(mode: str) -> list[tuple[str, int]]:
    found = [(f"R{n}", n) for n in GOOD]
    return sorted([*found, ("Z1", 1)] if mode == "upsert" else found)


def killed_at(number: int, chance: random.Random) -> str:
    point = POINTS[number % len(POINTS)]
    return f"bulk.{point}:{1 if 'finish' in point else chance.randint(1, CHUNKS)}"


@pytest.mark.timeout(60 + KILLS * 20)
@pytest.mark.xdist_group("load")
def test_a_killed_load_is_taken_up_and_every_row_is_there_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number, mode in zip(range(KILLS), itertools.cycle(WRITES), strict=False):
        folder = tmp_path / str(number)
        prepared(folder, mode)
        run_sql(folder / "warehouse.db", "INSERT INTO orders VALUES ('R1', 77), ('Z1', 1)")
        point = killed_at(number, chance)
        assert accord(folder, point) == -signal.SIGKILL, (mode, point)
        assert accord(folder) == 0
        assert rows_of(folder, "log" if mode == "append" else "orders") == expected(mode), (mode, point)
        assert rejected(folder) == [str(n) for n in BAD], (mode, point)


@pytest.mark.timeout(60 + KILLS * 20)
@pytest.mark.xdist_group("load")
def test_the_same_into_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:  # noqa: F811
    chance = random.Random(11)
    for number, mode in zip(range(2, 2 + max(4, KILLS - 2)), itertools.cycle(WRITES), strict=False):
        folder = tmp_path / str(number)
        schema = f"killed_{number}"
        url = f"postgresql+psycopg://accord@127.0.0.1:{postgres.port}/postgres"
        tables = "".join(
            f"  {name}: {{table: {schema}.{name}, key: number, fields: {{number: string, total: decimal}}}}\n"
            for name in ("orders", "log")
        )
        prepared(folder, mode, f'system: warehouse\nconnector: sql\nsettings: {{url: "{url}"}}\nentities:\n{tables}')
        with psycopg.connect(f"postgresql://accord@127.0.0.1:{postgres.port}/postgres", autocommit=True) as db:
            db.execute(f"CREATE SCHEMA {schema}")
            db.execute(f"CREATE TABLE {schema}.orders (number text PRIMARY KEY, total numeric)")
            db.execute(f"CREATE TABLE {schema}.log (number text, total numeric)")
            db.execute(f"INSERT INTO {schema}.orders VALUES ('R1', 77), ('Z1', 1)")
            point = killed_at(number, chance)
            assert accord(folder, point) == -signal.SIGKILL, (mode, point)
            assert accord(folder) == 0
            table = f"{schema}.{'log' if mode == 'append' else 'orders'}"
            found = db.execute(f'SELECT number, total FROM {table} ORDER BY number COLLATE "C"').fetchall()
        assert found == expected(mode), (mode, point)
        assert rejected(folder) == [str(n) for n in BAD], (mode, point)
