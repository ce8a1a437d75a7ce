"""The layout of the journal file and the way from an older layout to this one.

Every file carries its layout in table ``version`` (one row per migration applied). ``migrate`` applies what is missing, each
migration in one transaction, so a crash between two leaves a file of a known version. A file of a newer version is refused.

Columns hold times and values as ``accord.journal.encoding`` writes them.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence

from accord.errors import JournalError
from accord.journal.encoding import to_us
from accord.observe.crash_points import crash_point

APPLICATION_ID = 0x41435244  # "ACRD": tells an Accord journal from any other SQLite file
PAGE_SIZE_BYTES = 4096

Migration = tuple[str, ...]

_FIRST: Migration = (
    # Small rows only: a settle rewrites this row's page, so the bodies live elsewhere.
    """CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        flow TEXT NOT NULL,
        key TEXT NOT NULL,
        state INTEGER NOT NULL,
        is_head INTEGER NOT NULL,
        accepted_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        parts INTEGER NOT NULL DEFAULT 0,
        due INTEGER,
        held_by TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        in_doubt BLOB,
        settled_at INTEGER,
        replayed_in INTEGER
    )""",
    "CREATE INDEX messages_open ON messages (flow, key) WHERE state < 10",
    "CREATE INDEX messages_eligible ON messages (flow) WHERE state = 0 AND is_head = 1",
    "CREATE INDEX messages_due ON messages (due) WHERE state = 1",
    "CREATE INDEX messages_held ON messages (held_by) WHERE state = 2",
    # Only for looking at: messages wait or are held seldom enough for one more index.
    "CREATE INDEX messages_parked ON messages (state) WHERE state = 1 OR state = 2",
    "CREATE INDEX messages_done ON messages (accepted_at) WHERE state = 10",
    "CREATE TABLE contents (seq INTEGER PRIMARY KEY, message BLOB NOT NULL)",
    "CREATE TABLE results (seq INTEGER NOT NULL, part INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (seq, part))"
    " WITHOUT ROWID",
    "CREATE TABLE dead (seq INTEGER PRIMARY KEY, flow TEXT NOT NULL, at INTEGER NOT NULL, letter BLOB NOT NULL)",
    "CREATE INDEX dead_flow ON dead (flow)",
    "CREATE TABLE marks (digest BLOB PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX marks_at ON marks (at)",
    "CREATE TABLE cross_references (entity TEXT NOT NULL, key TEXT NOT NULL, other TEXT NOT NULL, other_key TEXT NOT NULL,"
    " PRIMARY KEY (entity, key, other)) WITHOUT ROWID",
    "CREATE TABLE cursors (name TEXT PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE counters (flow TEXT NOT NULL, state INTEGER NOT NULL, held_by TEXT NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (flow, state, held_by)) WITHOUT ROWID",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO facts (name, value) VALUES ('opening', 0), ('seq_floor', 0)",
)

_VERSIONED_MARKS: Migration = ("ALTER TABLE marks ADD COLUMN version TEXT NOT NULL DEFAULT ''",)

MIGRATIONS: tuple[Migration, ...] = (_FIRST, _VERSIONED_MARKS)


def version_of(db: sqlite3.Connection) -> int:
    """The layout's version; 0 for an empty file."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'version'").fetchone() is None:
        return 0
    return int(db.execute("SELECT coalesce(max(version), 0) FROM version").fetchone()[0])


def check_is_journal(db: sqlite3.Connection, path: str) -> None:
    """Refuses a SQLite file that some other program made."""
    found = int(db.execute("PRAGMA application_id").fetchone()[0])
    has_tables = db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
    if found != APPLICATION_ID and has_tables:
        raise JournalError(
            f"{path} is a SQLite file, but not an Accord journal.",
            mend="Point the journal at another path; this file was left as it is.",
            code="journal.foreign",
        )


def migrate(db: sqlite3.Connection, path: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Brings the file to the last of ``migrations``. Raises JournalError ``journal.newer`` for a file from the future."""
    check_is_journal(db, path)
    version = version_of(db)
    if version > len(migrations):
        raise JournalError(
            f"{path} has layout {version}; this Accord knows layouts up to {len(migrations)}.",
            mend="Run the version of Accord that wrote it, or a newer one.",
            code="journal.newer",
        )
    if version == 0:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for number, statements in enumerate(migrations[version:], start=version + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("CREATE TABLE IF NOT EXISTS version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)")
            for statement in statements:
                db.execute(statement)
                crash_point("migrate.statement")
            db.execute("INSERT INTO version VALUES (?, ?)", (number, to_us(dt.datetime.now(dt.UTC))))
            crash_point("migrate.before-commit")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        crash_point("migrate.after-commit")
