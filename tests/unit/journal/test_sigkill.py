"""A process killed at any instant under load: all it acknowledged is there, and the journal opens and is sound."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from accord.journal.operations import State
from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify

WORKER = Path(__file__).with_name("kill_worker.py")
KILLS = 10


def run_and_kill(path: Path, first: int, lines: int) -> list[list[str]]:
    """What the process had printed when it was killed after ``lines`` lines; only whole lines count."""
    with subprocess.Popen([sys.executable, str(WORKER), str(path), str(first)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.readlines()
        assert process.wait() == -signal.SIGKILL
    return [line.decode().split() for line in printed if line.endswith(b"\n")]


def test_ten_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    acknowledged: list[list[str]] = []
    for kill in range(KILLS):
        lines = run_and_kill(path, first=kill * 1_000_000, lines=random.randint(1, 1500))
        assert len(lines) > 0
        acknowledged += lines
    assert verify(path) == []
    store = SqliteStore(path)
    store.open()
    rows = {row.message.id: row for row in store.messages(MessageQuery(limit=1_000_000))}
    for word, number, seq in acknowledged:
        row = rows[f"m{number}"]
        assert row.seq == int(seq)
        if word == "settled":
            assert row.state is State.DONE
            assert row.results == {"1.write": b"r" + number.encode()}
            assert store.references([("shop.orders", number, "erp.orders")]) == [f"x{number}"]
    still_open = [row for row in rows.values() if row.state is State.READY]
    assert sum(store.counts().values()) == len(rows)
    assert {row.state for row in rows.values()} <= {State.READY, State.DONE}
    assert all(lease.is_recovered for lease in store.lease("f", 0, 1000))
    assert len(still_open) <= KILLS * 20
    store.close()
    assert verify(path) == []
