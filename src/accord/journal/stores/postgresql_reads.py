"""What the PostgreSQL journal answers: reads of committed state over a connection given to each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

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
from accord.journal.search import IN_DOUBT, InDoubt, MessageQuery
from accord.journal.stores.postgresql_arrays import bigints, storable, texts
from accord.journal.stores.postgresql_holding import IS_OWN, Holding

LEASE = (
    "SELECT m.seq, c.message, m.state, m.attempts, m.parts, m.in_doubt, m.part, m.replayed_in"
    " FROM messages m JOIN contents c ON c.seq = m.seq"
)
_ELIGIBLE = (
    f"{LEASE} WHERE m.state = 0 AND m.is_head AND m.flow = %s AND m.seq > %s AND {IS_OWN} ORDER BY m.seq LIMIT %s"
)
_OLDEST_OF_KEYS = f"""SELECT u.n, h.seq, h.message, h.state, h.attempts, h.parts, h.in_doubt, h.part, h.replayed_in
    FROM unnest(%s) WITH ORDINALITY AS u (key, n), LATERAL (
        SELECT m.seq, c.message, m.state, m.attempts, m.parts, m.in_doubt, m.part, m.replayed_in
        FROM messages m JOIN contents c ON c.seq = m.seq
        WHERE m.state < 10 AND m.flow = %s AND m.key = u.key AND {IS_OWN} ORDER BY m.seq LIMIT 1) AS h"""
# What is held is counted by part: slot -1 - part.
_HELD = """SELECT held_by, sum(n)::bigint FROM counters WHERE state = 2 AND (%s::bigint >> (-1 - slot)::integer) & 1 <> 0
    GROUP BY 1 HAVING sum(n) > 0 ORDER BY 1"""
_NEXT_DUE = f"SELECT m.due FROM messages m WHERE m.state = 1 AND {IS_OWN} ORDER BY m.due, m.seq LIMIT 1"
_REFERENCES = """SELECT q.n, r.other_key FROM unnest(%s, %s, %s) WITH ORDINALITY AS q (entity, key, other, n)
    JOIN cross_references r ON r.entity = q.entity AND r.key = q.key AND r.other = q.other"""
_ROW = (
    "SELECT m.seq, c.message, m.state, m.attempts, m.parts, m.due, m.held_by, m.reason, m.settled_at, m.in_doubt, d.letter"
    " FROM messages m JOIN contents c ON c.seq = m.seq LEFT JOIN dead d ON d.seq = m.seq WHERE m.seq > %s"
)
_DEAD = (
    "SELECT d.seq, c.message, d.letter, m.attempts, d.at FROM dead d JOIN messages m ON m.seq = d.seq"
    " JOIN contents c ON c.seq = d.seq WHERE m.state = 11 AND d.seq > %s"
)
_DOUBTFUL = (
    "SELECT o.seq FROM messages o WHERE o.state < 10 AND o.in_doubt IS NOT NULL UNION ALL"
    " SELECT d.seq FROM dead d JOIN messages o ON o.seq = d.seq WHERE o.state = 11 AND o.in_doubt IS NOT NULL"
)
# Literal states, so that PostgreSQL proves them to imply the partial indexes' conditions.
_STATE_CONDITIONS = {
    "ready": " AND m.state < 10 AND m.state = 0",
    "waiting": " AND m.state = 1",
    "held": " AND m.state = 2",
    "done": " AND m.state = 10",
    "dead": " AND m.state = 11 AND d.seq IS NOT NULL",
    IN_DOUBT: f" AND m.seq IN ({_DOUBTFUL})",
}
_IN_DOUBT = f"""SELECT flow, in_doubt, count(*) FROM messages WHERE seq IN ({_DOUBTFUL}) GROUP BY 1, 2"""

_Connection = AsyncConnection[Any]


async def _rows(db: _Connection, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
    cursor = await db.execute(query, values, prepare=True, binary=True)
    return await cursor.fetchall()


async def lease(db: _Connection, holding: Holding, flow: str, after_seq: int, limit: int) -> list[Lease]:
    rows = await _rows(db, _ELIGIBLE, (storable(flow), after_seq, Int8(holding.mask), limit))
    return await to_leases(db, rows, holding)


async def next_of_keys(db: _Connection, holding: Holding, flow: str, keys: Sequence[str]) -> list[Lease | None]:
    rows = await _rows(db, _OLDEST_OF_KEYS, (texts(keys), storable(flow), Int8(holding.mask)))
    leases = await to_leases(db, [row[1:] for row in rows], holding)
    found: list[Lease | None] = [None] * len(keys)
    for row, one in zip(rows, leases, strict=True):
        found[row[0] - 1] = one
    return found


async def counts(db: _Connection) -> dict[tuple[str, str], int]:
    rows = await _rows(db, "SELECT flow, state, sum(n)::bigint FROM counters GROUP BY 1, 2 HAVING sum(n) > 0")
    return {(flow, State(state).name.lower()): n for flow, state, n in rows}


async def held(db: _Connection, holding: Holding) -> dict[str, int]:
    return dict(await _rows(db, _HELD, (Int8(holding.mask),)))


async def open_counts(db: _Connection, mask: int) -> dict[str, int]:
    """Reads all open messages, so it may take a second for each million."""
    query = f"SELECT m.flow, count(*) FROM messages m WHERE m.state < 10 AND {IS_OWN} GROUP BY 1"
    return dict(await _rows(db, query, (Int8(mask),)))


async def next_due(db: _Connection, holding: Holding) -> dt.datetime | None:
    rows = await _rows(db, _NEXT_DUE, (Int8(holding.mask),))
    return from_us(rows[0][0]) if rows else None


async def cursor(db: _Connection, name: str) -> bytes | None:
    rows = await _rows(db, "SELECT position FROM cursors WHERE name = %s", (storable(name),))
    return bytes(rows[0][0]) if rows else None


async def references(db: _Connection, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
    found: list[str | None] = [None] * len(queries)
    if queries:
        columns = [texts([query[n] for query in queries]) for n in range(3)]
        for n, key in await _rows(db, _REFERENCES, tuple(columns)):
            found[n - 1] = key
    return found


async def dead_letters(db: _Connection, flow: str, after_seq: int, limit: int) -> list[DeadLetterRow]:
    condition, values = (" AND d.flow = %s", (storable(flow),)) if flow else ("", ())
    rows = await _rows(db, f"{_DEAD}{condition} ORDER BY d.seq LIMIT %s", (after_seq, *values, limit))
    return [
        DeadLetterRow(seq=seq, message=decode_message(m), dead=decode_letter(letter), attempts=attempts, at=from_us(at))
        for seq, m, letter, attempts, at in rows
    ]


async def messages(db: _Connection, search: MessageQuery) -> list[MessageRow]:
    if search.state and search.state not in _STATE_CONDITIONS:
        return []
    query = _ROW
    chosen: list[Any] = [search.after_seq]
    for column, value in (("flow", search.flow), ("key", search.key), ("id", search.id)):
        if value:
            query += f" AND m.{column} = %s"
            chosen.append(storable(value))
    bounds = (
        ("m.seq <", search.before_seq or None),
        ("m.accepted_at >=", search.since),
        ("m.accepted_at <", search.until),
    )
    for condition, bound in bounds:
        if bound is not None:
            query += f" AND {condition} %s"
            chosen.append(Int8(to_us(bound) if isinstance(bound, dt.datetime) else bound))
    order = "DESC" if search.before_seq else "ASC"
    query += f"{_STATE_CONDITIONS.get(search.state, '')} ORDER BY m.seq {order} LIMIT %s"
    rows = await _rows(db, query, (*chosen, search.limit))
    results = await _results(db, [row[0] for row in rows if row[4]])
    return [_to_row(row, results.get(row[0], {})) for row in rows]


async def in_doubt(db: _Connection) -> list[InDoubt]:
    return in_doubt_of(await _rows(db, _IN_DOUBT))


async def size_bytes(db: _Connection) -> int:
    """Tables and indexes of the journal on the server's disk."""
    rows = await _rows(
        db,
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
        " WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind = 'r'",
    )
    return int(rows[0][0])


