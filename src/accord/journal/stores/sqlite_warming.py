"""Reads the marks of events into memory after a start.

Every message that is accepted looks for its event among the marks, at a random place of their index. In a journal of millions whose
file is not in memory, as after a boot, each such look waits for the disk. So a thread reads the index once from one end to the other,
in slices that are short enough not to keep the write-ahead log from beginning again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable

SLICES = 256  # by the first byte of the digest, which is random
WITHIN_S = 60.0  # an index that cannot be read in that time does not fit into memory either

_READ_SLICE = "SELECT max(seq) FROM marks WHERE digest >= ? AND digest < ?"  # no smaller index has the seq


class Warming:
    """``close`` before the journal's file is given back; it waits for the slice under way."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._is_ending = threading.Event()
        self.slices = 0  # that have been read
        self.error: sqlite3.Error | None = None  # why the rest was left: no harm but slow looks
        self._thread = threading.Thread(target=self._run, name="accord-journal-warming", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        until = time.monotonic() + WITHIN_S
        try:
            with contextlib.closing(self._connect()) as db:
                for first in range(SLICES):
                    if self._is_ending.is_set() or time.monotonic() > until:
                        return
                    end = bytes([first + 1]) if first + 1 < SLICES else b"\xff" * 64
                    db.execute(_READ_SLICE, (bytes([first]), end)).fetchone()
                    self.slices += 1
        except sqlite3.Error as error:
            self.error = error

    def join(self) -> None:
        self._thread.join()

    def close(self) -> None:
        self._is_ending.set()
        self._thread.join()
