"""Operations that come seldom, one after another inside the group's transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from accord.journal.encoding import decode_message, decode_paths, encode, to_us
from accord.journal.operations import Discard, Lease, Move, Prune, ReleaseDue, ReleaseHeld, Replay, Settle, settle_of
from accord.journal.stores.postgresql_arrays import bigints, storable
from accord.journal.stores.postgresql_holding import IS_OWN, Holding
from accord.journal.stores.postgresql_reads import LEASE, to_leases

MARKS_PRUNED_MORE = 100  # marks a prune may delete beyond its limit: there are more marks than messages
_END_OF_TIME_US = 2**62

_RELEASE_DUE = f"""SELECT m.seq FROM messages m
    WHERE m.state = 1 AND m.due <= %s AND (%s = '' OR m.flow = %s) AND {IS_OWN} ORDER BY m.due, m.seq LIMIT %s"""
_RELEASE_HELD = f"""SELECT m.seq FROM messages m
    WHERE m.state = 2 AND m.held_by = %s AND (%s = '' OR m.flow = %s) AND {IS_OWN} ORDER BY m.seq LIMIT %s"""
_RELEASE = """WITH old AS (
        SELECT m.seq, m.flow, m.part, m.state, m.held_by FROM unnest(%s) AS u (seq) JOIN messages m ON m.seq = u.seq),
    ready AS (UPDATE messages m SET state = 0, due = NULL, held_by = '' FROM old WHERE m.seq = old.seq)
    INSERT INTO counters AS c (flow, state, held_by, slot, n) SELECT flow, state, held_by, slot, sum(n) FROM (
        SELECT flow, state, held_by, CASE WHEN state = 2 THEN -1 - part ELSE %s::bigint END AS slot, -1 AS n FROM old
        UNION ALL SELECT flow, 0, '', %s::bigint, 1 FROM old) AS changes
    GROUP BY 1, 2, 3, 4 ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n"""
_COUNT = """INSERT INTO counters AS c (flow, state, held_by, slot, n) VALUES (%s, %s, '', %s, %s)
    ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n"""
_DONE = f"""SELECT m.seq, m.flow FROM messages m WHERE m.state = 10 AND m.accepted_at < %s AND {IS_OWN}
    ORDER BY m.accepted_at, m.seq LIMIT %s"""
# Marks are everybody's: what another member is just deleting is left to it.
_PRUNE_MARKS = """DELETE FROM marks WHERE digest = ANY (ARRAY(
    SELECT digest FROM marks WHERE at < %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED))"""


class Context(msgspec.Struct, frozen=True):
    """``now_us``: the group's settle time; ``member`` counts in rows of its own; ``holding``: what it may write."""

    now_us: int
    member: int
    holding: Holding

    @property
    def mask(self) -> Int8:
        return Int8(self.holding.mask)


_Connection = AsyncConnection[Any]


