"""Messages that are dead letters from the beginning, in one statement over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from accord.journal.encoding import encode, mark_digest, to_us
from accord.journal.operations import AcceptedOne, Rejected
from accord.journal.shared import part_of
from accord.journal.stores.postgresql_arrays import bigints, blobs, texts
from accord.journal.stores.postgresql_rare import Context

_BURY = """WITH known AS (
    SELECT i.*, k.digest IS NOT NULL AS is_marked, k.seq AS mark_seq, m.seq AS id_seq
    FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s) WITH ORDINALITY
        AS i (id, flow, key, part, at, digest, content, letter, result, n)
    LEFT JOIN marks k ON k.digest = i.digest LEFT JOIN messages m ON m.id = i.id
), fresh AS (
    SELECT *, %s::bigint + row_number() OVER (ORDER BY n) AS seq FROM known WHERE NOT is_marked AND id_seq IS NULL
), stored AS (
    INSERT INTO messages (seq, part, id, flow, key, state, is_head, accepted_at, settled_at, parts)
    SELECT seq, part, id, flow, key, 11, false, at, %s::bigint, (result IS NOT NULL)::integer FROM fresh
), bodies AS (
    INSERT INTO contents (seq, message) SELECT seq, content FROM fresh
), letters AS (
    INSERT INTO dead (seq, flow, at, letter) SELECT seq, flow, %s::bigint, letter FROM fresh
), kept AS (
    INSERT INTO results (seq, part, value) SELECT seq, 1, result FROM fresh WHERE result IS NOT NULL
), marked AS (
    INSERT INTO marks (digest, seq, at) SELECT digest, seq, at FROM fresh WHERE digest IS NOT NULL
    UNION ALL SELECT digest, id_seq, at FROM known WHERE digest IS NOT NULL AND NOT is_marked AND id_seq IS NOT NULL ORDER BY 1
), counted AS (
    INSERT INTO counters AS c (flow, state, held_by, slot, n) SELECT flow, 11, '', %s::bigint, count(*) FROM fresh GROUP BY flow
    ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n
)
SELECT n, seq, false FROM fresh
UNION ALL SELECT n, CASE WHEN is_marked THEN coalesce((SELECT m.seq FROM messages m WHERE m.seq = mark_seq), 0) ELSE id_seq END, true
FROM known WHERE is_marked OR id_seq IS NOT NULL ORDER BY 1"""


async def bury(
    db: AsyncConnection[Any], context: Context, last_seq: int, rejected: Sequence[Rejected]
) -> list[AcceptedOne]:
    """What became of each. The new ones take the sequence numbers after ``last_seq``."""
    if not rejected:
        return []
    messages = [one.message for one in rejected]
    digests = [mark_digest("event", m.flow, m.source, m.event_id) if m.event_id else None for m in messages]
    names: list[Any] = [m.id for m in messages] + [d for d in digests if d]
    if len(set(names)) < len(names):
        found: list[AcceptedOne] = []
        for one in rejected:
            given = sum(not earlier.is_duplicate for earlier in found)
            found += await bury(db, context, last_seq + given, [one])
        return found
    cursor = await db.execute(
        _BURY,
        (
            texts([m.id for m in messages]),
            texts([m.flow for m in messages]),
            texts([m.key for m in messages]),
            bigints([part_of(m.flow, m.key) for m in messages]),
            bigints([to_us(m.time) for m in messages]),
            blobs(digests),
            blobs([encode(m) for m in messages]),
            blobs([encode(one.dead) for one in rejected]),
            blobs([encode({r.path: r.value for r in one.results}) if one.results else None for one in rejected]),
            last_seq,
            context.now_us,
            context.now_us,
            context.member,
        ),
        prepare=True,
    )
    return [AcceptedOne(seq, is_duplicate) for _, seq, is_duplicate in await cursor.fetchall()]
