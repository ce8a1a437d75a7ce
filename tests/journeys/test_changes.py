"""Change data capture from PostgreSQL: snapshot and stream without a gap, across kills of the engine and restarts of the database."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from journeys.captured import TABLES, People, files, is_copied, retained_bytes, rows
from journeys.disturbed import disturb
from journeys.live import Live
from servers import PostgresServer, running_postgres

CHANGES = int(os.environ.get("ACCORD_CDC_CHANGES", "6000"))
KILLS = int(os.environ.get("ACCORD_CDC_KILLS", "3"))
RESTARTS = int(os.environ.get("ACCORD_CDC_RESTARTS", "1"))
WITHIN_S = 60.0 if CHANGES < 20_000 else 3_600.0
RETAINED_MAX = 256 * 2**20


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """Its own: it is restarted."""
    with running_postgres() as server:
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(TABLES)
        yield server


def fill(server: PostgresServer, count: int) -> None:
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute(
            "INSERT INTO orders SELECT i, 'old ' || i, i, NULL FROM generate_series(1, %s::bigint) AS i", (count,)
        )


@pytest.mark.timeout(WITHIN_S * 2)
def test_what_people_change_is_copied_across_kills_and_restarts(database: PostgresServer, tmp_path: Path) -> None:
    chance = random.Random(7)
    fill(database, 3_000)
    live = Live(tmp_path, files(database.url))
    people = [People(database, CHANGES // 2, seed) for seed in (1, 2)]
    disturbances = ["kill"] * KILLS + ["restart"] * RESTARTS
    chance.shuffle(disturbances)
    retained: list[int] = []
    with live:
        begun_s = time.monotonic()
        disturb(live, database, people, CHANGES, disturbances, lambda: retained.append(retained_bytes(database)))
        worked_s = time.monotonic() - begun_s
        live.wait(lambda: is_copied(database), "the copy is what the table is", WITHIN_S)
        counts = live.wait_settled("copy", WITHIN_S)
        took_s = time.monotonic() - begun_s
        assert is_copied(database)
        assert rows(database, "orders") == rows(database, "copies")
        assert counts["dead"] == 0
        live.wait(lambda: retained_bytes(database) < RETAINED_MAX, "the slot lets the log go", WITHIN_S)
        accepted = sum(one.done for one in people)
    assert max(retained) < RETAINED_MAX
    assert live.run("journal", "verify").returncode == 0
    print(
        json.dumps(
            {
                "changes": accepted,
                "kills": KILLS,
                "restarts": RESTARTS,
                "worked_s": round(worked_s, 1),
                "copied_s": round(took_s, 1),
                "retained_bytes_most": max(retained),
            }
        )
    )


def test_one_transaction_of_many_pages_is_taken_up_in_its_middle(database: PostgresServer, tmp_path: Path) -> None:
    live = Live(tmp_path, files(database.url))
    with live:
        live.wait(lambda: "accord_erp" in slots(database), "the slot is there")
        fill(database, 20_000)
        for _ in range(2):
            live.wait(lambda: bool(rows(database, "copies")), "the copying has begun")
            live.restart()
        live.wait(lambda: is_copied(database), "the whole transaction is copied", 60)
        with psycopg.connect(database.url, autocommit=True) as db:
            db.execute("TRUNCATE orders")
            db.execute("INSERT INTO orders VALUES (5, 'after the truncate', 1, NULL)")
        counts = live.wait_settled("copy")
        assert counts["dead"] == 0
        seen = live.api("messages?flow=copy&state=done&limit=3")
        assert seen


def test_a_snapshot_that_is_killed_goes_on_while_people_work(database: PostgresServer, tmp_path: Path) -> None:
    fill(database, 12_000)
    live = Live(tmp_path, files(database.url))
    people = People(database, 1_500, 3)
    with live:
        people.start()
        live.wait(lambda: bool(rows(database, "copies")), "the snapshot has begun")
        live.restart()
        people.join()
        assert people.failure is None
        live.wait(lambda: is_copied(database), "the copy is what the table is", 60)
        assert live.wait_settled("copy", 60)["dead"] == 0


def slots(server: PostgresServer) -> list[str]:
    with psycopg.connect(server.url) as db:
        return [name for (name,) in db.execute("SELECT slot_name FROM pg_replication_slots")]
