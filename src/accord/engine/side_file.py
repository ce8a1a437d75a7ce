"""A small SQLite file beside the journal, worked on by one thread of its own, so that it never delays a commit of the journal.

Several processes may share the file (WAL). It is opened when it is first needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from accord.settings.folder_lock import locked

T = TypeVar("T")

BUSY_TIMEOUT_S = 10.0  # for another process's write to end


class SideFile:
    """``synchronous``: FULL survives a power cut, OFF may lose the file with one and never waits for the disk."""

    def __init__(self, path: Path, schema: str, *, synchronous: Literal["FULL", "OFF"]) -> None:
        self.path = path
        self._schema = schema
        self._synchronous = synchronous
        self._db: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In one transaction, in the file's thread. Raises sqlite3.Error."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.path.stem)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._db or self._open()
        with db:
            return work(db)

    def _open(self) -> sqlite3.Connection:
        # Of two that turn a new file to WAL at once SQLite tells one "database is locked", without waiting.
        with locked(self.path.parent):
            _create(self.path)
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(f"PRAGMA synchronous = {self._synchronous}")
                db.executescript(self._schema)
            except BaseException:
                db.close()
                raise
        self._db = db
        return db

    async def close(self) -> None:
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        await asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown()

    async def discard(self) -> None:
        """The file is begun anew with what is done next. Processes that have it open go on with the old one until they end."""
        await self.close()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _create(path: Path) -> None:
    """A file that is there is not opened: closing it would drop the locks which this process's connections hold on it."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
