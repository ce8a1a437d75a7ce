"""Moves what the write-ahead log holds into the journal file without stopping the writer.

A checkpoint of many pages takes tens of milliseconds; run by the writer it would stall every request. So a thread with a
connection of its own copies the bulk (SQLite works with the interpreter's lock released), and the writer then takes only
the few pages written meanwhile, after which SQLite starts the log again from its beginning. When the thread cannot keep
up, the log is bounded by ``frames_max``: from there on the writer does whole checkpoints itself, which slows it down to
what the disk can take.

How many frames the log holds is read from the shared-memory index: ``mxFrame``, four bytes in native order at offset 16
(https://www.sqlite.org/walformat.html#the_wal_index_header).
"""

from __future__ import annotations

import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from accord.observe.crash_points import crash_point

_MAX_FRAME_OFFSET = 16
_TRY_EVERY_COMMITS = 64  # over the bound while a reader holds an old snapshot: no use trying at every commit


class Checkpointer:
    """``after_commit`` is called by the writer after each commit; ``close`` before the writer's connection is closed."""

    def __init__(
        self,
        writer: sqlite3.Connection,
        connect: Callable[[], sqlite3.Connection],
        path: Path,
        *,
        frames_start: int,
        frames_max: int,
    ) -> None:
        """``frames_start``: log length at which the thread begins; ``frames_max``: at which the writer takes over."""
        self._writer = writer
        self._connect = connect
        self._index = os.open(path.with_name(path.name + "-shm"), os.O_RDONLY | os.O_CLOEXEC)
        self._frames_start = frames_start
        self._frames_max = frames_max
        self._commits_to_skip = 0
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: one checkpoint; False: end
        self._is_asked = False
        self._is_copied = threading.Event()
        self._thread: threading.Thread | None = None
        self.error: sqlite3.Error | None = (
            None  # the thread's last failure; the writer's own checkpoint makes up for it
        )

    def frames(self) -> int:
        """Pages now in the log."""
        return int.from_bytes(os.pread(self._index, 4, _MAX_FRAME_OFFSET), sys.byteorder)

    def after_commit(self) -> None:
        frames = self.frames()
        if frames < self._frames_start:
            return
        if self._is_copied.is_set():
            self._is_copied.clear()
            self._is_asked = False
            self._take_rest()
        elif frames >= self._frames_max:
            if self._commits_to_skip <= 0:
                self._take_rest()
                self._commits_to_skip = _TRY_EVERY_COMMITS
            self._commits_to_skip -= 1
        elif not self._is_asked:
            self._begin()

    def _take_rest(self) -> None:
        """When all frames are copied and nobody reads an old snapshot, the next commit starts the log again."""
        crash_point("checkpoint.before")
        self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        crash_point("checkpoint.after")

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="accord-journal-checkpoint", daemon=True)
            self._thread.start()
        self._is_asked = True
        self._orders.put(True)

    def _run(self) -> None:
        db = self._connect()
        try:
            while self._orders.get():
                try:
                    crash_point("checkpoint.copying")
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    self.error = None
                except sqlite3.Error as error:
                    self.error = error
                self._is_copied.set()
        finally:
            db.close()

    def close(self) -> None:
        if self._thread is not None:
            self._orders.put(False)
            self._thread.join()
        os.close(self._index)
