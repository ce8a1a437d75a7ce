"""Reads a journal in PostgreSQL and says which of its invariants it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import Connection, sql

from accord.errors import JournalError
from accord.journal.encoding import decode_letter, decode_message, decode_paths, decode_results, to_us
from accord.journal.shared import part_of
from accord.journal.stores.postgresql_arrays import storable
from accord.journal.stores.postgresql_faults import unavailable
from accord.journal.stores.postgresql_schema import MIGRATIONS

_EXAMPLES_MAX = 5
_FETCH = 1_000  # rows held in memory at a time

# (invariant, query whose rows are violations and whose first column names the culprit)
_QUERIES: tuple[tuple[str, LiteralString], ...] = (
    ("message without a body", "SELECT seq FROM messages m WHERE NOT EXISTS (SELECT FROM contents c WHERE c.seq = m.seq)"),
    ("body without a message", "SELECT seq FROM contents c WHERE NOT EXISTS (SELECT FROM messages m WHERE c.seq = m.seq)"),
    ("unknown state", "SELECT seq FROM messages WHERE state NOT IN (0, 1, 2, 10, 11)"),
    (
        "results do not match the number of parts",
        "SELECT m.seq FROM messages m LEFT JOIN (SELECT seq, count(*) AS n FROM results GROUP BY seq) r ON r.seq = m.seq"
        " WHERE m.parts != coalesce(r.n, 0)",
    ),
    (
        "results without a message",
        "SELECT DISTINCT seq FROM results r WHERE NOT EXISTS (SELECT FROM messages m WHERE r.seq = m.seq)",
    ),
    (
        "open message that should be head of its key and is not, or the other way round",
        "SELECT seq FROM (SELECT seq, is_head, seq = min(seq) OVER (PARTITION BY flow, key) AS should FROM messages"
        " WHERE state < 10) o WHERE is_head != should",
    ),
    ("settled message that is head", "SELECT seq FROM messages WHERE state >= 10 AND is_head"),
    ("settled message without a time", "SELECT seq FROM messages WHERE state >= 10 AND settled_at IS NULL"),
    ("open message with a settle time", "SELECT seq FROM messages WHERE state < 10 AND settled_at IS NOT NULL"),
    ("waiting and due do not agree", "SELECT seq FROM messages WHERE (state = 1) != (due IS NOT NULL)"),
    ("held by a system without being held", "SELECT seq FROM messages WHERE state != 2 AND held_by != ''"),
    (
        "dead message without its letter",
        "SELECT seq FROM messages m WHERE state = 11 AND NOT EXISTS (SELECT FROM dead d WHERE d.seq = m.seq)",
    ),
    (
        "letter without a dead or discarded message",
        "SELECT seq FROM dead d WHERE NOT EXISTS (SELECT FROM messages m WHERE d.seq = m.seq AND m.state >= 10)",
    ),
    (
        "counter differs from the messages counted",
        "SELECT flow || '/' || state || '/' || held_by || ': ' || sum(counted) || ' counted, ' || sum(found) || ' found' FROM ("
        "SELECT flow, state, held_by, n AS counted, 0 AS found FROM counters"
        " UNION ALL SELECT flow, state, held_by, 0, count(*) FROM messages GROUP BY flow, state, held_by) c"
        " GROUP BY flow, state, held_by HAVING sum(counted) != sum(found)",
    ),
    (
        "cross-reference without its other direction",
        "SELECT a.entity || '/' || a.key || '/' || a.other FROM cross_references a LEFT JOIN cross_references b"
        " ON b.entity = a.other AND b.key = a.other_key AND b.other = a.entity WHERE b.key IS NULL",
    ),
    (
        "part whose held messages are counted wrong",
        "SELECT part FROM (SELECT -1 - slot AS part, sum(n) AS counted, 0 AS found FROM counters WHERE state = 2 GROUP BY 1"
        " UNION ALL SELECT part, 0, count(*) FROM messages WHERE state = 2 GROUP BY 1) p"
        " GROUP BY part HAVING sum(counted) != sum(found)",
    ),
    ("part without a row", "SELECT n FROM generate_series(0, 63) n WHERE NOT EXISTS (SELECT FROM parts WHERE part = n)"),
    ("member without a beat", "SELECT id FROM members WHERE NOT EXISTS (SELECT FROM beats WHERE member = id)"),
)  # fmt: skip


def verify(url: str, schema: str = "accord") -> list[str]:
    """The violations found, empty when all is well; reads one snapshot beside a running owner. Raises JournalError when the database
    cannot be reached or holds no journal there."""
    try:
        with psycopg.connect(url, connect_timeout=5) as db:
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            db.read_only = True
            db.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
            if db.execute("SELECT to_regclass('version')").fetchone() == (None,):
                raise JournalError(
                    f"There is no journal in schema '{schema}'.", mend="Check `url` and `schema`.", code="journal.path"
                )
            return list(_violations(db))
    except psycopg.OperationalError as error:
        raise unavailable(error) from error


def _violations(db: Connection[Any]) -> Iterator[str]:
    row = db.execute("SELECT max(version) FROM version").fetchone()
    if row is None or row[0] < len(MIGRATIONS) or not _is_compatible(db):
        yield f"the layout is {row and row[0]}, this program checks {len(MIGRATIONS)}"
        return
    for name, query in _QUERIES:
        culprits = db.execute(query).fetchmany(_EXAMPLES_MAX + 1)
        if culprits:
            more = " …" if len(culprits) > _EXAMPLES_MAX else ""
            yield f"{name}: {', '.join(str(row[0]) for row in culprits[:_EXAMPLES_MAX])}{more}"
    yield from _undecodable(db)


def _is_compatible(db: Connection[Any]) -> bool:
    row = db.execute("SELECT max(compatible_from) FROM version").fetchone()
    return row is not None and bool(row[0] <= len(MIGRATIONS))


def _undecodable(db: Connection[Any]) -> Iterator[str]:
    query: LiteralString = (
        "SELECT m.seq, m.id, m.flow, m.key, m.part, m.accepted_at, c.message, m.in_doubt FROM messages m"
        " JOIN contents c ON c.seq = m.seq"
    )
    for seq, id_, flow, key, part, accepted_at, content, in_doubt in _stream(db, sql.SQL(query)):
        try:
            message = decode_message(content)
            if in_doubt is not None:
                decode_paths(in_doubt)
        except msgspec.DecodeError as error:
            yield f"message {seq} cannot be read: {error}"
            continue
        found = (*(storable(text) for text in (message.id, message.flow, message.key)), to_us(message.time))
        if found != (id_, flow, key, accepted_at) or part_of(message.flow, message.key) != part:
            yield f"message {seq} differs from its index row"
    for table, column, decode in (("results", "value", decode_results), ("dead", "letter", decode_letter)):
        names = sql.SQL("SELECT seq, {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
        for seq, value in _stream(db, names):
            try:
                decode(value)
            except msgspec.DecodeError as error:
                yield f"{table} of message {seq} cannot be read: {error}"


def _stream(db: Connection[Any], query: sql.SQL | sql.Composed) -> Iterator[tuple[Any, ...]]:
    with db.cursor("verify", binary=True) as cursor:
        cursor.itersize = _FETCH
        cursor.execute(query)
        yield from cursor
