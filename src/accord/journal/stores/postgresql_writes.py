"""Applies a group of operations inside one open transaction of PostgreSQL; ``postgresql.py`` opens and commits it.

What comes most (accepting, settling, marking) is gathered and written by a few statements over arrays, in one round trip.
Gathering must not change what the operations mean one after another, so a *segment* ends before an operation that would meet
another of the same segment: a second settle of a message, an event or message id that comes twice, a settle of a message that
is only being accepted. Within a segment accepting comes before settling; for different messages both orders give the same.
Rare operations (release, replay, discard, prune) end the segment and run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import AsyncConnection

from accord.journal.encoding import encode, mark_digest, to_us
from accord.journal.operations import (
    Accept,
    Accepted,
    AcceptedOne,
    Bury,
    CrossReference,
    DeadLetter,
    MarkSeen,
    Move,
    Operation,
    SaveCursors,
    SaveReferences,
    Settle,
    State,
)
from accord.journal.shared import part_of
from accord.journal.stores.postgresql_arrays import bigints, blobs, texts
from accord.journal.stores.postgresql_bury import bury
from accord.journal.stores.postgresql_faults import not_owner
from accord.journal.stores.postgresql_holding import IS_OWN
from accord.journal.stores.postgresql_rare import RARE, Context, settle_of_move
from accord.record import Cursor, Message

_ACCEPT = """WITH known AS (
    SELECT i.*, k.digest IS NOT NULL AS is_marked, k.seq AS mark_seq, m.seq AS id_seq
    FROM unnest(%s, %s, %s, %s, %s, %s, %s) WITH ORDINALITY AS i (id, flow, key, part, at, digest, content, n)
    LEFT JOIN marks k ON k.digest = i.digest LEFT JOIN messages m ON m.id = i.id
), fresh AS (
    SELECT *, %s::bigint + row_number() OVER (ORDER BY n) AS seq, row_number() OVER (PARTITION BY flow, key ORDER BY n) AS nth
    FROM known WHERE NOT is_marked AND id_seq IS NULL
), stored AS (
    INSERT INTO messages (seq, part, id, flow, key, state, is_head, accepted_at)
    SELECT seq, part, id, flow, key, 0, nth = 1 AND NOT EXISTS (
        SELECT FROM messages o WHERE o.state < 10 AND o.flow = fresh.flow AND o.key = fresh.key), at FROM fresh
), bodies AS (
    INSERT INTO contents (seq, message) SELECT seq, content FROM fresh
), marked AS (
    INSERT INTO marks (digest, seq, at) SELECT digest, seq, at FROM fresh WHERE digest IS NOT NULL
    UNION ALL SELECT digest, id_seq, at FROM known WHERE digest IS NOT NULL AND NOT is_marked AND id_seq IS NOT NULL ORDER BY 1
), counted AS (
    INSERT INTO counters AS c (flow, state, held_by, slot, n) SELECT flow, 0, '', %s::bigint, count(*) FROM fresh GROUP BY flow
    ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n
)
SELECT n, seq, false FROM fresh
UNION ALL SELECT n, CASE WHEN is_marked THEN coalesce((SELECT m.seq FROM messages m WHERE m.seq = mark_seq), 0) ELSE id_seq END, true
FROM known WHERE is_marked OR id_seq IS NOT NULL ORDER BY 1"""

_SETTLE = f"""WITH old AS (
    SELECT i.*, m.flow, m.part, m.state AS old_state, m.held_by AS old_held_by, m.parts
    FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s) AS i (seq, state, attempts, due, held_by, reason, in_doubt, result, letter)
    JOIN messages m ON m.seq = i.seq WHERE m.state < 10 AND {IS_OWN}
), settled AS (
    UPDATE messages m SET state = o.state, is_head = m.is_head AND o.state < 10, attempts = o.attempts,
        parts = m.parts + (o.result IS NOT NULL)::integer, due = o.due, held_by = o.held_by, reason = o.reason,
        in_doubt = o.in_doubt, settled_at = CASE WHEN o.state >= 10 THEN %s::bigint END
    FROM old o WHERE m.seq = o.seq
), kept AS (
    INSERT INTO results (seq, part, value) SELECT seq, parts + 1, result FROM old WHERE result IS NOT NULL
), buried AS (
    INSERT INTO dead (seq, flow, at, letter) SELECT seq, flow, %s::bigint, letter FROM old WHERE letter IS NOT NULL
    ON CONFLICT (seq) DO UPDATE SET at = excluded.at, letter = excluded.letter
), counted AS (
    INSERT INTO counters AS c (flow, state, held_by, slot, n) SELECT flow, state, held_by, slot, sum(n) FROM (
        SELECT flow, old_state AS state, old_held_by AS held_by,
            CASE WHEN old_state = 2 THEN -1 - part ELSE %s::bigint END AS slot, -1 AS n FROM old
        UNION ALL SELECT flow, state::smallint, held_by, CASE WHEN state = 2 THEN -1 - part ELSE %s::bigint END, 1 FROM old) AS changes
    GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n
), referred AS (
    INSERT INTO cross_references (entity, key, other, other_key)
    SELECT DISTINCT ON (entity, key, other) entity, key, other, other_key
    FROM unnest(%s, %s, %s, %s, %s) WITH ORDINALITY AS r (seq, entity, key, other, other_key, n)
    WHERE r.seq IS NULL OR EXISTS (SELECT FROM old WHERE old.seq = r.seq) ORDER BY entity, key, other, n DESC
    ON CONFLICT (entity, key, other) DO UPDATE SET other_key = excluded.other_key
), moved AS (
    INSERT INTO cursors (name, position)
    SELECT DISTINCT ON (name) name, position FROM unnest(%s, %s, %s) WITH ORDINALITY AS s (seq, name, position, n)
    WHERE s.seq IS NULL OR EXISTS (SELECT FROM old WHERE old.seq = s.seq) ORDER BY name, n DESC
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
)
SELECT seq FROM old"""

# The heads of the keys of messages that were settled: an update of its own, since it must see what the one before did.
_PROMOTE = """UPDATE messages m SET is_head = true
    FROM (SELECT DISTINCT s.flow, s.key FROM unnest(%s) AS u (seq) JOIN messages s ON s.seq = u.seq) AS k,
    LATERAL (SELECT o.seq, o.is_head FROM messages o WHERE o.state < 10 AND o.flow = k.flow AND o.key = k.key
        ORDER BY o.seq LIMIT 1) AS h
    WHERE m.seq = h.seq AND NOT h.is_head"""

_MARK = """WITH i AS (SELECT * FROM unnest(%s, %s, %s, %s) WITH ORDINALITY AS i (digest, seq, at, version, n)), made AS (
    INSERT INTO marks AS k (digest, seq, at, version) SELECT digest, seq, at, version FROM i ORDER BY digest
    ON CONFLICT (digest) DO UPDATE SET seq = excluded.seq, at = excluded.at, version = excluded.version
    WHERE excluded.version > k.version RETURNING digest
)
SELECT n FROM i WHERE EXISTS (SELECT FROM made WHERE made.digest = i.digest)
    OR EXISTS (SELECT FROM marks k WHERE k.digest = i.digest AND k.seq = i.seq)"""

_DONE, _DEAD, _HELD, _WAITING = (int(s) for s in (State.DONE, State.DEAD, State.HELD, State.WAITING))

_Row = tuple[Any, ...]


class _Segment:
    """What is gathered for one round trip; ``results`` are set by position in the group."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.accepts: list[tuple[int, int]] = []  # (position in the group, number of messages)
        self.settles: list[tuple[int, Settle]] = []
        self.marks: list[tuple[int, MarkSeen, bytes]] = []
        self.references: list[tuple[int | None, CrossReference]] = []
        self.cursors: list[tuple[int | None, Cursor]] = []
        self.taken: set[Any] = set()  # message ids (text), digests (bytes), sequence numbers settled (int)
        self.digests: list[bytes | None] = []
        self.parts: list[int] = []

    def take(self, names: Sequence[Any]) -> bool:
        """False, with nothing changed, when one of the names is taken or comes twice."""
        if len(set(names)) != len(names) or not self.taken.isdisjoint(names):
            return False
        self.taken.update(names)
        return True


