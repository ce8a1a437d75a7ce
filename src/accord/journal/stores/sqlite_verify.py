"""Reads a journal file and says which of the invariants of ``sqlite.py`` it breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from accord.errors import JournalError
from accord.journal.encoding import decode_letter, decode_message, decode_paths, decode_results, to_us
from accord.journal.stores.sqlite_schema import MIGRATIONS, check_is_journal, version_of

_EXAMPLES_MAX = 5

# (invariant, query whose rows are violations and whose first column names the culprit)
_QUERIES = (
    ("message without a body", "SELECT seq FROM messages WHERE seq NOT IN (SELECT seq FROM contents)"),
    ("body without a message", "SELECT seq FROM contents WHERE seq NOT IN (SELECT seq FROM messages)"),
    ("unknown state", "SELECT seq FROM messages WHERE state NOT IN (0, 1, 2, 10, 11)"),
    (
        "results do not match the number of parts",
        "SELECT m.seq FROM messages m LEFT JOIN (SELECT seq, count(*) AS n FROM results GROUP BY seq) r USING (seq)"
        " WHERE m.parts != coalesce(r.n, 0)",
    ),
    ("results without a message", "SELECT DISTINCT seq FROM results WHERE seq NOT IN (SELECT seq FROM messages)"),
    (
        "open message that should be head of its key and is not, or the other way round",
        "SELECT seq FROM (SELECT seq, is_head, seq = min(seq) OVER (PARTITION BY flow, key) AS should FROM messages"
        " WHERE state < 10) WHERE is_head != should",
    ),
    ("settled message that is head", "SELECT seq FROM messages WHERE state >= 10 AND is_head"),
    ("settled message without a time", "SELECT seq FROM messages WHERE state >= 10 AND settled_at IS NULL"),
    ("open message with a settle time", "SELECT seq FROM messages WHERE state < 10 AND settled_at IS NOT NULL"),
    ("waiting and due do not agree", "SELECT seq FROM messages WHERE (state = 1) != (due IS NOT NULL)"),
    ("held by a system without being held", "SELECT seq FROM messages WHERE state != 2 AND held_by != ''"),
    ("dead message without its letter", "SELECT seq FROM messages WHERE state = 11 AND seq NOT IN (SELECT seq FROM dead)"),
    ("letter without a dead or discarded message",
     "SELECT seq FROM dead WHERE seq NOT IN (SELECT seq FROM messages WHERE state >= 10)"),
    (
        "counter differs from the messages counted",
        "SELECT flow || '/' || state || '/' || held_by || ': ' || sum(counted) || ' counted, ' || sum(found) || ' found' FROM ("
        "SELECT flow, state, held_by, n AS counted, 0 AS found FROM counters"
        " UNION ALL SELECT flow, state, held_by, 0, count(*) FROM messages GROUP BY flow, state, held_by)"
        " GROUP BY flow, state, held_by HAVING sum(counted) != sum(found)",
    ),
    (
        "cross-reference without its other direction",
        "SELECT a.entity || '/' || a.key || '/' || a.other FROM cross_references a LEFT JOIN cross_references b"
        " ON b.entity = a.other AND b.key = a.other_key AND b.other = a.entity WHERE b.key IS NULL",
    ),
)  # fmt: skip


def verify(path: str | Path) -> list[str]:
    """The violations found, empty when all is well; reads beside a running owner. Raises JournalError when there is no such file."""
    path = Path(path)
    if not path.is_file():
        raise JournalError(f"There is no journal at {path}.", mend="Check the path.", code="journal.path")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        return list(_violations(db, str(path)))
    except sqlite3.DatabaseError as error:
        return [f"the file is damaged: {error}"]
    except JournalError as error:
        return [error.what]
    finally:
        db.close()


def _violations(db: sqlite3.Connection, path: str) -> Iterator[str]:
    check_is_journal(db, path)
    if version_of(db) != len(MIGRATIONS):
        yield f"the layout is {version_of(db)}, this program checks {len(MIGRATIONS)}"
        return
    db.execute("BEGIN")
    for (line,) in db.execute("PRAGMA integrity_check(20)").fetchall():
        if line != "ok":
            yield f"the file is damaged: {line}"
    for name, query in _QUERIES:
        culprits = db.execute(query).fetchmany(_EXAMPLES_MAX + 1)
        if culprits:
            more = " …" if len(culprits) > _EXAMPLES_MAX else ""
            yield f"{name}: {', '.join(str(row[0]) for row in culprits[:_EXAMPLES_MAX])}{more}"
    yield from _undecodable(db)


def _undecodable(db: sqlite3.Connection) -> Iterator[str]:
    rows = db.execute(
        "SELECT m.seq, m.id, m.flow, m.key, m.accepted_at, c.message, m.in_doubt FROM messages m JOIN contents c USING (seq)"
    )
    for seq, id_, flow, key, accepted_at, content, in_doubt in rows:
        try:
            message = decode_message(content)
            if in_doubt is not None:
                decode_paths(in_doubt)
        except msgspec.DecodeError as error:
            yield f"message {seq} cannot be read: {error}"
            continue
        if (message.id, message.flow, message.key, to_us(message.time)) != (id_, flow, key, accepted_at):
            yield f"message {seq} differs from its index row"
    for table, decode in (("results", decode_results), ("dead", decode_letter)):
        column = "value" if table == "results" else "letter"
        for seq, value in db.execute(f"SELECT seq, {column} FROM {table}"):  # noqa: S608 - names from the line above
            try:
                decode(value)
            except msgspec.DecodeError as error:
                yield f"{table} of message {seq} cannot be read: {error}"
