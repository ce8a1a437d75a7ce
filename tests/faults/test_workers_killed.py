"""Workers and the hub of `accord up --workers 2` are killed under load: nothing lost, nothing twice, order per key, and no webhook refused
for the death of a worker."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from accord.journal.stores.sqlite_verify import verify
from journeys.live import DESK, Live

FILES = {
    "systems/desk.yaml": DESK,
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  changes:
    key: n
    fields: {n: integer, ticket: integer, version: integer}
""",
    "flows/f.yaml": """
flow: f
on: {webhook: desk.tickets}
key: id
steps:
  - write: books.changes
    mode: create
    with: {n: "id * 100000 + coalesce(version, 0)", ticket: id, version: "coalesce(version, 0)"}
on_error: {attempts: 30, first: 50ms, longest: 500ms}
""",
}
TABLES = {
    "books.db": "CREATE TABLE changes (place INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER UNIQUE, ticket INTEGER, version INTEGER)"
}
SENDERS, KEYS_EACH, KILLS = 4, 5, 8


class Senders:
    """Each sends the versions of its own tickets one after another, and a version again until it is taken."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.sent: dict[int, int] = {}
        self.refusals: list[tuple[int, object]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(SENDERS)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        keys = [number * KEYS_EACH + n for n in range(KEYS_EACH)]
        version = 0
        while not self._stop.is_set():
            for key in keys:
                self._send(key, version)
            version += 1

    def _send(self, key: int, version: int) -> None:
        while True:
            status, answer = self.live.hook({"id": key, "text": "x", "version": version}, id=f"{key}-{version}")
            if status == 200:
                self.sent[key] = version
                return
            self.refusals.append((status, answer))


def children_of(live: Live) -> list[int]:
    """The hub first, then the workers by age."""
    assert live.process is not None
    pid = live.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def events(live: Live, name: str) -> int:
    return sum(json.loads(line)["event"] == name for line in live.log.splitlines() if line.startswith("{"))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
def test_killed_workers_and_hubs_lose_repeat_and_reorder_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    with Live(tmp_path, FILES, databases=TABLES, options=("--workers", "2", "--log", "json")) as live:
        with Senders(live) as senders:
            for kill in range(1, KILLS + 1):
                before = dict(senders.sent)
                live.wait(lambda before=before: len(senders.sent) == 20 and senders.sent != before, "load goes on")  # type: ignore[misc]
                live.wait(lambda: len(children_of(live)) == 3, "hub and workers are there")
                is_hub = kill % 4 == 0
                victim = children_of(live)[0] if is_hub else chance.choice(children_of(live)[1:])
                os.kill(victim, signal.SIGKILL)
                what = "writer.ended" if is_hub else "worker.ended"
                count = kill // 4 if is_hub else kill - kill // 4
                live.wait(lambda what=what, count=count: events(live, what) == count, f"{what} {count}")  # type: ignore[misc]
        live.wait_settled(within_s=60)
    rows = live.rows("books.db", "SELECT ticket, version FROM changes ORDER BY place")
    seen: dict[int, list[int]] = {}
    for ticket, version in rows:
        seen.setdefault(ticket, []).append(version)
    assert seen == {key: list(range(last + 1)) for key, last in senders.sent.items()}
    assert verify(tmp_path / ".accord" / "journal.db") == []
