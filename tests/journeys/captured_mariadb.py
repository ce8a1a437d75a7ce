"""People at work in a MariaDB table that Accord copies by its changes; as ``captured``, in MariaDB's words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pymysql

from journeys.captured import LARGE, People
from servers import MariaServer

TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(200) NOT NULL, total decimal(12,2) NOT NULL, note text);
CREATE TABLE copies (id bigint PRIMARY KEY, name varchar(200) NOT NULL, total decimal(12,2) NOT NULL, note text)
"""
AWAY = (pymysql.err.OperationalError, pymysql.err.InterfaceError, pymysql.err.InternalError)  # also a deadlock


@contextlib.contextmanager
def connected(server: MariaServer, *, autocommit: bool = True) -> Iterator[Any]:
    connection = pymysql.connect(
        host="127.0.0.1", port=server.port, user="accord", database="accord", charset="utf8mb4", autocommit=autocommit
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def make(server: MariaServer, old: int = 0) -> None:
    """The tables, with ``old`` rows to begin with."""
    with connected(server) as db:
        for statement in TABLES.split(";"):
            db.execute(statement)
        if old:
            db.execute(f"INSERT INTO orders SELECT seq, CONCAT('old ', seq), seq, NULL FROM seq_1_to_{old}")


def rows(server: MariaServer, table: str) -> list[tuple[Any, ...]]:
    with connected(server) as db:
        db.execute(f"SELECT id, name, total, md5(note) FROM {table} ORDER BY id")
        return list(db.fetchall())


def is_copied(server: MariaServer) -> bool:
    with contextlib.suppress(*AWAY):
        return rows(server, "orders") == rows(server, "copies")
    return False


class MariaPeople(People):
    """See People."""

    server: Any

    def run(self) -> None:
        while self.done < self.wanted and self.failure is None:
            try:
                with connected(self.server, autocommit=False) as db:
                    db.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    db.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    while self.done < self.wanted:
                        self.done += self.transaction(db)
            except AWAY:
                time.sleep(0.05)  # the server is being restarted
            except Exception as error:  # noqa: BLE001 (told by the test)
                self.failure = error

    def transaction(self, db: Any) -> int:
        count = 0
        db.execute("BEGIN")
        for _ in range(self.chance.randint(1, 8)):
            base, at = self.seed * 1_000_000, self.chance.randrange(self.ids)
            span = self.chance.randint(1, max(1, self.rows_max // 8))
            text, is_upsert = self.words(base + at, base + at + span)
            db.execute(text)
            count += span + 1 if is_upsert else db.rowcount
        db.execute("COMMIT")
        return count

    def words(self, low: int, high: int) -> tuple[str, bool]:
        kind = self.chance.random()
        if kind < 0.5:
            note = f"IF(seq % 40 = 0, REPEAT('ä', {LARGE}), NULL)"
            return (
                f"INSERT INTO orders SELECT seq, CONCAT('name ', seq), seq / 100, {note} FROM seq_{low}_to_{high} "
                "ON DUPLICATE KEY UPDATE total = orders.total + 1"
            ), True
        if kind < 0.8:
            return (
                "UPDATE orders SET name = CONCAT(name, '.'), total = total + 0.01 "
                f"WHERE id BETWEEN {low} AND {high} AND LENGTH(name) < 60"
            ), False
        if kind < 0.95:
            return f"DELETE FROM orders WHERE id BETWEEN {low} AND {high}", False
        return f"UPDATE IGNORE orders SET id = id + 500000 WHERE id = {low}", False
