"""How a database that is only a file is "down": its write lock is held, as a hung night job of the old application would.

Writers wait as long as their own timeout and then hear "database is locked". On SQLite in WAL mode readers still pass; on
PostgreSQL the tables are locked for readers too. The file is never renamed or made unreadable: an open connection would go
on writing to a file nobody sees.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from accord.sandbox.accounting.tables import TABLES

TRY_EVERY_S = 0.005
BREATH_S = 0.1  # between two holds of a slow database, so that waiting writers get in


class FileLock:
    """The write lock of a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: sqlite3.Connection | None = None

    async def hold(self) -> None:
        if self._held is not None:
            return
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as fault:
                if "locked" not in str(fault):
                    connection.close()
                    raise
                await asyncio.sleep(TRY_EVERY_S)
        self._held = connection

    @property
    def reader(self) -> Connection | None:
        """None: readers pass the lock of a WAL file."""
        return None

    async def release(self) -> None:
        if self._held is not None:
            self._held.rollback()
            self._held.close()
            self._held = None


class TableLock:
    """An exclusive lock on the tables of a PostgreSQL database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._held: Connection | None = None

    async def hold(self) -> None:
        if self._held is None:
            self._held = await asyncio.to_thread(self._lock)

    def _lock(self) -> Connection:
        connection = self.engine.connect()
        connection.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"))
        return connection

    @property
    def reader(self) -> Connection | None:
        """The only connection that can read while the tables are locked; None when they are not."""
        return self._held

    async def release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            await asyncio.to_thread(held.close)  # closing rolls back
