"""Change data capture from MariaDB: snapshot and stream without a gap, across kills of engine and workers and restarts of the database."""

from __future__ import annotations

import os
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.captured import files
from journeys.captured_mariadb import MariaPeople, connected, is_copied, make, rows
from journeys.disturbed import disturb
from journeys.live import Live
from servers import BINLOG, MariaServer, running_mariadb

CHANGES = 4_000
WITHIN_S = 60.0


@pytest.fixture
def database() -> Iterator[MariaServer]:
    """Its own: it is restarted."""
    with running_mariadb(BINLOG) as server:
        yield server


@pytest.mark.timeout(WITHIN_S * 2)
def test_what_people_change_is_copied_across_kills_and_restarts(database: MariaServer, tmp_path: Path) -> None:
    chance = random.Random(7)
    make(database, 2_000)
    people = [MariaPeople(database, CHANGES // 2, seed) for seed in (1, 2)]  # type: ignore[arg-type]
    disturbances = ["kill", "kill", "restart"]
    chance.shuffle(disturbances)
    live = Live(tmp_path, files(database.url))
    with live:
        disturb(live, database, people, CHANGES, disturbances)
        live.wait(lambda: is_copied(database), "the copy is what the table is", WITHIN_S)
        with connected(database) as db:
            db.execute("TRUNCATE orders")
            db.execute("INSERT INTO orders VALUES (5, 'after the truncate', 1, NULL)")
        live.wait(lambda: is_copied(database), "the truncate is copied", WITHIN_S)
        counts = live.wait_settled("copy", WITHIN_S)
        assert counts["dead"] == 0
        assert [row[0] for row in rows(database, "copies")] == [5]
        metrics = metrics_of(live)
        assert 'accord_changes_retained_bytes{system="erp"}' in metrics
        assert 'accord_changes_behind_seconds{system="erp"}' in metrics
    assert live.run("journal", "verify").returncode == 0


def metrics_of(live: Live) -> str:
    with urllib.request.urlopen(live.address + "/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def children_of(live: Live) -> list[int]:
    """The hub first, then the workers by age."""
    assert live.process is not None
    pid = live.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def readers(server: MariaServer) -> int:
    with connected(server) as db:
        db.execute("SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
        return int(db.fetchone()[0])


@pytest.mark.timeout(WITHIN_S * 2)
def test_one_worker_reads_and_another_goes_on_when_it_is_killed(database: MariaServer, tmp_path: Path) -> None:
    make(database, 500)
    people = MariaPeople(database, CHANGES // 2, 1)  # type: ignore[arg-type]
    live = Live(tmp_path, files(database.url), options=("--workers", "2"))
    with live:
        live.wait(lambda: bool(rows(database, "copies")), "the snapshot has begun")
        people.start()
        for number in (1, 2):  # the older worker goes, then the other: one of them reads
            while people.done < CHANGES // 2 * number / 3 and people.failure is None:
                time.sleep(0.02)  # the moment is told by the work done
            live.wait(lambda: len(children_of(live)) == 3, "hub and workers are there")
            live.wait(lambda: readers(database) == 1, "one reads")
            os.kill(children_of(live)[1], signal.SIGKILL)
        people.join()
        assert people.failure is None
        live.wait(lambda: is_copied(database), "the copy is what the table is", WITHIN_S)
        assert live.wait_settled("copy", WITHIN_S)["dead"] == 0
    assert live.run("journal", "verify").returncode == 0
