"""The supervisor, the hub and workers as processes: killed one by one and all at once, stopped, silent, unable to start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

from accord.journal.search import MessageQuery
from accord.journal.shared import LEASE_S
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify

PROGRAM = Path(__file__).with_name("counting_project.py")


class Counting:
    """The program in a process of its own; ended on exit, and nothing of it may be left."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, PROGRAM, str(folder), *arguments], stderr=log)

    def __enter__(self) -> Counting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    @property
    def children(self) -> list[int]:
        """The hub first, then the workers by age."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    @property
    def events(self) -> list[dict[str, object]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def seen(self, name: str) -> int:
        return sum(event["event"] == name for event in self.events)

    def told(self) -> dict[str, int]:
        """What workers were told to be on disk: message id to sequence number."""
        lines = [line.split() for path in self.folder.glob("*.told") for line in path.read_text().splitlines()]
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1]}

    def writers(self) -> set[str]:
        """Pids of workers that have written."""
        return {path.stem.partition("-")[2] for path in self.folder.glob("*.told") if path.stat().st_size}

    def wait(self, holds: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {(self.folder / 'log').read_text()[-2000:]}"
            time.sleep(0.01)

    def wait_writing(self, workers: int) -> None:
        """Until so many of the workers that live now have written."""
        self.wait(lambda: len(self.writers() & {str(pid) for pid in self.children}) == workers, "workers write")


def kept(folder: Path) -> dict[str, int]:
    """Message id to sequence number, from the journal itself; every id once, and no violation."""
    assert verify(folder / "journal.db") == []
    store = SqliteStore(folder / "journal.db")
    store.open()
    found: dict[str, int] = {}
    while rows := store.messages(MessageQuery(after_seq=max(found.values(), default=0), limit=1_000)):
        found.update((row.message.id, row.seq) for row in rows)
    counts = Counter(store.counts())
    store.close()
    assert counts == {("f", "ready"): len(found)}
    return found


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}/stat").exists() for pid in pids)


def test_a_stop_ends_the_workers_and_then_the_hub(tmp_path: Path) -> None:
    with Counting(tmp_path, "2") as counting:
        counting.wait_writing(2)
        pids = counting.children
        assert len(pids) == 3
        counting.process.send_signal(signal.SIGTERM)
        assert counting.process.wait(20) == 0
    assert are_gone(pids)
    assert counting.told().items() <= kept(tmp_path).items()


def test_killed_workers_are_replaced_and_lose_nothing_acknowledged(tmp_path: Path) -> None:
    with Counting(tmp_path, "2") as counting:
        for kills in range(1, 4):
            counting.wait_writing(2)
            hub, *workers = counting.children
            os.kill(workers[kills % 2], signal.SIGKILL)
            counting.wait(lambda kills=kills: counting.seen("worker.ended") == kills, "the loss is told")  # type: ignore[misc]
            assert counting.children[0] == hub, "the hub goes on"
        counting.wait_writing(2)
    assert counting.process.returncode == 0
    assert counting.told().items() <= kept(tmp_path).items()


def test_a_killed_hub_takes_its_workers_along_and_all_begin_anew(tmp_path: Path) -> None:
    with Counting(tmp_path, "2") as counting:
        counting.wait_writing(2)
        before = counting.children
        os.kill(before[0], signal.SIGKILL)
        counting.wait(lambda: are_gone(before), "hub and workers are gone")
        counting.wait_writing(2)
        assert counting.seen("writer.ended") == 1
    assert counting.process.returncode == 0
    assert counting.told().items() <= kept(tmp_path).items()


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is a signal on Linux")
def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    with Counting(tmp_path, "3") as counting:
        counting.wait_writing(3)
        pids = counting.children
        counting.process.kill()
        counting.process.wait(10)
        counting.wait(lambda: are_gone(pids), "all are gone")
    assert counting.told().items() <= kept(tmp_path).items()


def test_a_worker_that_is_silent_is_ended_and_its_parts_go_on_elsewhere(tmp_path: Path) -> None:
    with Counting(tmp_path, "2") as counting:
        counting.wait_writing(2)
        silent = counting.children[-1]
        os.kill(silent, signal.SIGSTOP)
        counting.wait(lambda: are_gone([silent]), "the silent one is ended", LEASE_S * 3)
        counting.wait_writing(2)
        (ended,) = [event for event in counting.events if event["event"] == "worker.ended"]
        assert (ended["pid"], ended["status"]) == (silent, -signal.SIGKILL)
    assert counting.process.returncode == 0
    assert counting.told().items() <= kept(tmp_path).items()


def test_what_cannot_start_is_told_once_and_ends(tmp_path: Path) -> None:
    with Counting(tmp_path, "3", "fail") as counting:
        assert counting.process.wait(20) == 1
    log = (tmp_path / "log").read_text()
    assert log.count("The project cannot start. [cli.test]") == 1
    assert counting.seen("workers.started") == 0


def test_a_journal_in_use_is_told_and_no_worker_starts(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "journal.db")
    store.open()
    with Counting(tmp_path, "2") as counting:
        assert counting.process.wait(20) == 1
    store.close()
    log = (tmp_path / "log").read_text()
    assert "[journal.locked]" in log
    assert "Traceback" not in log
    assert list(tmp_path.glob("*.told")) == []


def test_a_hub_that_is_killed_before_it_has_read_what_it_was_sent_is_started_again(tmp_path: Path) -> None:
    program = PROGRAM.with_name("deaf_writer_project.py")
    with subprocess.Popen([sys.executable, program, str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "second").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert ((tmp_path / "second").exists(), process.returncode) == (True, 0), log
    assert '"event":"writer.ended","status":-9' in log
