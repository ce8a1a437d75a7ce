"""People at work in a PostgreSQL table that Accord copies by its changes, into a table beside it, while things are killed."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any

import psycopg

from servers import PostgresServer

SYSTEM = """
system: {name}
connector: sql
settings: {{url: "{url}"{more}}}
entities:
  {entity}:
    key: id
    fields: {{id: integer, name: string, total: decimal, note: string?}}
"""
FLOW = """
flow: copy
on: {changes: erp.orders, topic: [snapshot, insert, update, delete, truncate]}
steps:
  - write: books.copies
    mode: upsert
    when: message.topic in ["snapshot", "insert", "update"]
    with: {id: id, name: name, total: total, note: note}
  - write: books.copies
    mode: delete
    when: message.topic == "delete"
    with: {id: id}
  - call: books.empty
    when: message.topic == "truncate"
on_error: {first: 50ms, longest: 1s, attempts: 200}
"""
EMPTY = ', operations: {empty: {query: "DELETE FROM copies"}}'
TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, name text NOT NULL, total numeric(12,2) NOT NULL, note text);
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
CREATE TABLE copies (id bigint PRIMARY KEY, name text NOT NULL, total numeric(12,2) NOT NULL, note text);
"""
LARGE = 3_000  # bytes of a note: kept out of line, so updates that do not touch it do not send it


def files(url: str, more: str = "") -> dict[str, str]:
    """Of a project that copies ``orders`` to ``copies``. ``more``: further settings of the source."""
    return {
        "systems/erp.yaml": SYSTEM.format(name="erp", url=url, entity="orders", more=more),
        "systems/books.yaml": SYSTEM.format(name="books", url=url, entity="copies", more=EMPTY),
        "flows/copy.yaml": FLOW,
    }


def rows(server: PostgresServer, table: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url) as db:
        return db.execute(f"SELECT id, name, total, md5(note) FROM {table} ORDER BY id").fetchall()


def is_copied(server: PostgresServer) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(server.url) as db:
        (differing,) = db.execute(
            "SELECT count(*) FROM orders o FULL JOIN copies c USING (id) WHERE (o.*) IS DISTINCT FROM (c.*)"
        ).fetchone() or (1,)
        return bool(differing == 0)
    return False


def retained_bytes(server: PostgresServer) -> int:
    """What the server keeps for the slot."""
    with psycopg.connect(server.url) as db:
        found = db.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots"
        ).fetchone()
    return int(found[0]) if found else 0


class People(threading.Thread):
    """Writes until ``changes`` changes are committed, in transactions of up to ``rows_max`` rows; goes on after a restart."""

    def __init__(
        self, server: PostgresServer, changes: int, seed: int, *, rows_max: int = 40, ids: int = 2_000
    ) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.wanted = changes
        self.done = 0
        self.chance = random.Random(seed)
        self.seed = seed
        self.rows_max = rows_max
        self.ids = ids
        self.failure: Exception | None = None

    def run(self) -> None:
        while self.done < self.wanted and self.failure is None:
            try:
                with psycopg.connect(self.server.url) as db:
                    while self.done < self.wanted:
                        self.done += self.one(db)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is being restarted
            except Exception as error:  # noqa: BLE001 (told by the test)
                self.failure = error

    def one(self, db: psycopg.Connection[Any]) -> int:
        """One transaction; how many rows it changed. Each thread has ids of its own, so none waits for another."""
        count = 0
        with db.transaction():
            for _ in range(self.chance.randint(1, 8)):
                base, at = self.seed * 1_000_000, self.chance.randrange(self.ids)
                span = self.chance.randint(1, max(1, self.rows_max // 8))
                count += db.execute(*self.statement(base, at, span)).rowcount
        return count

    def statement(self, base: int, at: int, span: int) -> tuple[Any, dict[str, Any]]:
        values = {"low": base + at, "high": base + at + span, "large": LARGE, "far": 500_000}
        kind = self.chance.random()
        if kind < 0.5:
            text = """INSERT INTO orders SELECT i, 'name ' || i, i / 100.0, CASE WHEN i %% 40 = 0 THEN repeat('ä', %(large)s) END
                      FROM generate_series(%(low)s::bigint, %(high)s) AS i ON CONFLICT (id) DO UPDATE SET total = orders.total + 1"""
        elif kind < 0.8:
            text = "UPDATE orders SET name = name || '.', total = total + 0.01 WHERE id BETWEEN %(low)s AND %(high)s AND length(name) < 60"
        elif kind < 0.95:
            text = "DELETE FROM orders WHERE id BETWEEN %(low)s AND %(high)s"
        else:
            text = """UPDATE orders SET id = id + %(far)s WHERE id = %(low)s
                      AND NOT EXISTS (SELECT 1 FROM orders WHERE id = %(low)s + %(far)s)"""
        return text, values
