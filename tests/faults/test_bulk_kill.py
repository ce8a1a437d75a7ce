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

import pytest
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


@pytest.mark.timeout(60 + KILLS * 20)
@pytest.mark.xdist_group("load")
def test_a_killed_load_is_taken_up_and_every_row_is_there_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    killed = 0
    modes = itertools.cycle(WRITES)
    for number in range(KILLS):
        mode = next(modes)
        folder = tmp_path / str(number)
        flow = NIGHTLY.replace("{write: warehouse.orders, mapping: order}", WRITES[mode])
        make(folder, flow.replace("steps:", "stop_after: 20% rejects\nsteps:"), **{"mappings/log.yaml": LOG})
        run_sql(folder / "warehouse.db", "INSERT INTO orders VALUES ('R1', 77), ('Z1', 1)")
        put_orders(folder, [(n, "test" if n % 10 == 0 else "x", -1 if n % 10 == 5 else n) for n in range(1, ROWS + 1)])
        point = POINTS[number % len(POINTS)]
        times = 1 if "finish" in point else chance.randint(1, CHUNKS)
        killed += accord(folder, f"bulk.{point}:{times}") == -signal.SIGKILL
        assert accord(folder) == 0
        expected = sorted((f"R{n}", n) for n in GOOD)
        if mode == "upsert":
            expected = sorted([*expected, ("Z1", 1)])
        assert rows_of(folder, "log" if mode == "append" else "orders") == expected, (mode, point, times)
        assert rejected(folder) == [str(n) for n in BAD], (mode, point, times)
    assert killed == KILLS