async def _rows(db: _Connection, query: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = await db.execute(query, values, binary=True)
    return await cursor.fetchall()


async def settle_of_move(db: _Connection, operation: Move) -> Settle:
    rows = await _rows(db, "SELECT attempts, in_doubt FROM messages WHERE seq = %s", (operation.seq,))
    attempts, in_doubt = rows[0] if rows else (0, None)
    return settle_of(operation, attempts, decode_paths(in_doubt) if in_doubt else ())


async def _replay(db: _Connection, context: Context, operation: Replay) -> bool:
    seq = operation.seq
    rows = await _rows(
        db, f"SELECT flow, key, part FROM messages m WHERE seq = %s AND state = 11 AND {IS_OWN}", (seq, context.mask)
    )
    if not rows:
        return False
    flow, key, part = rows[0]
    if operation.body is not None:
        ((content,),) = await _rows(db, "SELECT message FROM contents WHERE seq = %s", (seq,))
        mended = msgspec.structs.replace(decode_message(content), body=operation.body)
        await db.execute("UPDATE contents SET message = %s WHERE seq = %s", (encode(mended), seq))
    if operation.from_start:
        await db.execute("DELETE FROM results WHERE seq = %s", (seq,))
        await db.execute("UPDATE messages SET parts = 0 WHERE seq = %s", (seq,))
    await db.execute("DELETE FROM dead WHERE seq = %s", (seq,))
    await db.execute(
        "UPDATE messages SET is_head = false WHERE state < 10 AND flow = %s AND key = %s AND is_head", (flow, key)
    )
    await db.execute(
        "UPDATE messages SET state = 0, attempts = 0, reason = '', settled_at = NULL, replayed_in = %s WHERE seq = %s",
        (context.holding.opening(part), seq),
    )
    await db.execute(
        "UPDATE messages SET is_head = true WHERE seq ="
        " (SELECT seq FROM messages WHERE state < 10 AND flow = %s AND key = %s ORDER BY seq LIMIT 1)",
        (flow, key),
    )
    await db.execute(_COUNT, (flow, 11, context.member, -1))
    await db.execute(_COUNT, (flow, 0, context.member, 1))
    return True


async def _discard(db: _Connection, context: Context, operation: Discard) -> bool:
    rows = await _rows(
        db,
        "UPDATE messages m SET state = 10, reason = %s, settled_at = %s"
        f" WHERE seq = %s AND state = 11 AND {IS_OWN} RETURNING flow",
        (storable(operation.reason), context.now_us, operation.seq, context.mask),
    )
    if not rows:
        return False
    await db.execute(_COUNT, (rows[0][0], 11, context.member, -1))
    await db.execute(_COUNT, (rows[0][0], 10, context.member, 1))
    return True


async def _release_due(db: _Connection, context: Context, operation: ReleaseDue) -> tuple[Lease, ...]:
    flow = storable(operation.flow)
    rows = await _rows(db, _RELEASE_DUE, (to_us(operation.now), flow, flow, context.mask, operation.limit))
    return await _release(db, context, [seq for (seq,) in rows])


async def _release_held(db: _Connection, context: Context, operation: ReleaseHeld) -> tuple[Lease, ...]:
    flow = storable(operation.flow)
    values = (storable(operation.system), flow, flow, context.mask, operation.limit)
    rows = await _rows(db, _RELEASE_HELD, values)
    return await _release(db, context, [seq for (seq,) in rows])


async def _release(db: _Connection, context: Context, seqs: list[int]) -> tuple[Lease, ...]:
    if not seqs:
        return ()
    array = bigints(seqs)
    await db.execute(_RELEASE, (array, context.member, context.member))
    rows = await _rows(db, f"{LEASE} JOIN unnest(%s) AS u (seq) ON u.seq = m.seq ORDER BY m.seq", (array,))
    return tuple(await to_leases(db, rows, context.holding))


async def _prune(db: _Connection, context: Context, operation: Prune) -> int:
    await db.execute(_PRUNE_MARKS, (to_us(operation.seen_before), operation.limit + MARKS_PRUNED_MORE))
    rows = await _rows(db, _DONE, (to_us(operation.before), context.mask, operation.limit))
    await _delete(db, context, rows)
    deleted = len(rows)
    if operation.size_bytes_max and deleted < operation.limit and await used_bytes(db) > operation.size_bytes_max:
        # PostgreSQL gives space back only after a vacuum, so the size does not tell how much to delete: a part at a time.
        rows = await _rows(db, _DONE, (_END_OF_TIME_US, context.mask, operation.limit - deleted))
        await _delete(db, context, rows)
        deleted += len(rows)
    return deleted


async def used_bytes(db: _Connection) -> int:
    """Bytes of the journal's tables and indexes on disk, as last counted, less what is dead."""
    rows = await _rows(
        db,
        "SELECT coalesce(sum(pg_total_relation_size(c.oid) *"
        " (s.n_live_tup + 1.0) / (s.n_live_tup + s.n_dead_tup + 1.0)), 0)::bigint"
        " FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE s.schemaname = current_schema()",
        (),
    )
    return int(rows[0][0])


async def _delete(db: _Connection, context: Context, rows: list[tuple[int, str]]) -> None:
    if not rows:
        return
    numbers = [seq for seq, _ in rows]
    # Sequence numbers are never given again, not even after the newest message is gone.
    await db.execute("UPDATE numbers SET last_seq = %s WHERE last_seq < %s", (max(numbers), max(numbers)))
    seqs = bigints(numbers)
    for table in ("results", "dead", "contents", "messages"):
        await db.execute(f"DELETE FROM {table} t USING unnest(%s) AS u (seq) WHERE t.seq = u.seq", (seqs,))
    counts: dict[str, int] = {}
    for _, flow in rows:
        counts[flow] = counts.get(flow, 0) + 1
    for flow, count in counts.items():
        await db.execute(_COUNT, (flow, 10, context.member, -count))


Rare = Callable[[_Connection, Context, Any], Awaitable[Any]]

RARE: dict[type, Rare] = {
    Replay: _replay,
    Discard: _discard,
    ReleaseDue: _release_due,
    ReleaseHeld: _release_held,
    Prune: _prune,
}
