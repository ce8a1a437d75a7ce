"""A journal in PostgreSQL under load: the engine is killed, the server restarted and killed; nothing lost, nothing twice, in order."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from tests.servers import PostgresServer, running_postgres

from journeys.live import DESK, PROJECT, Live

KILLS = 15
SENDERS = 4
STORE = 'store: {kind: postgresql, url: "${secret:journal}", schema: desk_journal}, '
FILES = {
    "accord.yaml": PROJECT.replace("secrets:", STORE + "secrets:"),
    "systems/desk.yaml": DESK,
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {fields: {id: string, ticket: integer, version: integer}}
""",
    "flows/tickets.yaml": """
flow: tickets
on: {webhook: desk.tickets}
key: id
steps:
  - write: books.log
    mode: create
    with: {id: message.id, ticket: id, version: "coalesce(version, 0)"}
on_error: {attempts: 8, first: 50ms, longest: 1s}
""",
}
# No unique column: an effect carried out twice would leave two rows.
LOG = "CREATE TABLE log (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, ticket INTEGER, version INTEGER)"


class Senders:
    """Each sends the versions of its own tickets one after another, and repeats each until it was accepted, as a webhook source does."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.accepted: dict[int, int] = {}
        self.refusals = 0
        self._has_failed = False  # the test: what is not accepted yet never will be
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(SENDERS)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._has_failed = kind is not None
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        version = 0
        while not self._stop.is_set():
            version += 1
            for ticket in range(sender * 10, sender * 10 + 5):
                self._send_until_accepted(ticket, version)

    def _send_until_accepted(self, ticket: int, version: int) -> None:
        record = {"id": ticket, "text": "printer on fire", "version": version}
        while self.live.hook(record, id=f"{ticket}-{version}")[0] != 200:
            if self._has_failed:
                return
            self.refusals += 1
            time.sleep(0.02)  # a source's pause before it repeats
        self.accepted[ticket] = version


def assert_once_and_in_order(live: Live, accepted: dict[int, int]) -> None:
    found: dict[int, list[int]] = {}
    for ticket, version in live.rows("books.db", "SELECT ticket, version FROM log ORDER BY n"):
        found.setdefault(ticket, []).append(version)
    assert found == {ticket: list(range(1, last + 1)) for ticket, last in accepted.items()}


def wait_progress(senders: Senders, count: int) -> None:
    """Until that many more were accepted."""
    goal = sum(senders.accepted.values()) + count
    senders.live.wait(lambda: sum(senders.accepted.values()) >= goal, f"{count} more accepted")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("load")
def test_kills_of_the_engine_and_restarts_of_the_server_lose_and_repeat_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    with running_postgres() as server:
        environment = {"ACCORD_SECRET_JOURNAL": server.url}
        with Live(tmp_path, FILES, databases={"books.db": LOG}, environment=environment) as live:
            with Senders(live) as senders:
                for number in range(KILLS):
                    wait_progress(senders, chance.randint(1, 60))
                    if number in (4, 9):
                        _restart(server, is_killed=number == 9)
                        wait_progress(senders, 20)  # the engine goes on without a restart of its own
                    live.restart()
                wait_progress(senders, 20)
            counts = live.wait_settled(within_s=120)
            assert counts["dead"] == 0
            assert counts["done"] == sum(senders.accepted.values()) > KILLS * 5
            assert_once_and_in_order(live, senders.accepted)
        verified = live.run("journal", "verify")
        assert verified.returncode == 0, verified.stdout


@pytest.mark.server
@pytest.mark.xdist_group("load")
def test_without_its_database_the_engine_refuses_and_recovers_by_itself(tmp_path: Path) -> None:
    with running_postgres() as server:
        environment = {"ACCORD_SECRET_JOURNAL": server.url}
        with Live(tmp_path, FILES, databases={"books.db": LOG}, environment=environment) as live:
            assert live.hook({"id": 1, "text": "a", "version": 1}, id="1-1")[0] == 200
            server.kill()
            live.wait(lambda: live.hook({"id": 1, "text": "a", "version": 2}, id="1-2")[0] == 503, "refused")
            status, problem = live.request(
                "GET", "/api/status", None, {"authorization": "Bearer api-token-of-the-test"}
            )
            assert (status, b"journal.unavailable" in problem) == (503, True)
            server.start()
            live.wait(lambda: live.hook({"id": 1, "text": "a", "version": 2}, id="1-2")[0] == 200, "accepted again")
            live.wait_settled()
            assert_once_and_in_order(live, {1: 2})
            second = live.run("up")
            assert (second.returncode != 0, "journal.locked" in second.stderr) == (True, True), second.stderr


def _restart(server: PostgresServer, *, is_killed: bool) -> None:
    if is_killed:
        server.kill()
    else:
        server.stop()
    server.start()