async def to_leases(db: _Connection, rows: Sequence[tuple[Any, ...]], holding: Holding) -> list[Lease]:
    results = await _results(db, [row[0] for row in rows if row[4]])
    return [
        Lease(
            seq=seq,
            message=decode_message(message),
            state=State(state),
            attempts=attempts,
            results=results.get(seq, {}),
            in_doubt=decode_paths(in_doubt) if in_doubt else frozenset(),
            is_recovered=holding.is_recovered(part, seq, replayed_in),
        )
        for seq, message, state, attempts, _, in_doubt, part, replayed_in in rows
    ]


def _to_row(row: tuple[Any, ...], results: dict[str, bytes]) -> MessageRow:
    seq, message, state, attempts, _, due, held_by, reason, settled_at, in_doubt, letter = row
    return MessageRow(
        seq=seq,
        message=decode_message(message),
        state=State(state),
        attempts=attempts,
        due=None if due is None else from_us(due),
        held_by=held_by,
        reason=reason,
        settled_at=None if settled_at is None else from_us(settled_at),
        results=results,
        in_doubt=decode_paths(in_doubt) if in_doubt else frozenset(),
        dead=decode_letter(letter) if letter else None,
    )


async def _results(db: _Connection, seqs: Sequence[int]) -> dict[int, dict[str, bytes]]:
    """Later parts win, so a result recorded again replaces the earlier one."""
    merged: dict[int, dict[str, bytes]] = {}
    if seqs:
        query = (
            "SELECT r.seq, r.value FROM unnest(%s) AS u (seq) JOIN results r ON r.seq = u.seq ORDER BY r.seq, r.part"
        )
        for seq, value in await _rows(db, query, (bigints(seqs),)):
            merged.setdefault(seq, {}).update(decode_results(value))
    return merged
