"""The SQLite store on a disk that takes no more, and the copies made of it."""

from __future__ import annotations

import bisect
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accord.errors import JournalError
from accord.journal.operations import Settle, State
from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify
from accord.testing.journal_suite import accept, message


@contextmanager
def file_size_max(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_it_closes_well_when_there_is_no_room_for_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    store.open()
    for number in range(50):
        accept(store, message(number))
    with file_size_max(path.stat().st_size):
        store.close()
    assert path.with_name("journal.db-wal").stat().st_size > 0
    assert verify(path) == []
    store.open()
    assert store.counts() == {("f", "ready"): 50}
    store.close()


def test_a_log_that_cannot_grow_begins_again(tmp_path: Path) -> None:
    """What the log holds fits into the journal's file; only the log has filled the disk."""
    store = SqliteStore(tmp_path / "journal.db")
    store.open()
    (seq,) = accept(store, message(1))
    refused = 0
    with file_size_max(400_000):
        for number in range(400):
            try:
                store.commit([Settle(seq=seq, state=State.WAITING, attempts=number)])
            except JournalError:
                refused += 1
        assert 0 < refused < 40
    assert store.messages()[0].attempts == 399
    store.close()
    assert verify(store.path) == []


def _copy(path: Path, to: Path, log: bytes) -> Path:
    """The journal as a killed machine leaves it: the file, and as much of its log as had reached the disk."""
    to.write_bytes(path.read_bytes())
    to.with_name(to.name + "-wal").write_bytes(log)
    return to


def _recovered(path: Path) -> int:
    store = SqliteStore(path)
    store.open()
    found = len(store.messages(MessageQuery(limit=1000)))
    store.close()
    assert verify(path) == []
    return found


@pytest.mark.parametrize("tail", ["cut off", "torn to zeros", "torn to noise"])
def test_wherever_the_log_is_torn_the_last_acknowledged_message_is_there(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "journal.db"
    log = path.with_name("journal.db-wal")
    store = SqliteStore(path)
    store.open()
    acknowledged = [log.stat().st_size]  # by its index: length of the log when so many messages had been acknowledged
    for number in range(12):
        accept(store, message(number, key=f"k{number}"))
        acknowledged.append(log.stat().st_size)
    whole = log.read_bytes()
    chance = random.Random(5)
    for at in sorted({*acknowledged, *(chance.randrange(acknowledged[0], len(whole)) for _ in range(25))}):
        rest = len(whole) - at
        lost = {"cut off": b"", "torn to zeros": bytes(rest), "torn to noise": chance.randbytes(rest)}[tail]
        found = _recovered(_copy(path, tmp_path / "copy.db", whole[:at] + lost))
        assert found == bisect.bisect_right(acknowledged, at) - 1, at
    store.close()
