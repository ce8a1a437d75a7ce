"""Backup and restore of the journal's file."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from accord.errors import JournalError
from accord.journal.operations import Settle, State
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_copies import backup, restore
from accord.journal.stores.sqlite_verify import verify
from accord.testing.crash.downgrade import downgrade
from accord.testing.journal_suite import accept, message


def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    store.open()
    return store


def refusal(work: object) -> str:
    with pytest.raises(JournalError) as caught:
        work()  # type: ignore[operator]
    assert caught.value.mend
    return caught.value.code


def test_a_backup_of_a_journal_in_use_holds_all_commits_and_is_one_private_file(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    store = opened(path)
    accept(store, *(message(n, key=f"k{n}") for n in range(100)))
    copied = backup(path, copy)
    accept(store, message(101, key="later"))
    assert copied.messages == 100
    assert copied.size_bytes == copy.stat().st_size
    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert verify(copy) == []
    store.close()
    again = opened(copy)
    assert again.counts() == {("f", "ready"): 100}
    again.close()


def test_while_it_is_written_to_everything_acknowledged_before_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = opened(path)
    acknowledged = 0
    stop = threading.Event()

    def write() -> None:
        nonlocal acknowledged
        number = 0
        while not stop.is_set():
            (seq,) = accept(store, message(number, key=f"k{number % 50}"))
            acknowledged = seq
            store.commit([Settle(seq=seq, state=State.DONE)])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while acknowledged < 200:
            assert writer.is_alive()
        for round in range(5):
            before = acknowledged
            copy = tmp_path / f"copy{round}.db"
            assert backup(path, copy).messages >= before
            assert verify(copy) == []
    finally:
        stop.set()
        writer.join()
    store.close()


def test_a_backup_replaces_nothing_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    opened(path).close()
    copy.write_text("precious")
    assert refusal(lambda: backup(path, copy)) == "journal.exists"
    assert copy.read_text() == "precious"
    backup(path, copy, may_replace=True)
    assert verify(copy) == []
    assert refusal(lambda: backup(tmp_path / "none.db", tmp_path / "x.db")) == "journal.path"
    assert refusal(lambda: backup(path, tmp_path / "no folder" / "x.db")) == "journal.path"
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO contents VALUES (99, x'00')")
    db.close()
    assert refusal(lambda: backup(path, tmp_path / "y.db")) == "journal.corrupt"
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith("journal.db")] == ["copy.db"]


def test_restore_brings_back_what_was_and_keeps_what_is(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    store = opened(path)
    accept(store, message(1, key="a"))
    backup(path, copy)
    accept(store, message(2, key="b"))
    assert refusal(lambda: restore(path, copy, may_replace=True)) == "journal.locked"
    store.close()
    assert refusal(lambda: restore(path, copy)) == "journal.exists"
    kept = restore(path, copy, may_replace=True)
    assert kept is not None
    for file, count in ((path, 1), (kept, 2)):
        store = opened(file)
        assert store.counts() == {("f", "ready"): count}
        assert store.lease("f", 0, 1)[0].is_recovered
        store.close()
        assert verify(file) == []
    assert restore(path, copy, may_replace=True) != kept


def test_restore_of_a_killed_journal_takes_its_log_away_too(tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    store = opened(path)
    backup(path, copy)
    accept(store, message(1))
    left = {name: (tmp_path / name).read_bytes() for name in ("journal.db", "journal.db-wal")}
    store.close()
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    kept = restore(path, copy, may_replace=True)
    assert kept is not None
    for file, count in ((path, 0), (kept, 1)):
        store = opened(file)
        assert len(store.messages()) == count
        store.close()


def test_restore_into_a_new_place_and_of_an_older_layout(tmp_path: Path) -> None:
    path, copy, new = tmp_path / "journal.db", tmp_path / "copy.db", tmp_path / "new" / "journal.db"
    store = opened(path)
    accept(store, message(1))
    store.close()
    backup(path, copy)
    downgrade(copy)
    assert restore(new, copy) is None
    store = opened(new)
    assert len(store.messages()) == 1
    store.close()
    assert verify(new) == []


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    path, junk, foreign, empty = (tmp_path / name for name in ("journal.db", "junk.db", "foreign.db", "empty.db"))
    junk.write_bytes(b"no database at all" * 1000)
    empty.write_bytes(b"")
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    assert refusal(lambda: restore(path, junk)) == "journal.corrupt"
    assert refusal(lambda: restore(path, foreign)) == "journal.foreign"
    assert refusal(lambda: restore(path, empty)) == "journal.corrupt"
    assert refusal(lambda: restore(path, tmp_path / "none.db")) == "journal.path"
    assert not path.exists()
