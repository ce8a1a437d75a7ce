"""The SQLite store on a disk that takes no more, and the copies made of it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord.errors import JournalError
from accord.journal.operations import Settle, State
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
