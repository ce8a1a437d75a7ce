"""The audit trail: who did what, when, from where, and what came of it. Append-only; what is older than its time goes.

Invariants: an entry is on disk before the answer to its action is given; entries are never changed (the file refuses it). Actions at
the same time share a commit. Each machine keeps its own file; its workers share it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from accord.engine.operators.roles import Actor
from accord.engine.side_file import SideFile

LIST_MAX = 1000
ROWS_MAX = 1_000_000  # about 200 MB; beyond it the oldest go before their time
PRUNE_EVERY = 500  # entries
TEXT_MAX = 500  # characters of one column
SCHEMA = """
CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL);
INSERT INTO store SELECT lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT 1 FROM store);
CREATE TABLE IF NOT EXISTS audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, via TEXT NOT NULL,
  action TEXT NOT NULL, object TEXT NOT NULL, result TEXT NOT NULL, address TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
CREATE TRIGGER IF NOT EXISTS audit_is_append_only BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``action``: a word (``replay``, ``cancel``, ``sign-in``); ``object``: what it was done to (``messages/7``). ``result``: ``done``,
    or why not. ``address``: of the connection, '' when there was none."""

    id: int = 0
    at: dt.datetime
    actor: str
    role: str
    via: str
    action: str
    object: str
    result: str
    address: str


class Audit:
    """``now``: seconds since 1970. ``unwritten`` hears of entries that could not be written, and why."""

    def __init__(
        self,
        path: Path,
        kept: dt.timedelta,
        unwritten: Callable[[AuditEntry, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = SideFile(path, SCHEMA, synchronous="FULL")
        self._kept_s = kept.total_seconds()
        self._unwritten = unwritten
        self._now = now
        self._waiting: list[tuple[AuditEntry, asyncio.Future[None]]] = []
        self._flush: asyncio.Task[None] | None = None
        self._since_prune = PRUNE_EVERY  # the first entry after a start looks as well

    async def record(self, actor: Actor, action: str, object: str, result: str, address: str) -> None:
        """Returns when it is on disk, or has been told to ``unwritten``."""
        entry = AuditEntry(
            at=dt.datetime.fromtimestamp(self._now(), dt.UTC),
            actor=actor.name[:TEXT_MAX],
            role=actor.role.name.lower(),
            via=actor.via,
            action=action[:TEXT_MAX],
            object=object[:TEXT_MAX],
            result=result[:TEXT_MAX],
            address=address[:TEXT_MAX],
        )
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._flush is None:
            self._flush = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            entries = [entry for entry, _ in batch]
            try:
                await self._file.run(functools.partial(self._insert, entries=entries))
            except (sqlite3.Error, OSError) as error:
                for entry in entries:
                    self._unwritten(entry, str(error))
            for _, written in batch:
                if not written.done():
                    written.set_result(None)
        self._flush = None

    def _insert(self, db: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
        rows = [(e.at.timestamp(), e.actor, e.role, e.via, e.action, e.object, e.result, e.address) for e in entries]
        sql = (
            "INSERT INTO audit (at, actor, role, via, action, object, result, address) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        db.executemany(sql, rows)
        self._since_prune += len(rows)
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            db.execute("DELETE FROM audit WHERE at < ?", (self._now() - self._kept_s,))
            db.execute("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (ROWS_MAX,))

    async def entries(
        self, *, before: float = 0.0, actor: str = "", action: str = "", limit: int = 100
    ) -> Mapping[str, Sequence[AuditEntry]]:
        """By the id of the file they are in, newest first. ``before``: only older ones than this time (seconds since 1970; 0: all).
        Raises sqlite3.Error."""
        return await self._file.run(lambda db: _read(db, before, actor, action, min(limit, LIST_MAX)))

    async def close(self) -> None:
        if self._flush is not None:
            await self._flush
        await self._file.close()


def _read(
    db: sqlite3.Connection, before: float, actor: str, action: str, limit: int
) -> dict[str, Sequence[AuditEntry]]:
    store = db.execute("SELECT id FROM store").fetchone()[0]
    rows = db.execute(
        "SELECT id, at, actor, role, via, action, object, result, address FROM audit"
        " WHERE (:before = 0 OR at < :before) AND (:actor = '' OR actor = :actor) AND (:action = '' OR action = :action)"
        " ORDER BY at DESC, id DESC LIMIT :limit",
        {"before": before, "actor": actor, "action": action, "limit": limit},
    )
    names = ("id", "at", "actor", "role", "via", "action", "object", "result", "address")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return {store: [AuditEntry(**{**one, "at": dt.datetime.fromtimestamp(one["at"], dt.UTC)}) for one in found]}


def newest_first(found: Iterable[Sequence[AuditEntry]], limit: int) -> list[AuditEntry]:
    """Of several files, the newest ``limit``."""
    return sorted((entry for entries in found for entry in entries), key=lambda entry: entry.at, reverse=True)[:limit]
