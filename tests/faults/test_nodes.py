"""Two Accords on one journal in PostgreSQL, as processes: one killed, one stopped beyond its lease, each started anew in turn.

Both write to one database, each effect in a transaction with its id. Senders repeat what was not acknowledged, with the same event id.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.servers import PostgresServer, free_port, postgres, wait_until

from journeys.live import DESK, Live

__all__ = ["postgres"]  # the fixture

pytestmark = pytest.mark.server

THREADS = 8
TAKEN_OVER_S = 10.0
FILES = {
    "accord.yaml": """
name: nodes
environments:
  default:
    address: ${env:ACCORD_ADDRESS}
    secrets: [environment]
    api_token: ${secret:api}
    drain: 10s
    store: {kind: postgresql, url: "${secret:journal_url}", schema: "${env:ACCORD_SCHEMA}"}
    members: {address: "${env:ACCORD_MEMBER}", secret: "${secret:members}", linger: 1s}
""",
    "systems/desk.yaml": DESK,
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///${env:BOOKS}"}
entities:
  log:
    key: id
    fields: {id: string, thread: string, number: integer}
""",
    "flows/tickets.yaml": """
flow: tickets
on: {webhook: desk.tickets, topic: tickets}
key: text
steps:
  - write: books.log
    mode: create
    with: {id: message.id, thread: text, number: id}
on_error: {attempts: 30, first: 50ms, longest: 500ms}
""",
}


class Nodes:
    """Two nodes and their senders: each sends its records one after another, to the nodes by turns."""

    def __init__(self, nodes: list[Live], books: Path) -> None:
        self.nodes = nodes
        self.books = books
        self.is_over = threading.Event()
        self.sent: list[list[int]] = [[] for _ in range(THREADS)]
        self.refusals: list[tuple[int, str]] = []
        self.longest_s = 0.0
        self.ready = set(range(len(nodes)))

    def rows(self) -> list[tuple[str, int]]:
        with contextlib.closing(sqlite3.connect(self.books, timeout=20)) as db:
            return db.execute("SELECT thread, number FROM log ORDER BY rowid").fetchall()

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """At work until the block's end."""
        with ThreadPoolExecutor(THREADS) as pool:
            work = [pool.submit(self._send_all, thread) for thread in range(THREADS)]
            try:
                yield
            finally:
                self.is_over.set()
                for one in work:
                    one.result(60)

    def _send_all(self, thread: int) -> None:
        for number in itertools.count():
            if self.is_over.is_set():
                return
            self._send(thread, number)
            self.sent[thread].append(number)

    def _send(self, thread: int, number: int) -> None:
        """Until it is taken."""
        began = time.monotonic()
        record = {"id": number, "text": f"t{thread}"}
        for attempt in itertools.count(number):
            at = sorted(self.ready)
            status, answer = self.nodes[at[attempt % len(at)]].hook(record, id=f"{thread}-{number}")
            if status == 200:
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                return
            self.refusals.append((status, str(answer)))
            assert time.monotonic() - began < 30, self.refusals[-3:]
            time.sleep(0.1)

    def proves_itself(self) -> None:
        """Everything that was sent was written once and in order."""
        total = sum(len(numbers) for numbers in self.sent)
        living = next(node for node in self.nodes if node.process is not None and node.process.poll() is None)
        counts = living.wait_settled(within_s=40)
        rows = self.rows()
        assert counts["dead"] == 0, living.api("dead-letters")[:3]
        assert len(rows) == total
        for thread in range(THREADS):
            assert [number for name, number in rows if name == f"t{thread}"] == self.sent[thread], f"order of t{thread}"

    def freeze(self, node: Live) -> None:
        """SIGSTOP, but not while it holds the write lock of the target, which is one file: nobody could write it then."""
        assert node.process is not None
        with contextlib.closing(sqlite3.connect(self.books, timeout=0.2, isolation_level=None)) as db:
            while True:
                node.process.send_signal(signal.SIGSTOP)
                try:
                    db.execute("BEGIN IMMEDIATE")  # the other node's writes are short, a frozen one's are not
                    db.execute("ROLLBACK")
                    return
                except sqlite3.OperationalError:
                    node.process.send_signal(signal.SIGCONT)

    def wait_written(self, more: int) -> None:
        goal = len(self.rows()) + more
        wait_until(f"{more} more are written", lambda: len(self.rows()) >= goal, 40)


@pytest.fixture
def nodes(postgres: PostgresServer, tmp_path: Path) -> Iterator[Nodes]:
    books = tmp_path / "books.db"
    with contextlib.closing(sqlite3.connect(books)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE log (id TEXT PRIMARY KEY, thread TEXT, number INTEGER)")
    schema = f"nodes_{uuid.uuid4().hex[:12]}"
    with contextlib.ExitStack() as stack:
        found = []
        for number in (1, 2):
            environment = {
                "ACCORD_SCHEMA": schema,
                "ACCORD_SECRET_JOURNAL_URL": postgres.url,
                "ACCORD_SECRET_MEMBERS": "known to both",
                "ACCORD_MEMBER": f"127.0.0.1:{free_port()}",
                "BOOKS": str(books),
            }
            folder = tmp_path / f"node{number}"
            folder.mkdir()
            found.append(stack.enter_context(Live(folder, FILES, environment=environment)))
        balanced(*found)
        yield Nodes(found, books)


def balanced(*nodes: Live) -> None:
    """Until all have the same number of parts."""
    parts: list[int] = []

    def is_so() -> bool:
        parts[:] = [one["parts"] for one in nodes[0].api("status")["members"]]
        return parts == [64 // len(nodes)] * len(nodes)

    nodes[0].wait(is_so, f"parts are balanced ({parts})")


def test_a_killed_node_is_replaced_and_nothing_is_lost_or_done_twice(nodes: Nodes) -> None:
    first, second = nodes.nodes
    with nodes.load():
        nodes.wait_written(200)
        first.kill()
        nodes.ready = {1}
        second.wait(lambda: [m["parts"] for m in second.api("status")["members"]] == [64], "all parts taken over", 10)
        nodes.wait_written(200)
        first.start()
        nodes.ready = {0, 1}
        balanced(second, first)
        nodes.wait_written(100)
    nodes.proves_itself()
    assert nodes.longest_s < TAKEN_OVER_S


def test_a_rolling_restart_refuses_no_webhook(nodes: Nodes) -> None:
    with nodes.load():
        nodes.wait_written(100)
        for number, node in enumerate(nodes.nodes):
            other = nodes.nodes[1 - number]
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            wait_until("it says it leaves", lambda node=node: node.request("GET", "/readyz")[0] != 200)  # type: ignore[misc]
            nodes.ready = {1 - number}  # as a load balancer hears it
            assert node.process.wait(30) == 0
            nodes.wait_written(100)
            node.start()
            nodes.ready = {0, 1}
            balanced(other, node)
        nodes.wait_written(100)
    nodes.proves_itself()
    assert nodes.refusals == []


def test_a_node_that_was_stopped_beyond_its_lease_does_nothing_more(nodes: Nodes) -> None:
    first, second = nodes.nodes
    assert first.process is not None
    with nodes.load():
        nodes.wait_written(100)
        nodes.ready = {1}
        nodes.freeze(first)
        second.wait(lambda: [m["parts"] for m in second.api("status")["members"]] == [64], "all parts taken over", 20)
        nodes.wait_written(100)
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(30) != 0
        nodes.wait_written(50)
    assert "journal.fenced" in first.log
    nodes.proves_itself()
