"""Puts a journal back to the layout before the last one, so that a migration of a full journal can be killed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from accord.journal.stores.sqlite_schema import MIGRATIONS, PAGE_SIZE_BYTES, migrate


def downgrade(journal: Path) -> None:
    """Copies every table's columns that the older layout has too. The journal must not be open anywhere."""
    older = journal.with_name("older.db")
    older.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(older, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(db, str(older), MIGRATIONS[:-1])
        db.execute("ATTACH ? AS newer", (str(journal),))
        db.execute("BEGIN")
        tables = [name for (name,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
        there = {name for (name,) in db.execute("SELECT name FROM newer.sqlite_schema WHERE type = 'table'")}
        for table in tables:
            if table == "version" or table not in there or table.startswith("sqlite_"):
                continue
            columns = _columns(db, "newer", table)
            shared = ", ".join(name for name in _columns(db, "main", table) if name in columns)
            db.execute(f"DELETE FROM main.{table}")  # noqa: S608 (names of the layout itself)
            db.execute(f"INSERT INTO main.{table} ({shared}) SELECT {shared} FROM newer.{table}")  # noqa: S608
        db.execute("COMMIT")
    os.replace(older, journal)  # noqa: PTH105
    for suffix in ("-wal", "-shm"):
        journal.with_name(journal.name + suffix).unlink(missing_ok=True)


def _columns(db: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))]
