"""Who is a member and whose each part is: each function is one transaction over a connection given to it.

A member is a row in ``members``. A commit of it holds that row's lock, so who deletes the row (``end``) waits for a commit that is
under way and makes every later one fail: only then may the parts go to others. ``parts.member`` may name somebody who is gone;
such a part has no living owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from accord.journal.shared import Member
from accord.journal.stores.postgresql_holding import EVERY_PART, Holding
from accord.journal.stores.postgresql_session import IS_KEYED_LOCK, LOCK_KEY, Connection

_NEW_ID = """UPDATE numbers SET last_opening = last_opening + 1,
    last_seq = greatest(last_seq, (SELECT coalesce(max(seq), 0) FROM messages)) RETURNING last_opening, last_seq"""
_MEMBER = "INSERT INTO members (id, name, address) VALUES (%s, %s, %s)"
_FIRST_BEAT = "INSERT INTO beats (member, at) VALUES (%s, clock_timestamp())"
_BEAT = "UPDATE beats SET at = clock_timestamp() WHERE member = %s"
_SEEN = f"""WITH locks AS MATERIALIZED (SELECT {LOCK_KEY} AS key FROM pg_locks l WHERE {IS_KEYED_LOCK})
    SELECT m.id, m.name, m.address, m.is_leaving, extract(epoch FROM clock_timestamp() - b.at)::float8,
        EXISTS (SELECT FROM locks WHERE locks.key = %s::bigint + m.id)
    FROM members m JOIN beats b ON b.member = m.id ORDER BY m.id"""
_END = """DELETE FROM members m USING beats b
    WHERE m.id = %s AND b.member = m.id AND b.at <= clock_timestamp() - %s * interval '1 second'"""
# What the gone counted in rows of their own goes to the rows of all who are gone.
_FOLD = """WITH gone AS (DELETE FROM counters WHERE slot > 0 AND (%s = 0 OR slot = %s) RETURNING flow, state, held_by, n)
    INSERT INTO counters AS c (flow, state, held_by, slot, n)
    SELECT flow, state, held_by, 0, sum(n) FROM gone GROUP BY 1, 2, 3 HAVING sum(n) <> 0 ORDER BY 1, 2, 3
    ON CONFLICT (flow, state, held_by, slot) DO UPDATE SET n = c.n + excluded.n"""
# Two steps: what is decided about the parts must see what others have committed until they were locked.
_LOCK_PARTS = "SELECT part FROM parts WHERE part = ANY (%s) ORDER BY part FOR UPDATE"
_TAKE = """UPDATE parts p SET member = %s,
        opening = CASE WHEN p.member = 0 THEN p.opening ELSE n.last_opening END,
        border = CASE WHEN p.member = 0 THEN p.border ELSE n.last_seq END
    FROM numbers n
    WHERE p.part = ANY (%s) AND NOT EXISTS (SELECT FROM members m WHERE m.id = p.member)
    RETURNING p.part, p.opening, p.border"""


class Seen(msgspec.Struct, frozen=True):
    """``silent_s``: seconds since its last beat by the database's clock; ``has_lock``: its connection lives."""

    member: Member
    silent_s: float
    has_lock: bool


