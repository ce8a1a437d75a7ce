"""Two members on one journal in PostgreSQL under load: one is killed, one stands still for longer than its lease and wakes, the
database is restarted and killed; nothing lost, nothing settled twice, each key in order, and the woken one writes nothing more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.servers import running_postgres, wait_until

from accord.journal.operations import State
from accord.journal.search import MessageQuery
from accord.journal.shared import PARTS
from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_verify import verify
from faults.member_worker import FENCED

WORKER = Path(__file__).with_name("member_worker.py")
FAILOVER_S = 10.0


class Node:
    def __init__(self, url: str, index: int) -> None:
        arguments = [sys.executable, str(WORKER), url, "members", str(index)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines: list[list[str]] = []
        self.errors: list[bytes] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self.lines.append(line.decode().split())

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.errors.extend(lines)

    def said(self, word: str) -> list[list[str]]:
        return [line for line in list(self.lines) if line[0] == word]

    @property
    def parts(self) -> int:
        owned = self.said("owns")
        return int(owned[-1][1]) if owned else 0

    def wait_parts(self, count: int, within_s: float = 30.0) -> None:
        wait_until(f"owns {count} parts ({self.errors[-5:]})", lambda: self.parts == count, within_s)

    def wait_progress(self) -> None:
        """It settles as many more again as it has parts."""
        goal = len(self.said("settled")) + PARTS // 2
        wait_until(f"goes on ({self.errors[-5:]})", lambda: len(self.said("settled")) >= goal, 30.0)

    def signal(self, which: signal.Signals) -> None:
        os.kill(self.process.pid, which)

    def end(self, code: int) -> None:
        assert self.process.wait(30) == code, b"".join(self.errors).decode()
        for reader in self._readers:
            reader.join(30)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
def test_deaths_and_standstills_of_members_lose_and_repeat_nothing() -> None:
    nodes: list[Node] = []

    def begin(index: int) -> Node:
        nodes.append(Node(server.url, index))
        return nodes[-1]

    with running_postgres() as server:
        try:
            first, second = begin(0), begin(1)
            for node in (first, second):
                node.wait_parts(PARTS // 2)
                node.wait_progress()
            _a_killed_member_is_replaced(first, second)
            first = begin(0)
            for node in (first, second):
                node.wait_parts(PARTS // 2)
                node.wait_progress()
            _a_member_that_stood_still_is_fenced(first, second)
            second = begin(1)
            second.wait_parts(PARTS // 2)
            for end in (server.stop, server.kill):
                end()
                server.start()
                for node in (first, second):
                    node.wait_progress()
                    assert node.process.poll() is None  # an outage ends nobody
            for node in (first, second):
                node.signal(signal.SIGKILL)
                node.end(-signal.SIGKILL)
            assert [node.said("error") for node in nodes] == [[]] * len(nodes)
            asyncio.run(_assert_nothing_lost_or_twice(server.url, nodes))
            assert verify(server.url, "members") == []
        finally:
            for node in nodes:
                if node.process.poll() is None:
                    node.process.kill()
                    node.end(-signal.SIGKILL)


def _a_killed_member_is_replaced(victim: Node, heir: Node) -> None:
    started = time.monotonic()
    victim.signal(signal.SIGKILL)
    victim.end(-signal.SIGKILL)
    heir.wait_parts(PARTS)
    assert time.monotonic() - started < FAILOVER_S
    heir.wait_progress()


def _a_member_that_stood_still_is_fenced(heir: Node, victim: Node) -> None:
    started = time.monotonic()
    victim.signal(signal.SIGSTOP)
    heir.wait_parts(PARTS)
    assert time.monotonic() - started < FAILOVER_S
    heir.wait_progress()
    before = len(victim.lines)
    victim.signal(signal.SIGCONT)
    victim.end(FENCED)
    told = [line for line in victim.lines[before:] if line[0] in ("accepted", "settled")]
    heirs = {line[1] for line in heir.said("settled")}
    # An answer may have lain in its socket while it stood still; whatever it tells, no other has settled as well.
    assert not {line[1] for line in told if line[0] == "settled"} & heirs


async def _assert_nothing_lost_or_twice(url: str, nodes: list[Node]) -> None:
    settled = [line for node in nodes for line in node.said("settled")]
    assert len({line[1] for line in settled}) == len(settled)  # nobody was told twice of the same
    store = PostgresqlStore(url, "members")
    await store.open()
    rows = {row.message.id: row for row in await store.messages(MessageQuery(limit=10_000_000))}
    await store.close()
    for node in nodes:
        for _, name, seq in node.said("accepted"):
            assert rows[name].seq == int(seq)
        for _, name, seq, _part in node.said("settled"):
            assert (rows[name].seq, rows[name].state) == (int(seq), State.DONE)
        by_part: dict[str, list[int]] = {}
        for _, _, seq, part in node.said("settled"):
            by_part.setdefault(part, []).append(int(seq))
        assert all(numbers == sorted(numbers) for numbers in by_part.values())
    oldest_open: dict[str, int] = {}
    newest_done: dict[str, int] = {}
    for row in rows.values():
        if row.state is State.DONE:
            newest_done[row.message.key] = max(row.seq, newest_done.get(row.message.key, 0))
        else:
            oldest_open[row.message.key] = min(row.seq, oldest_open.get(row.message.key, row.seq))
    assert all(newest_done.get(key, 0) < seq for key, seq in oldest_open.items())
    assert sum(map(len, (node.said("accepted") for node in nodes))) > 10 * PARTS
