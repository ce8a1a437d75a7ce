"""What the SQLite journal answers: reads of committed state, by the writer's connection or a read-only one of their own."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from accord.journal.encoding import (
    decode_letter,
    decode_message,
    decode_paths,
    decode_results,
    from_us,
    in_doubt_of,
    to_us,
)
from accord.journal.operations import DeadLetterRow, Lease, MessageRow, State
from accord.journal.parts import ALL_PARTS
from accord.journal.search import ANY, IN_DOUBT, InDoubt, MessageQuery
from accord.journal.shared import part_of

IS_OF_PARTS = f"(? = {ALL_PARTS} OR (? >> part_of(m.flow, m.key)) & 1)"  # of table m; both values are the mask
CLOCK_SLACK = dt.timedelta(hours=1)  # by which the clocks of those who accept may differ or be set back
_LEASE = "SELECT m.seq, c.message, m.state, m.attempts, m.parts, m.in_doubt, m.replayed_in FROM messages m JOIN contents c USING (seq)"
_LEASE_ELIGIBLE = f"{_LEASE} WHERE m.state = 0 AND m.is_head = 1 AND m.flow = ? AND m.seq > ? ORDER BY m.seq LIMIT ?"
_LEASE_ELIGIBLE_OF = f"{_LEASE} WHERE m.state = 0 AND m.is_head = 1 AND m.flow = ? AND m.seq > ? AND {IS_OF_PARTS} ORDER BY m.seq LIMIT ?"
_LEASE_OLDEST_OF_KEY = f"{_LEASE} WHERE m.state < 10 AND m.flow = ? AND m.key = ? ORDER BY m.seq LIMIT 1"
_LEASE_ONE = f"{_LEASE} WHERE m.seq = ?"
_NEXT_DUE_OF = (
    f"SELECT due FROM messages m INDEXED BY messages_due WHERE m.state = 1 AND {IS_OF_PARTS} ORDER BY due LIMIT 1"  # noqa: S608 - from the line above
)
_OPEN_COUNTS_OF = f"""SELECT m.flow, count(*) FROM messages m INDEXED BY messages_open
    WHERE m.state < 10 AND {IS_OF_PARTS} GROUP BY m.flow"""  # noqa: S608 - from the line above

_ROW = (
    "SELECT m.seq, c.message, m.state, m.attempts, m.parts, m.due, m.held_by, m.reason, m.settled_at, m.in_doubt, d.letter"
    " FROM messages m JOIN contents c USING (seq) LEFT JOIN dead d USING (seq) WHERE "
)
_DEAD = (
    "SELECT d.seq, c.message, d.letter, m.attempts, d.at FROM dead d JOIN messages m USING (seq) JOIN contents c USING (seq)"
    " WHERE m.state = 11"
)
_DEAD_OF_FLOW = f"{_DEAD} AND d.flow = ? AND d.seq > ? ORDER BY d.seq LIMIT ?"
_DEAD_OF_ALL = f"{_DEAD} AND d.seq > ? ORDER BY d.seq LIMIT ?"
_DOUBTFUL = (
    "SELECT seq FROM messages INDEXED BY messages_open WHERE state < 10 AND in_doubt IS NOT NULL UNION ALL"
    " SELECT d.seq FROM dead d JOIN messages o USING (seq) WHERE o.state = 11 AND o.in_doubt IS NOT NULL"
)
# Literal states, so that SQLite proves them to imply the partial indexes' conditions.
_STATE_CONDITIONS = {
    "ready": "m.state < 10 AND m.state = 0",
    "waiting": "m.state = 1 AND (m.state = 1 OR m.state = 2)",
    "held": "m.state = 2 AND (m.state = 1 OR m.state = 2)",
    "done": "m.state = 10",
    "dead": "m.state = 11 AND m.seq IN (SELECT seq FROM dead)",
    IN_DOUBT: f"m.seq IN ({_DOUBTFUL})",
}
_IN_DOUBT = f"SELECT flow, in_doubt, count(*) FROM messages WHERE seq IN ({_DOUBTFUL}) GROUP BY flow, in_doubt"  # noqa: S608 - from the line above


class SqliteReads:
    """``opening`` numbers the times messages were recovered, as all are when the journal is opened for writing; those up to
    ``recovered_seq`` were there by then."""

    def __init__(self, db: sqlite3.Connection, opening: int, recovered_seq: int) -> None:
        self._db = db
        self._border = (recovered_seq, opening)
        self._borders: dict[int, tuple[int, int]] = {}  # of parts whose messages were recovered since

    def close(self) -> None:
        self._db.close()

    def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        return [self._to_lease(row) for row in self._db.execute(_LEASE_ELIGIBLE, (flow, after_seq, limit)).fetchall()]

    def lease_of(self, parts: int, flow: str, after_seq: int, limit: int) -> list[Lease]:
        rows = self._db.execute(_LEASE_ELIGIBLE_OF, (flow, after_seq, parts, parts, limit)).fetchall()
        return [self._to_lease(row) for row in rows]

    def next_of_key(self, flow: str, key: str) -> Lease | None:
        row = self._db.execute(_LEASE_OLDEST_OF_KEY, (flow, key)).fetchone()
        return None if row is None else self._to_lease(row)

    def counts(self) -> dict[tuple[str, str], int]:
        rows = self._db.execute("SELECT flow, state, sum(n) FROM counters GROUP BY flow, state HAVING sum(n) > 0")
        return {(flow, State(state).name.lower()): n for flow, state, n in rows}

    def held(self) -> dict[str, int]:
        rows = self._db.execute(
            "SELECT held_by, sum(n) FROM counters WHERE state = 2 GROUP BY held_by HAVING sum(n) > 0 ORDER BY held_by"
        )
        return dict(rows.fetchall())

    def next_due(self) -> dt.datetime | None:
        row = self._db.execute(
            "SELECT due FROM messages INDEXED BY messages_due WHERE state = 1 ORDER BY due LIMIT 1"
        ).fetchone()
        return None if row is None else from_us(row[0])

    def next_due_of(self, parts: int) -> dt.datetime | None:
        row = self._db.execute(_NEXT_DUE_OF, (parts, parts)).fetchone()
        return None if row is None else from_us(row[0])

    def open_counts_of(self, parts: int) -> dict[str, int]:
        """Reads the index of open messages from end to end."""
        rows = self._db.execute(_OPEN_COUNTS_OF, (parts, parts))
        return dict(rows.fetchall())

    def parked_by_part(self) -> dict[tuple[str, int], int]:
        """(system, part) → messages it holds."""
        rows = self._db.execute(
            "SELECT m.held_by, part_of(m.flow, m.key) AS part, count(*) FROM messages m INDEXED BY messages_held"
            " WHERE m.state = 2 GROUP BY m.held_by, part"
        )
        return {(system, part): count for system, part, count in rows.fetchall()}

    def cursor(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT position FROM cursors WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        execute = self._db.execute
        found = []
        for query in queries:
            row = execute(
                "SELECT other_key FROM cross_references WHERE entity = ? AND key = ? AND other = ?", query
            ).fetchone()
            found.append(None if row is None else row[0])
        return found

    def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        query, values = (_DEAD_OF_FLOW, (flow, after_seq, limit)) if flow else (_DEAD_OF_ALL, (after_seq, limit))
        rows = self._db.execute(query, values).fetchall()
        return [
            DeadLetterRow(
                seq=seq, message=decode_message(message), dead=decode_letter(letter), attempts=attempts, at=from_us(at)
            )
            for seq, message, letter, attempts, at in rows
        ]

    def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        """A search of settled messages by flow or key reads the table; from the event loop use a reader's thread."""
        if query.state and query.state not in _STATE_CONDITIONS:
            return []
        after_seq, end_seq = query.after_seq, query.before_seq
        if query.since is not None:
            after_seq = max(after_seq, self._seq_at(query.since - CLOCK_SLACK) - 1)
        if query.until is not None:
            last = self._seq_at(query.until + CLOCK_SLACK)
            end_seq = min(end_seq, last) if end_seq else last
        conditions = ["m.seq > ?"]
        values: list[Any] = [after_seq]
        for column, value in (("flow", query.flow), ("key", query.key), ("id", query.id)):
            if value:
                conditions.append(f"m.{column} = ?")
                values.append(value)
        if query.state:
            conditions.append(_STATE_CONDITIONS[query.state])
        for condition, bound in (
            ("m.seq < ?", end_seq if query.before_seq or query.until else None),
            ("m.accepted_at >= ?", query.since),
            ("m.accepted_at < ?", query.until),
        ):
            if bound is not None:
                conditions.append(condition)
                values.append(to_us(bound) if isinstance(bound, dt.datetime) else bound)
        order = "DESC" if query.before_seq else "ASC"
        search = f"{_ROW}{' AND '.join(conditions)} ORDER BY m.seq {order} LIMIT ?"
        rows = self._db.execute(search, (*values, query.limit)).fetchall()
        return [self._to_row(row) for row in rows]

    def in_doubt(self) -> list[InDoubt]:
        return in_doubt_of(self._db.execute(_IN_DOUBT))

    def _seq_at(self, moment: dt.datetime) -> int:
        """The first sequence number accepted at this time or later, found by halving: messages come in the order of time."""
        wanted = to_us(moment)
        # One query each: SQLite reads the whole table for both in one.
        low = self._db.execute("SELECT coalesce(min(seq), 0) FROM messages").fetchone()[0]
        high = self._db.execute("SELECT coalesce(max(seq), -1) FROM messages").fetchone()[0] + 1
        while low < high:
            middle = (low + high) // 2
            seq, at = self._db.execute(
                "SELECT seq, accepted_at FROM messages WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)
            ).fetchone()
            if at >= wanted:
                high = middle
            else:
                low = seq + 1
        return int(low)

    def size_bytes(self) -> int:
        """The journal file as SQLite counts it, without the write-ahead log."""
        pages, size = self._db.execute(
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
        ).fetchone()
        return int(pages * size)

    def _leases(self, seqs: Iterable[int]) -> tuple[Lease, ...]:
        return tuple(self._to_lease(self._db.execute(_LEASE_ONE, (seq,)).fetchone()) for seq in seqs)

    def _to_lease(self, row: tuple[Any, ...]) -> Lease:
        seq, content, state, attempts, parts, in_doubt, replayed_in = row
        message = decode_message(content)
        border_seq, opening = self._border
        if self._borders:
            border_seq, opening = self._borders.get(part_of(message.flow, message.key), self._border)
        return Lease(
            seq=seq,
            message=message,
            state=State(state),
            attempts=attempts,
            results=self._results(seq) if parts else {},
            in_doubt=decode_paths(in_doubt) if in_doubt else frozenset(),
            is_recovered=seq <= border_seq and (replayed_in is None or replayed_in < opening),
        )

    def _to_row(self, row: tuple[Any, ...]) -> MessageRow:
        seq, message, state, attempts, parts, due, held_by, reason, settled_at, in_doubt, letter = row
        return MessageRow(
            seq=seq,
            message=decode_message(message),
            state=State(state),
            attempts=attempts,
            due=None if due is None else from_us(due),
            held_by=held_by,
            reason=reason,
            settled_at=None if settled_at is None else from_us(settled_at),
            results=self._results(seq) if parts else {},
            in_doubt=decode_paths(in_doubt) if in_doubt else frozenset(),
            dead=decode_letter(letter) if letter else None,
        )

    def _results(self, seq: int) -> dict[str, bytes]:
        """Later parts win, so a result recorded again replaces the earlier one."""
        merged: dict[str, bytes] = {}
        for (value,) in self._db.execute("SELECT value FROM results WHERE seq = ? ORDER BY part", (seq,)):
            merged.update(decode_results(value))
        return merged
