"""The marks of a large journal are read into memory beside its use."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_warming import _READ_SLICE, SLICES, Warming
from accord.testing.journal_suite import accept, message


def filled(path: Path, *, cache_bytes: int) -> SqliteStore:
    store = SqliteStore(path, cache_bytes=cache_bytes)
    store.open()
    for number in range(300):
        accept(store, message(number, event_id=f"event-{number}"))
    store.close()
    return SqliteStore(path, cache_bytes=cache_bytes)


def test_all_marks_of_a_file_larger_than_the_cache_are_read_once(tmp_path: Path) -> None:
    store = filled(tmp_path / "journal.db", cache_bytes=16 * 1024)
    store.open()
    warming = store._warming
    assert warming is not None
    warming.join()
    assert (warming.slices, warming.error) == (SLICES, None)
    accept(store, message(301))
    store.close()


def test_a_small_file_needs_none(tmp_path: Path) -> None:
    store = filled(tmp_path / "journal.db", cache_bytes=64 * 1024 * 1024)
    store.open()
    assert store._warming is None
    store.close()


def test_slices_together_are_all_marks_and_read_the_index_that_looks_use(tmp_path: Path) -> None:
    store = filled(tmp_path / "journal.db", cache_bytes=16 * 1024)
    store.open()
    db = store._connect_to_read()
    (plan,) = [line for *_, line in db.execute(f"EXPLAIN QUERY PLAN {_READ_SLICE}", (b"\x00", b"\x01"))]
    assert "USING PRIMARY KEY" in plan
    db.close()
    read: list[tuple[bytes, bytes]] = []

    class Seen(sqlite3.Connection):
        def execute(self, sql: str, slice: tuple[bytes, bytes]) -> sqlite3.Cursor:  # type: ignore[override]
            read.append(slice)
            return super().execute(sql.replace("max(seq)", "count(*)"), slice)

    uri = f"{store.path.as_uri()}?mode=ro"
    Warming(lambda: sqlite3.connect(uri, uri=True, check_same_thread=False, factory=Seen)).join()
    assert [end for _, end in read[:-1]] == [first for first, _ in read[1:]]
    assert (read[0][0], read[-1][1] > b"\xff" * 16) == (b"\x00", True)
    store.close()


def test_closing_does_not_wait_for_the_end(tmp_path: Path) -> None:
    store = filled(tmp_path / "journal.db", cache_bytes=16 * 1024)
    is_connecting, may_connect = threading.Event(), threading.Event()

    def connect() -> sqlite3.Connection:
        is_connecting.set()
        assert may_connect.wait(20)
        return sqlite3.connect(store.path, check_same_thread=False)

    warming = Warming(connect)
    assert is_connecting.wait(20)
    warming._is_ending.set()
    may_connect.set()
    warming.close()
    assert warming.slices == 0


def test_a_file_that_cannot_be_read_only_makes_looks_slow(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"no database" * 1_000)
    warming = Warming(lambda: sqlite3.connect(tmp_path / "other.db", check_same_thread=False))
    warming.join()
    assert warming.slices == 0
    assert isinstance(warming.error, sqlite3.DatabaseError)
