"""Webhooks of one record in any order: the target ends with the newest one, also when the engine is killed meanwhile."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys.live import DESK, Live

FILES = {
    "systems/desk.yaml": DESK.replace("version: integer?", "updated_at: datetime"),
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  tickets: {key: id, fields: {id: integer, text: string}}
  log: {fields: {id: integer, text: string}}
""",
    "flows/tickets.yaml": """
flow: tickets
on: {webhook: desk.tickets}
steps:
  - dedupe: text(id)
    newest: updated_at
  - write: books.log
    mode: create
    with: {id: id, text: text}
  - write: books.tickets
    mode: upsert
    with: {id: id, text: text}
on_error: {first: 50ms, longest: 500ms}
""",
}
TABLES = """
CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE log (n INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, text TEXT NOT NULL)
"""
START = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
KILLS = 4
_ids = itertools.count(1_000)


def ticket(id: int, version: int, zone_hours: int = 0) -> dict[str, Any]:
    """Version n is n milliseconds after the start, told in any zone."""
    at = (START + dt.timedelta(milliseconds=version)).astimezone(dt.timezone(dt.timedelta(hours=zone_hours)))
    return {"id": id, "text": str(version), "updated_at": at.isoformat()}


def check(live: Live, newest: dict[int, int]) -> None:
    """Each id has its newest version, and its log only ever went forward."""
    found = dict(live.rows("books.db", "SELECT id, text FROM tickets"))
    logged: dict[int, list[int]] = {}
    for id, text in live.rows("books.db", "SELECT id, text FROM log ORDER BY n"):
        logged.setdefault(id, []).append(int(text))
    for id, version in newest.items():
        assert found[id] == str(version), (id, logged[id])
        assert logged[id] == sorted(set(logged[id])), "an older or equal version was written later"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("newest"), FILES, databases={"books.db": TABLES}) as live:
        yield live


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=st.lists(st.tuples(st.integers(0, 9), st.integers(-12, 14)), min_size=1, max_size=10))
def test_the_target_ends_with_the_newest_version_in_whatever_order_they_come(
    running: Live, arrivals: list[tuple[int, int]]
) -> None:
    id = next(_ids)
    for number, (version, zone_hours) in enumerate(arrivals):
        assert running.hook(ticket(id, version, zone_hours), id=f"{id}-{number}")[0] == 200
    running.wait_settled()
    check(running, {id: max(version for version, _ in arrivals)})
    quiet = [one for one in running.api(f"messages?key={id}&limit=100") if "older than" in one["reason"]]
    seen: list[int] = []
    for version, _ in arrivals:
        if all(version > one for one in seen):
            seen.append(version)
    assert len(quiet) == len(arrivals) - len(seen)


def test_late_and_repeated_webhooks_across_kills(tmp_path: Path) -> None:
    chance = random.Random(3)
    events = [(id, version) for id in range(20) for version in range(15)]
    chance.shuffle(events)
    with Live(tmp_path, FILES, databases={"books.db": TABLES}) as live:
        over = threading.Event()

        def send(event: tuple[int, int]) -> None:
            """As a sender does: the same event again until it hears 200."""
            while not over.is_set():
                if live.hook(ticket(*event), id="-".join(map(str, event)))[0] == 200:
                    return
                time.sleep(0.05)  # the sender's own pause before it repeats

        with concurrent.futures.ThreadPoolExecutor(4) as senders:
            try:
                sent = [senders.submit(send, event) for event in events]
                for kill in range(1, KILLS + 1):
                    live.wait(lambda kill=kill: sum(one.done() for one in sent) > kill * 60, "some are sent")  # type: ignore[misc]
                    live.restart()
                for one in sent:
                    one.result(60)
            finally:
                over.set()
        assert live.wait_settled()["dead"] == 0
        check(live, dict.fromkeys(range(20), 14))
    assert live.run("journal", "verify").returncode == 0