class GroupWrites:
    """Applies one group; ``last_seq`` is the largest sequence number given so far, and afterwards. It gives none after ``end_seq``.

    Raises JournalError ``journal.not-owner`` for an Accept of a message that belongs to another member.
    """

    def __init__(self, connection: AsyncConnection[Any], context: Context, last_seq: int, end_seq: int) -> None:
        self._connection = connection
        self._context = context
        self._end_seq = end_seq
        self.last_seq = last_seq
        self._segment = _Segment()
        self._results: list[Any] = []
        self._gather: dict[type, Callable[[int, Any], bool]] = {
            Accept: self._accept,
            Settle: self._settle,
            MarkSeen: self._mark,
            SaveCursors: self._save_cursors,
            SaveReferences: self._save_references,
        }

    async def apply(self, operations: Sequence[Operation]) -> list[Any]:
        self._results = [None] * len(operations)
        for position, operation in enumerate(operations):
            gather = self._gather.get(type(operation))
            if isinstance(operation, Move):
                await self._flush()  # it builds on what the message is by then
                gather = self._settle
                operation = await settle_of_move(self._connection, operation)
            if isinstance(operation, Bury):
                await self._flush()
                self._results[position] = await self._bury(operation)
            elif gather is None:
                await self._flush()
                self._results[position] = await RARE[type(operation)](self._connection, self._context, operation)
            elif isinstance(operation, Settle) and self.last_seq < operation.seq <= self._end_seq:
                await self._flush()  # of a message of this group, or of none
                gather(position, operation)
                await self._flush()
            elif not gather(position, operation):
                await self._flush()
                if not gather(position, operation):
                    await self._accept_singly(position, operation)
        await self._flush()
        return self._results

    async def _bury(self, operation: Bury) -> Accepted:
        found = await bury(self._connection, self._context, self.last_seq, operation.rejected)
        self.last_seq += sum(not one.is_duplicate for one in found)
        self._cursors_of(None, operation.cursors)
        return Accepted(tuple(found))

    async def _accept_singly(self, position: int, operation: Any) -> None:
        """An Accept in which an id comes twice: message after message."""
        found: list[AcceptedOne] = []
        for message in operation.messages:
            self._accept(position, Accept((message,)))
            await self._flush()
            found.extend(self._results[position].messages)
        self._cursors_of(None, operation.cursors)
        self._results[position] = Accepted(tuple(found))

    def _accept(self, position: int, operation: Accept) -> bool:
        digests = [
            mark_digest("event", m.flow, m.source, m.event_id) if m.event_id else None for m in operation.messages
        ]
        if not self._segment.take([m.id for m in operation.messages] + [d for d in digests if d]):
            return False
        parts = [part_of(m.flow, m.key) for m in operation.messages]
        for part in parts:
            if not self._context.holding.of(part):
                raise not_owner(part)
        self._segment.messages.extend(operation.messages)
        self._segment.parts.extend(parts)
        self._segment.digests.extend(digests)
        self._segment.accepts.append((position, len(operation.messages)))
        self._cursors_of(None, operation.cursors)
        return True

    def _settle(self, position: int, operation: Settle) -> bool:
        if not self._segment.take([operation.seq]):
            return False
        self._segment.settles.append((position, operation))
        self._segment.references.extend((operation.seq, r) for r in operation.references)
        self._cursors_of(operation.seq, operation.cursors)
        return True

    def _mark(self, position: int, operation: MarkSeen) -> bool:
        digest = mark_digest("step", operation.scope, "", operation.id)
        if not self._segment.take([digest]):
            return False
        self._segment.marks.append((position, operation, digest))
        return True

    def _save_cursors(self, position: int, operation: SaveCursors) -> bool:
        self._cursors_of(None, operation.cursors)
        return True

    def _save_references(self, position: int, operation: SaveReferences) -> bool:
        self._segment.references.extend((None, r) for r in operation.references)
        return True

    def _cursors_of(self, seq: int | None, cursors: tuple[Cursor, ...]) -> None:
        self._segment.cursors.extend((seq, c) for c in cursors)

    async def _flush(self) -> None:
        """Writes the segment: all its statements are sent before the first answer is awaited."""
        segment, self._segment = self._segment, _Segment()
        execute = self._connection.execute
        accepted = settled = marked = None
        async with self._connection.pipeline():
            if segment.messages:
                accepted = await execute(_ACCEPT, self._accept_values(segment), prepare=True)
            if segment.settles or segment.references or segment.cursors:
                settled = await execute(_SETTLE, self._settle_values(segment), prepare=True)
            ended = [s.seq for _, s in segment.settles if s.state >= _DONE]
            if ended:
                await execute(_PROMOTE, (bigints(ended),), prepare=True)
            if segment.marks:
                marked = await execute(_MARK, _mark_values(segment), prepare=True)
        if accepted is not None:
            self._tell_accepted(segment, await accepted.fetchall())
        if settled is not None:
            found = {seq for (seq,) in await settled.fetchall()}
            for position, operation in segment.settles:
                self._results[position] = operation.seq in found
        if marked is not None:
            true = {n for (n,) in await marked.fetchall()}
            for n, (position, _, _) in enumerate(segment.marks, start=1):
                self._results[position] = n in true
        for position, count in segment.accepts:
            if not count:
                self._results[position] = Accepted(())

    def _tell_accepted(self, segment: _Segment, rows: list[_Row]) -> None:
        ones = [AcceptedOne(seq, is_duplicate) for _, seq, is_duplicate in rows]
        self.last_seq += sum(not one.is_duplicate for one in ones)
        start = 0
        for position, count in segment.accepts:
            self._results[position] = Accepted(tuple(ones[start : start + count]))
            start += count

    def _accept_values(self, segment: _Segment) -> _Row:
        messages = segment.messages
        return (
            texts([m.id for m in messages]),
            texts([m.flow for m in messages]),
            texts([m.key for m in messages]),
            bigints(segment.parts),
            bigints([to_us(m.time) for m in messages]),
            blobs(segment.digests),
            blobs([encode(m) for m in messages]),
            self.last_seq,
            self._context.member,
        )

    def _settle_values(self, segment: _Segment) -> _Row:
        settles = [s for _, s in segment.settles]
        now_us = self._context.now_us
        references = [
            (seq, one)
            for seq, r in segment.references
            for one in ((r.a, r.a_key, r.b, r.b_key), (r.b, r.b_key, r.a, r.a_key))
        ]
        return (
            bigints([s.seq for s in settles]),
            bigints([int(s.state) for s in settles]),
            bigints([s.attempts for s in settles]),
            bigints([(to_us(s.due) if s.due else now_us) if s.state == _WAITING else None for s in settles]),
            texts([s.held_by if s.state == _HELD else "" for s in settles]),
            texts([s.reason for s in settles]),
            blobs([encode(s.in_doubt) if s.in_doubt else None for s in settles]),
            blobs([encode({r.path: r.value for r in s.results}) if s.results else None for s in settles]),
            blobs([_letter(s) if s.state == _DEAD else None for s in settles]),
            self._context.mask,
            now_us,
            now_us,
            self._context.member,
            self._context.member,
            bigints([seq for seq, _ in references]),
            *(texts([one[column] for _, one in references]) for column in range(4)),
            bigints([seq for seq, _ in segment.cursors]),
            texts([c.name for _, c in segment.cursors]),
            blobs([c.position for _, c in segment.cursors]),
        )


def _letter(settle: Settle) -> bytes:
    return encode(settle.dead or DeadLetter(step="", code="journal.no-letter", reason=settle.reason))


def _mark_values(segment: _Segment) -> _Row:
    return (
        blobs([digest for _, _, digest in segment.marks]),
        bigints([m.seq for _, m, _ in segment.marks]),
        bigints([to_us(m.now) for _, m, _ in segment.marks]),
        texts([m.version for _, m, _ in segment.marks]),
    )
