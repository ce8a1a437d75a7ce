"""Loads into every target, in every mode, are killed (SIGKILL) at random moments and at every point of a chunk's way: after the rerun the
target is what it should be, the rejects are what they should be, and no row is there twice. `make crash-bulk` does more of it.

``ACCORD_BULK_KILLS`` sets how many kills at random moments each target gets over its modes.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.servers import MariaServer, PostgresServer, mariadb, postgres

from accord.testing.bulk_crash import Plan, Target, run_laboratory, targets_of

__all__ = ["mariadb", "postgres"]  # fixtures

KILLS = int(os.environ.get("ACCORD_BULK_KILLS", "5"))
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(120 + KILLS * 20)]


def held(folder: Path, targets: list[Target]) -> None:
    """A crash point in each mode of a target, others each time, and the kills at random moments."""
    plan = Plan(kills=KILLS, rows=640, seed=int(time.time()), points_every=8, is_measured_often=False)
    report = asyncio.run(run_laboratory(folder, plan, targets))
    assert report.faults == [], report.table()
    for cell in report.cells:
        assert cell.lost == cell.twice == cell.rejects_wrong == 0, cell
        assert cell.rows > 0, cell
        assert cell.at_points > 0, cell
        assert cell.reruns > 0, cell
    for target in targets:
        assert report.kills_of(target.name) >= KILLS


def test_killed_loads_into_files_of_databases(tmp_path: Path) -> None:
    held(tmp_path, targets_of(["sqlite", "duckdb"]))


def test_killed_loads_into_data_sets(tmp_path: Path) -> None:
    held(tmp_path, targets_of(["parquet"]))


@pytest.mark.server
def test_killed_loads_into_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.url.replace("postgresql:", "postgresql+psycopg:")
    held(tmp_path, targets_of(["postgresql"], postgresql=url))


@pytest.mark.server
def test_killed_loads_into_mariadb(tmp_path: Path, mariadb: MariaServer) -> None:
    held(tmp_path, targets_of(["mariadb"], mariadb=mariadb.url.replace("mariadb:", "mariadb+pymysql:")))
