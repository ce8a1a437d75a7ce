"""A SQLite journal as the local state of a replicated log: what it holds can be read again from there, so a commit need not sync."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from accord.errors import JournalError
from accord.journal.store import Store
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_copies import copy_online, sync


class SqliteReplica:
    """A Replica in the file ``path``; its node id is in ``<path>.node``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def node(self) -> str:
        kept = self.path.with_name(self.path.name + ".node")
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            new = kept.with_name(kept.name + ".new")
            new.write_text(secrets.token_hex(8))
            sync(new)
            new.replace(kept)
        return kept.read_text().strip()

    def store(self, now: Callable[[], dt.datetime]) -> Store:
        return SqliteStore(self.path, now=now, is_synced=False)

    def cursor(self, name: str) -> bytes | None:
        """Beside a running store. Raises JournalError ``journal.path`` when there is no state yet."""
        return _cursor(self.path, name)

    def copy(self, to: Path, cursor: str) -> bytes:
        to.unlink(missing_ok=True)
        os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            copy_online(self.path, to)
        except sqlite3.Error as error:
            what = f"The journal {self.path} could not be copied: {error}."
            raise JournalError(what, mend="Is there room for the copy?", code="journal.path") from error
        position = _cursor(to, cursor)
        assert position is not None, "the store over this state has saved it before anything is copied"
        return position

    def put(self, source: Path) -> None:
        """The old log goes first: without it the old file is merely older, but under the new file it would be wrong."""
        source.chmod(0o600)
        sync(source)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        source.replace(self.path)
        sync(self.path.parent)


def _cursor(path: Path, name: str) -> bytes | None:
    if not path.is_file():
        raise JournalError(f"There is no journal at {path}.", mend="Check the path.", code="journal.path")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT position FROM cursors WHERE name = ?", (name,)).fetchone()
    except sqlite3.Error as error:
        raise JournalError(
            f"{path} cannot be read: {error}.", mend="Is it a journal?", code="journal.corrupt"
        ) from error
    return None if row is None else bytes(row[0])
