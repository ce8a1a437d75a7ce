"""What is particular to the SQLite store: file, lock, migrations, damage, full disk, log, shrinking, speed with many messages."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from accord.errors import JournalError, JournalFull
from accord.journal.encoding import from_us, mark_digest, to_us
from accord.journal.operations import Accept, MarkSeen, Prune, Settle, State, StepResult
from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_schema import MIGRATIONS, migrate, version_of
from accord.journal.stores.sqlite_verify import verify
from accord.testing.journal_suite import START, accept, letter, message


def opened(path: Path, **settings: int) -> SqliteStore:
    store = SqliteStore(path, **settings)  # type: ignore[arg-type]
    store.open()
    return store


def refusal(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        SqliteStore(path).open()
    assert caught.value.mend
    assert str(path) in caught.value.what
    return caught.value.code


def alter(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def test_files_are_readable_by_their_owner_only(path: Path) -> None:
    store = opened(path)
    accept(store, message(1))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) == {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_a_second_owner_is_refused_by_pid_and_a_killed_one_leaves_no_lock(path: Path) -> None:
    script = (
        "import sys, signal; from accord.journal.stores.sqlite import SqliteStore;"
        f"SqliteStore({str(path)!r}).open(); print('open', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(JournalError) as caught:
            SqliteStore(path).open()
        owner.kill()
    assert caught.value.code == "journal.locked"
    assert f"process {owner.pid}" in caught.value.what
    opened(path).close()


def test_one_process_cannot_open_a_journal_twice(path: Path) -> None:
    store = opened(path)
    assert refusal(path) == "journal.locked"
    store.close()
    opened(path).close()


def test_an_older_file_is_migrated_forward_with_its_messages(path: Path) -> None:
    store = opened(path)
    accept(store, message(1))
    store.close()
    db = sqlite3.connect(path, isolation_level=None)
    added = ("ALTER TABLE messages ADD COLUMN priority INTEGER NOT NULL DEFAULT 5",)
    broken = ("ALTER TABLE messages ADD COLUMN other TEXT", "SELECT * FROM no_such_table")
    migrate(db, str(path), (*MIGRATIONS, added))
    assert version_of(db) == len(MIGRATIONS) + 1
    assert db.execute("SELECT seq, priority FROM messages").fetchall() == [(1, 5)]
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, str(path), (*MIGRATIONS, added, broken))
    assert version_of(db) == len(MIGRATIONS) + 1
    assert "other" not in [row[1] for row in db.execute("PRAGMA table_info(messages)")]
    db.close()
    assert refusal(path) == "journal.newer"


def test_marks_of_a_file_without_versions_stay_marks(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, str(path), MIGRATIONS[:1])
    db.execute("INSERT INTO marks (digest, seq, at) VALUES (?, 1, 0)", (mark_digest("step", "s", "", "1"),))
    db.close()
    store = opened(path)
    assert store.commit([MarkSeen("s", "1", 2, START), MarkSeen("s", "1", 1, START)]) == [False, True]
    assert store.commit([MarkSeen("s", "1", 2, START, "a"), MarkSeen("s", "1", 1, START)]) == [True, False]
    store.close()
    assert verify(path) == []


def test_foreign_damaged_and_cut_files_are_refused_by_name(tmp_path: Path) -> None:
    foreign, junk, cut, damaged = (tmp_path / name for name in ("foreign.db", "junk.db", "cut.db", "damaged.db"))
    alter(foreign, "CREATE TABLE t (x)")
    assert refusal(foreign) == "journal.foreign"
    junk.write_bytes(b"this is no database, only a file of the right name" * 100)
    assert refusal(junk) == "journal.corrupt"
    for path in (cut, damaged):
        store = opened(path)
        accept(store, *(message(n, key=f"k{n}") for n in range(200)))
        store.close()
    os.truncate(cut, cut.stat().st_size // 2)
    assert refusal(cut) == "journal.corrupt"
    with damaged.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(damaged.stat().st_size - 4096))
    assert refusal(damaged) == "journal.corrupt"
    assert verify(damaged) != []


def test_a_folder_that_cannot_be_made_is_a_path_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file" / "journal.db") == "journal.path"


def test_a_torn_tail_of_the_log_costs_only_the_commit_it_tore(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    accept(store, message(1, key="a"))
    log = path.with_name("journal.db-wal")
    whole = log.stat().st_size
    accept(store, message(2, key="b"))
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    tail = log.read_bytes()
    copy.with_name("copy.db-wal").write_bytes(tail[: whole + (len(tail) - whole) // 2])
    store.close()
    again = opened(copy)
    assert [row.seq for row in again.messages()] == [1]
    assert accept(again, message(2, key="b")) == [2]
    again.close()
    assert verify(copy) == []


def test_a_full_disk_keeps_nothing_of_the_group_and_passes(path: Path) -> None:
    store = opened(path)
    accept(store, message(1))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 10}")
    with pytest.raises(JournalFull) as caught:
        accept(store, *(message(n, event_id=f"e{n}") for n in range(2, 2000)))
    assert caught.value.code == "journal.full"
    assert [row.seq for row in store.messages()] == [1]
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert accept(store, message(2, event_id="e2")) == [2]
    store.close()
    assert verify(path) == []


def test_the_log_stays_short_under_load_and_the_thread_does_the_work(path: Path) -> None:
    store = opened(path, wal_frames_start=50, wal_frames_max=1000)
    frames = []
    for n in range(1500):
        accept(store, message(n, key=f"k{n}"))
        frames.append(store._checkpointer.frames())
    assert any(thread.name == "accord-journal-checkpoint" for thread in threading.enumerate())
    restarts = sum(later < earlier for earlier, later in itertools.pairwise(frames))
    assert restarts >= 1
    assert max(frames) < 1100
    assert store._checkpointer.error is None
    store.close()
    assert not path.with_name("journal.db-wal").exists()
    assert verify(path) == []


def test_closing_in_the_middle_of_a_checkpoint_comes_to_an_end(path: Path) -> None:
    for number in range(60):
        store = opened(path, wal_frames_start=1)
        accept(store, message(number, key=f"k{number}"))
        assert store._checkpointer._thread is not None
        store.close()
        assert not store._checkpointer._thread.is_alive()
    assert verify(path) == []


def test_the_writer_bounds_the_log_when_the_thread_may_not_start(path: Path) -> None:
    store = opened(path, wal_frames_start=100, wal_frames_max=100)
    frames = []
    for n in range(300):
        accept(store, message(n, key=f"k{n}"))
        frames.append(store._checkpointer.frames())
    assert max(frames) < 2000
    assert min(frames[100:]) < 100
    store.close()


def test_pruning_by_age_shrinks_the_file(path: Path) -> None:
    store = opened(path)
    seqs = []
    for start in range(0, 2000, 200):
        seqs += accept(store, *(message(n, key=f"k{n}") for n in range(start, start + 200)))
    store.commit([Settle(seq=s, state=State.DONE, results=(StepResult("a", b"x" * 500),)) for s in seqs[1:]])
    store.close()
    full = path.stat().st_size
    store = opened(path)
    pruned = 0
    prune = Prune(before=START + dt.timedelta(days=1), seen_before=START, limit=500)
    while deleted := store.commit([prune])[0]:
        assert deleted <= 500
        pruned += deleted
    assert pruned == 1999
    store.close()
    assert path.stat().st_size < full / 5
    assert verify(path) == []


def test_pruning_by_size_stops_when_the_file_is_small_enough(path: Path) -> None:
    store = opened(path)
    seqs = accept(store, *(message(n, key=f"k{n}") for n in range(3000)))
    store.commit([Settle(seq=s, state=State.DONE) for s in seqs])
    bound = 500_000
    long_ago = START - dt.timedelta(days=9)
    (deleted,) = store.commit([Prune(before=long_ago, seen_before=long_ago, limit=100_000, size_bytes_max=bound)])
    assert 100 <= deleted < 3000
    assert store.messages(MessageQuery(limit=1))[0].seq == deleted + 1
    store.close()
    assert path.stat().st_size <= bound
    assert path.stat().st_size > bound / 2
    assert verify(path) == []


@pytest.mark.parametrize(
    ("statement", "violation"),
    [
        ("DELETE FROM contents WHERE seq = 1", "message without a body"),
        ("DELETE FROM messages WHERE seq = 1", "body without a message"),
        ("UPDATE messages SET state = 7 WHERE seq = 1", "unknown state"),
        ("UPDATE messages SET parts = 2 WHERE seq = 1", "number of parts"),
        ("INSERT INTO results VALUES (99, 1, x'80')", "results without a message"),
        ("UPDATE messages SET is_head = 1 WHERE seq = 2", "head of its key"),
        ("UPDATE messages SET is_head = 1 WHERE seq = 4", "settled message that is head"),
        ("UPDATE messages SET settled_at = NULL WHERE seq = 4", "without a time"),
        ("UPDATE messages SET settled_at = 1 WHERE seq = 1", "with a settle time"),
        ("UPDATE messages SET due = 1 WHERE seq = 1", "waiting and due"),
        ("UPDATE messages SET held_by = 'x' WHERE seq = 1", "without being held"),
        ("DELETE FROM dead", "without its letter"),
        ("INSERT INTO dead VALUES (1, 'f', 1, x'80')", "letter without"),
        ("UPDATE counters SET n = n + 1", "counter differs"),
        ("INSERT INTO cross_references VALUES ('a', '1', 'b', '2')", "other direction"),
        ("UPDATE messages SET key = 'z' WHERE seq = 4", "differs from its index row"),
        ("UPDATE contents SET message = x'ff' WHERE seq = 1", "message 1 cannot be read"),
        ("UPDATE dead SET letter = x'ff'", "dead of message 4 cannot be read"),
        ("UPDATE version SET version = version + 97", "layout is 99"),
    ],
)
def test_verify_names_each_broken_invariant(path: Path, statement: str, violation: str) -> None:
    store = opened(path)
    accept(store, message(1), message(2), message(3, key="b"), message(4, key="c"))
    store.commit([Settle(seq=4, state=State.DEAD, dead=letter()), Settle(seq=3, state=State.HELD, held_by="erp")])
    assert verify(path) == []
    store.close()
    alter(path, statement)
    assert any(violation in found for found in verify(path)), verify(path)


def test_verify_of_no_file_says_so(path: Path) -> None:
    with pytest.raises(JournalError) as caught:
        verify(path)
    assert caught.value.code == "journal.path"


def test_a_reader_in_another_thread_sees_committed_state_while_the_writer_goes_on(path: Path) -> None:
    store = opened(path)
    accept(store, message(1))
    found: list[list[int]] = []

    def read() -> None:
        reader = store.reader()
        found.append([row.seq for row in reader.messages(MessageQuery(flow="f"))])
        reader.close()

    for n in (2, 3):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        accept(store, message(n))
    assert found == [[1], [1, 2]]
    store.close()


QUERIES = {
    "lease": (
        "SELECT seq FROM messages m WHERE m.state = 0 AND m.is_head = 1 AND m.flow = ? AND m.seq > ? ORDER BY m.seq",
        2,
    ),
    "oldest of key": (
        "SELECT seq FROM messages m WHERE m.state < 10 AND m.flow = ? AND m.key = ? ORDER BY m.seq LIMIT 1",
        2,
    ),
    "due": (
        "SELECT seq FROM messages INDEXED BY messages_due WHERE state = 1 AND due <= ? ORDER BY due, seq LIMIT 5",
        1,
    ),
    "held": (
        "SELECT seq FROM messages INDEXED BY messages_held WHERE state = 2 AND held_by = ? ORDER BY seq LIMIT 5",
        1,
    ),
    "done": ("SELECT seq FROM messages WHERE state = 10 AND accepted_at < ? ORDER BY accepted_at, seq LIMIT 5", 1),
}


@pytest.mark.parametrize("name", QUERIES)
def test_scans_of_open_messages_use_partial_indexes_without_sorting(path: Path, name: str) -> None:
    """So neither a million settled nor a million held messages are ever read for them."""
    store = opened(path)
    query, values = QUERIES[name]
    plan = [row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {query}", (1,) * values)]
    assert len(plan) == 1
    assert "SEARCH" in plan[0]
    assert "INDEX messages_" in plan[0]
    store.close()


def test_a_lease_does_not_read_what_is_held_or_queued_behind_it(path: Path) -> None:
    """Counted in SQLite's own steps, not in time: twenty times the backlog costs no more."""
    store = opened(path)
    steps: list[int] = []

    def count(found: int) -> int:
        calls = 0

        def tick() -> int:
            nonlocal calls
            calls += 1
            return 0

        store._db.set_progress_handler(tick, 1)
        assert len(store.lease("f", 0, 10)) == found
        assert store.next_of_key("f", "free") is not None
        store._db.set_progress_handler(None, 0)
        return calls

    accept(store, message(0, key="free"))
    number = 1
    for size in (50, 950):
        for _ in range(size):
            (first, *_rest) = accept(store, message(number, key=f"k{number}"), message(number + 1, key=f"k{number}"))
            store.commit([Settle(seq=first, state=State.HELD, held_by="erp")])
            number += 2
        steps.append(count(1))
    assert steps[1] <= steps[0] * 1.1
    store.close()


def test_times_keep_their_microseconds() -> None:
    moment = dt.datetime(2026, 3, 4, 5, 6, 7, 891234, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert from_us(to_us(moment)) == moment
    with pytest.raises(TypeError):
        to_us(dt.datetime(2026, 1, 1))


def test_a_group_of_accepts_is_one_transaction(path: Path) -> None:
    store = opened(path)
    before = store._checkpointer.frames()
    store.commit([Accept((message(n),)) for n in range(20)])
    together = store._checkpointer.frames() - before
    assert 0 < together < 20
    store.close()
