"""A stand-in's memory: one SQLite file in WAL mode, one connection, one thread.

An answer is sent after COMMIT, so a killed process forgets nothing it answered: the written pages are the kernel's. Without
``synchronous`` the last commits may be lost when the machine dies: good enough for a stand-in, and fast.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accord.sandbox import clock
from accord.sandbox.http_server import Refusal, Request, Response

SHARED_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS idempotency (
  scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (scope, key)) WITHOUT ROWID;
"""


def now_text() -> str:
    """The present in UTC with microseconds: sorts as text."""
    return clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")


class Store:
    def __init__(self, path: Path, schema: str) -> None:
        self.path, self.schema = path, schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self._create()

    def _create(self) -> None:
        for statement in (SHARED_SCHEMA + self.schema).split(";"):
            if statement.strip():
                self.db.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; may be entered again inside itself (the outer one commits)."""
        if self.db.in_transaction:
            yield self.db
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: object) -> int:
        row = self.one(sql, *values)
        return int(row[0] or 0) if row else 0

    def fact(self, name: str) -> str | None:
        row = self.one("SELECT value FROM facts WHERE name = ?", name)
        return row[0] if row else None

    def keep_fact(self, name: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def wipe(self) -> None:
        """Empties every table."""
        with self.transaction():
            for (table,) in self.all(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ):
                self.db.execute(f'DELETE FROM "{table}"')  # noqa: S608 - names come from the schema above

    def close(self) -> None:
        self.db.close()

    def once(self, scope: str, key: str, request: Request, work: Callable[[], Response]) -> Response:
        """Does the work and keeps its answer under the key in one transaction; the same key again gets the kept answer.

        Raises Refusal 422 when the key came before with another request. A refused work keeps nothing: it may be retried.
        """
        with self.transaction() as db:
            if not key:
                return work()
            fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).hexdigest()
            kept = self.one("SELECT fingerprint, status, body FROM idempotency WHERE scope = ? AND key = ?", scope, key)
            if kept is not None:
                if kept[0] != fingerprint:
                    message = "This Idempotency-Key was used for another request; use a new key."
                    raise Refusal(422, "idempotency-key-reused", message)
                return Response(kept[1], kept[2], headers=(("Idempotency-Replayed", "true"),))
            response = work()
            db.execute(
                "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)",
                (scope, key, fingerprint, response.status, response.body),
            )
            return response