async def _one(db: Connection, query: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = await (await db.execute(query, values)).fetchone()
    return found


async def enter_alone(db: Connection, name: str) -> tuple[int, int, Holding]:
    """The one owner of all parts, under the journal's exclusive lock: every member there was has ended. Its id, the largest
    sequence number ever given, and its parts."""
    async with db.transaction():
        row = await _one(db, _NEW_ID)
        assert row is not None
        id_, last_seq = row
        await db.execute("DELETE FROM members")
        await db.execute("DELETE FROM beats")
        await db.execute(_FOLD, (0, 0))
        await db.execute(_MEMBER, (id_, name, ""))
        await db.execute(_FIRST_BEAT, (id_,))
        await db.execute("UPDATE parts SET member = %s, opening = %s, border = %s", (id_, id_, last_seq))
    return id_, last_seq, Holding().with_parts(dict.fromkeys(EVERY_PART, (id_, last_seq)))


async def new_id(db: Connection) -> int:
    row = await _one(db, _NEW_ID)
    assert row is not None
    return int(row[0])


async def enter(db: Connection, member: Member) -> None:
    async with db.transaction():
        await db.execute(_MEMBER, (member.id, member.name, member.address))
        await db.execute(_FIRST_BEAT, (member.id,))


async def resume(db: Connection, id_: int) -> int | None:
    """The number of its commits; None when it has ended."""
    async with db.transaction():
        await db.execute(_BEAT, (id_,))
        row = await _one(db, "SELECT commits FROM members WHERE id = %s", (id_,))
    return None if row is None else int(row[0])


async def look(db: Connection, id_: int, lock_keys: int) -> tuple[list[Seen], dict[int, tuple[int, int, int]]] | None:
    """Renews the lease of a member, and tells of all members and of (member, opening, border) by part. None when it has ended."""
    async with db.pipeline():
        beat = await db.execute(_BEAT, (id_,), prepare=True)
        seen = await db.execute(_SEEN, (lock_keys,), prepare=True)
        parts = await db.execute("SELECT part, member, opening, border FROM parts", prepare=True)
    if beat.rowcount != 1:
        return None
    members = [Seen(Member(*row[:4]), row[4], row[5]) for row in await seen.fetchall()]
    return members, {row[0]: row[1:] for row in await parts.fetchall()}


async def end(db: Connection, id_: int, silent_s: float) -> bool:
    """False when it has been heard of since, or has ended already."""
    async with db.transaction():
        ended = await db.execute(_END, (id_, silent_s))
        if ended.rowcount != 1:
            return False
        await _tidy(db, id_)
    return True


async def depart(db: Connection, id_: int) -> None:
    """The end of a member by itself."""
    async with db.transaction():
        await db.execute("DELETE FROM members WHERE id = %s", (id_,))
        await _tidy(db, id_)


async def _tidy(db: Connection, id_: int) -> None:
    await db.execute("DELETE FROM beats WHERE member = %s", (id_,))
    await db.execute(_FOLD, (id_, id_))


async def take(db: Connection, id_: int, parts: Iterable[int]) -> dict[int, tuple[int, int]] | None:
    """(opening, border) of those that had no living owner; None when this member has ended."""
    wanted = list(parts)
    async with db.transaction():
        if await _one(db, "SELECT 1 FROM members WHERE id = %s FOR KEY SHARE", (id_,)) is None:
            return None
        await db.execute(_LOCK_PARTS, (wanted,))
        await db.execute("UPDATE numbers SET last_opening = last_opening + 1")
        taken = await (await db.execute(_TAKE, (id_, wanted))).fetchall()
    return {part: (opening, border) for part, opening, border in taken}


async def give(db: Connection, id_: int, parts: Iterable[int], to: int) -> int | None:
    """How many were given; None when this member has ended. Who gets them knows what was known of them, so nothing of theirs counts
    as recovered anew."""
    async with db.transaction():
        if await _one(db, "SELECT 1 FROM members WHERE id = %s FOR KEY SHARE", (id_,)) is None:
            return None
        given = await db.execute(
            "UPDATE parts SET member = %s WHERE part = ANY (%s) AND member = %s", (to, sorted(parts), id_)
        )
    return given.rowcount


async def leave(db: Connection, id_: int) -> int | None:
    """1; None when this member has ended."""
    return (await db.execute("UPDATE members SET is_leaving = true WHERE id = %s", (id_,))).rowcount or None


async def more_numbers(db: Connection, count: int) -> int:
    """That many sequence numbers, up to the one returned, are the caller's, whatever becomes of them."""
    row = await _one(db, "UPDATE numbers SET last_seq = last_seq + %s RETURNING last_seq", (count,))
    assert row is not None
    return int(row[0])
