"""The journal in one SQLite file: the embedded store.

Invariants, checked by ``sqlite_verify.verify``:

1. A commit is one transaction with ``synchronous=FULL`` in WAL mode: when ``commit`` returns, the log was synced. A process
   killed at any instant leaves whole commits only; SQLite drops a torn tail of the log by its checksums.
2. One writer: an ``flock`` on ``<file>.lock``, held while open, given back by the operating system when the owner dies.
3. Every row of ``messages`` has its body in ``contents`` and as many rows in ``results`` as ``parts`` says.
4. ``seq`` grows by one and is never given twice, not even after the newest message was pruned (fact ``seq_floor``).
5. ``is_head`` is 1 for exactly the open message with the smallest ``seq`` of its flow and key. So *eligible* is "ready and
   head", an index lookup: neither settled nor held messages nor those queued behind them are ever read for a lease.
6. Partial indexes hold open messages (by flow and key, eligible, due, held) and done ones by age (for pruning).
7. ``counters`` equals the number of messages per flow, state and holding system; it changes in the same transaction.
8. A message is DEAD only with a row in ``dead``; WAITING has ``due``; HELD has ``held_by``; settled ones have ``settled_at``.
9. A cross-reference is stored once for each direction. The latest wins in each.
10. Dedupe marks live apart from messages, by digest, with a retention of their own.

Recovery is SQLite's own; ``open`` then counts up fact ``opening`` and takes the largest ``seq`` there is as the border: an
open message up to it, unless replayed since, is ``is_recovered``. ``recover`` does the same for some parts while others go on.

Files: the journal, ``-wal``, ``-shm`` and ``.lock`` beside it, all readable by their owner only (0600).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accord.errors import JournalError, JournalFull
from accord.journal.faults import closed, operation_fault
from accord.journal.operations import Operation
from accord.journal.parts import ALL_PARTS, is_in
from accord.journal.shared import PARTS, part_of
from accord.journal.stores.sqlite_checkpoint import Checkpointer
from accord.journal.stores.sqlite_lock import FileLock
from accord.journal.stores.sqlite_reads import SqliteReads
from accord.journal.stores.sqlite_schema import PAGE_SIZE_BYTES, migrate
from accord.journal.stores.sqlite_warming import Warming
from accord.journal.stores.sqlite_writes import Writes
from accord.observe.crash_points import crash_point

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}  # a quota shows as the latter
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# What one bad operation raises (text that is no Unicode, a number too large, a time without a zone): its own fault alone.
_OPERATION_FAULTS = (ValueError, TypeError, OverflowError, AttributeError, KeyError, sqlite3.InterfaceError)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SqliteStore(SqliteReads):
    """A Store in a file. ``now`` is the clock for settle times.

    ``cache_bytes``: pages kept in memory, so that random index pages are not read again; ``wal_frames_start`` and
    ``wal_frames_max``: log length in pages at which a checkpoint begins beside the writer, and at which the writer must help.
    ``is_synced`` False: a killed process still loses nothing, but a power cut may take the last commits (whole ones, the newest);
    only for a state that can be made again from elsewhere.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        now: Callable[[], dt.datetime] = utc_now,
        cache_bytes: int = 64 * 1024 * 1024,
        wal_frames_start: int = 1_000,
        wal_frames_max: int = 32_000,
        is_synced: bool = True,
    ) -> None:
        self.path = Path(path)
        self._now = now
        self._cache_bytes = cache_bytes
        self._wal_frames_start = wal_frames_start
        self._wal_frames_max = wal_frames_max
        self._is_synced = is_synced
        self._lock = FileLock(self.path)
        self._is_open = False

    def open(self) -> None:
        """Creates or migrates the file and takes the lock.

        Raises JournalError: ``journal.locked``, ``journal.corrupt``, ``journal.foreign``, ``journal.newer``, ``journal.path``.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.take()
        except OSError as error:
            raise self._path_error(error) from error
        try:
            self._open_file()
        except BaseException:
            self._lock.give_back()
            raise
        self._is_open = True

    def _open_file(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            db = self._connect()
        except OSError as error:
            raise self._path_error(error) from error
        except sqlite3.Error as error:
            raise self._translate(error, "opened") from error
        try:
            self._prepare(db)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error, "opened") from error
            raise

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        migrate(db, str(self.path))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._check_length(db)
        _sync_directory(self.path.parent)
        db.create_function("part_of", 2, part_of, deterministic=True)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE facts SET value = value + 1 WHERE name = 'opening'")
        facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
        last_seq = max(facts["seq_floor"], db.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()[0])
        db.execute("COMMIT")
        SqliteReads.__init__(self, db, facts["opening"], last_seq)
        self._writes = Writes(db, next_seq=last_seq + 1, opening=facts["opening"], now=self._now, leases=self._leases)
        self._checkpointer = Checkpointer(
            db, self._connect, self.path, frames_start=self._wal_frames_start, frames_max=self._wal_frames_max
        )
        self._warming = Warming(self._connect_to_read) if self.path.stat().st_size > self._cache_bytes else None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0, check_same_thread=False)
        db.execute(f"PRAGMA synchronous = {'FULL' if self._is_synced else 'NORMAL'}")
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = -{self._cache_bytes // 1024}")
        return db

    def _check_length(self, db: sqlite3.Connection) -> None:
        """With the log checkpointed, a file shorter than its own header says was cut off."""
        expected = int(db.execute("PRAGMA page_count").fetchone()[0]) * PAGE_SIZE_BYTES
        found = self.path.stat().st_size
        if found < expected:
            raise self._corrupt(f"it has {found} bytes, its header says {expected}")

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Raises JournalFull, JournalError ``journal.operation`` (one of them cannot be stored), ``journal.closed``, or
        ``journal.commit``; in every case nothing of the group was kept and the store can be used further."""
        return self.commit_of([(ALL_PARTS, operations)])

    def commit_of(self, groups: Sequence[tuple[int, Sequence[Operation]]]) -> list[Any]:
        if not self._is_open:
            raise closed()
        writes = self._writes
        apply = writes.apply
        try:
            self._db.execute("BEGIN IMMEDIATE")
            writes.begin()
            crash_point("commit.begun")
            results: list[Any] = []
            for writes.parts, operations in groups:
                if not results and operations:
                    results.append(apply(operations[0]))
                    crash_point("commit.applied")
                    operations = operations[1:]
                results += [apply(operation) for operation in operations]
            writes.finish()
            crash_point("commit.before-sync")
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, _OPERATION_FAULTS):
                raise operation_fault(error) from error
            if isinstance(error, sqlite3.Error):
                self._shorten_log(error)
                raise self._translate(error, "written") from error
            raise
        crash_point("commit.after-sync")
        writes.committed()
        self._tidy(writes.pages_to_free)
        return results

    def _tidy(self, pages_to_free: int) -> None:
        """The commit is durable already, so a failure here must not fail it: it shows at the next commit if it lasts."""
        try:
            if pages_to_free:
                # As a script: `execute` takes one step of it, which frees one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({pages_to_free})")
            self._checkpointer.after_commit()
        except sqlite3.Error as error:
            self._checkpointer.error = error

    def _shorten_log(self, error: sqlite3.Error) -> None:
        """When there is no room, what the log holds may still fit into the file; the next commit then begins it again."""
        if error.sqlite_errorcode & 0xFF in _NO_ROOM:
            with contextlib.suppress(sqlite3.Error):  # the commit's own error is the one to tell
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._translate(error, "rolled back") from error

    def held_of(self, parts: int) -> dict[str, int]:
        """From counts in memory, which begin with the first call."""
        held: dict[str, int] = {}
        for (system, part), count in self._writes.held_by_part(self.parked_by_part).items():
            if is_in(parts, part):
                held[system] = held.get(system, 0) + count
        return held

    def recover(self, parts: int) -> None:
        """Raises JournalError as ``commit`` does."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE facts SET value = value + 1 WHERE name = 'opening'")
            (opening,) = self._db.execute("SELECT value FROM facts WHERE name = 'opening'").fetchone()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self._translate(error, "written") from error
        self._writes.opening = opening
        self._borders.update({part: (self._writes.last_seq, opening) for part in range(PARTS) if is_in(parts, part)})

    def reader(self) -> SqliteReads:
        """Reads over a read-only connection of their own, for use by one other thread; close it after use."""
        recovered_seq, opening = self._border
        return SqliteReads(self._connect_to_read(), opening, recovered_seq)

    def _connect_to_read(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        """Checkpoints and gives the lock back. Closing twice is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        if self._warming is not None:
            self._warming.close()
        self._checkpointer.close()
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _NO_ROOM:  # without room the log stays; what it holds is on disk
                raise self._translate(error, "checkpointed") from error
        finally:
            self._db.close()
            self._lock.give_back()

    def size_bytes(self) -> int:
        """The journal file and its write-ahead log, as they are on disk."""
        log = self.path.with_name(self.path.name + "-wal")
        return self.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _translate(self, error: sqlite3.Error, what: str) -> JournalError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return JournalFull(
                f"The disk is full: the journal {self.path} could not be {what}.",
                mend="Free space or shorten the retention; nothing of this group was kept, try it again.",
            )
        if code in _CORRUPT:
            return self._corrupt(str(error))
        return JournalError(
            f"The journal {self.path} could not be {what}: {error}.",
            mend="Look at the disk and its file system; nothing of this group was kept.",
            code="journal.commit" if what != "opened" else "journal.path",
        )

    def _corrupt(self, why: str) -> JournalError:
        return JournalError(
            f"The journal {self.path} is damaged: {why}.",
            mend="Stop, keep a copy of the file with its -wal, and restore the last backup.",
            code="journal.corrupt",
        )

    def _path_error(self, error: OSError) -> JournalError:
        return JournalError(
            f"The journal {self.path} cannot be opened: {error.strerror}.",
            mend="Give Accord a folder it may write to.",
            code="journal.path",
        )


def _sync_directory(folder: Path) -> None:
    """So that the file's name survives a power cut, not only its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
