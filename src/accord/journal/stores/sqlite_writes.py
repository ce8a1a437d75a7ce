"""Applies operations inside one open transaction; ``sqlite.py`` opens and commits it.

Bodies, results and letters are queued and written with one ``executemany`` at the end, or before an operation that reads them;
so are cursors and cross-references, which no operation reads. Counter changes are summed and written once per transaction.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from accord.journal.encoding import decode_message, decode_paths, encode, mark_digest, to_us
from accord.journal.operations import (
    Accept,
    Accepted,
    AcceptedOne,
    Bury,
    CrossReference,
    DeadLetter,
    Discard,
    Lease,
    MarkSeen,
    Move,
    Prune,
    Rejected,
    ReleaseDue,
    ReleaseHeld,
    Replay,
    SaveCursors,
    SaveReferences,
    Settle,
    State,
    settle_of,
)
from accord.journal.parts import ALL_PARTS, is_in, not_owner
from accord.journal.shared import part_of
from accord.journal.stores.sqlite_reads import IS_OF_PARTS
from accord.journal.stores.sqlite_schema import PAGE_SIZE_BYTES
from accord.record import Cursor, Message

MARKS_PRUNED_MORE = 100  # marks a prune may delete beyond its limit: there are more marks than messages

_END_OF_TIME_US = 2**62

_READY, _WAITING, _HELD, _DONE, _DEAD = (int(s) for s in State)

_INSERT_MARK = "INSERT INTO marks (digest, seq, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_STEP_MARK = "INSERT INTO marks (digest, seq, at, version) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_RENEW_MARK = "UPDATE marks SET seq = ?, at = ?, version = ? WHERE digest = ?"
_INSERT_MESSAGE = """INSERT INTO messages (seq, id, flow, key, state, is_head, accepted_at) VALUES (?1, ?2, ?3, ?4, 0,
    NOT EXISTS (SELECT 1 FROM messages WHERE state < 10 AND flow = ?3 AND key = ?4), ?5) ON CONFLICT DO NOTHING"""
_INSERT_DEAD = """INSERT INTO messages (seq, id, flow, key, state, is_head, accepted_at, settled_at, parts)
    VALUES (?, ?, ?, ?, 11, 0, ?, ?, ?) ON CONFLICT DO NOTHING"""
_INSERT_LETTER = "INSERT OR REPLACE INTO dead (seq, flow, at, letter) VALUES (?, ?, ?, ?)"
_INSERT_CONTENT = "INSERT INTO contents (seq, message) VALUES (?, ?)"
_INSERT_RESULTS = "INSERT INTO results (seq, part, value) VALUES (?, ?, ?)"
_SELECT_STATE = "SELECT state, flow, key, is_head, parts, held_by FROM messages WHERE seq = ?"
_SELECT_TO_SETTLE = """SELECT state, flow, parts, held_by, is_head, (SELECT n.seq FROM messages n
    WHERE n.state < 10 AND n.flow = m.flow AND n.key = m.key AND n.seq > m.seq ORDER BY n.seq LIMIT 1), key
    FROM messages m WHERE seq = ?"""
_SETTLE = """UPDATE messages SET state = ?, is_head = ?, attempts = ?, parts = ?, due = ?, held_by = ?, reason = ?,
    in_doubt = ?, settled_at = ? WHERE seq = ?"""
_SETTLE_PLAIN = """UPDATE messages SET state = ?, is_head = 0, attempts = ?, parts = ?, due = NULL, held_by = '', reason = ?,
    in_doubt = NULL, settled_at = ? WHERE seq = ?"""  # most are settled so; a NULL that is bound costs as much as bytes do
_PROMOTE = """UPDATE messages SET is_head = 1 WHERE seq =
    (SELECT seq FROM messages WHERE state < 10 AND flow = ? AND key = ? ORDER BY seq LIMIT 1)"""
_SELECT_DONE = f"""SELECT seq, flow FROM messages m WHERE state = 10 AND accepted_at < ? AND {IS_OF_PARTS}
    ORDER BY accepted_at, seq LIMIT ?"""  # noqa: S608 - a constant of the reads
_SAVE_CURSOR = (
    "INSERT INTO cursors (name, position) VALUES (?, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
)
_SAVE_REFERENCE = """INSERT INTO cross_references (entity, key, other, other_key) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET other_key = excluded.other_key"""
_SELECT_TO_RELEASE = "SELECT seq, flow, held_by, key FROM messages m"
_IS_RELEASED = f"? IN ('', flow) AND {IS_OF_PARTS}"
_SELECT_DUE = f"{_SELECT_TO_RELEASE} INDEXED BY messages_due WHERE state = 1 AND due <= ? AND {_IS_RELEASED} ORDER BY due, seq LIMIT ?"
_SELECT_HELD = f"{_SELECT_TO_RELEASE} INDEXED BY messages_held WHERE state = 2 AND held_by = ? AND {_IS_RELEASED} ORDER BY seq LIMIT ?"
_COUNT = """INSERT INTO counters (flow, state, held_by, n) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET n = n + excluded.n"""


# Else sqlite3 asks every bytes it binds for an adapter by two look-ups that fail, at half a microsecond each.
sqlite3.register_adapter(bytes, bytes)


class Writes:
    """``begin`` before the first operation of a transaction, ``apply`` each, ``finish`` before the commit."""

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        next_seq: int,
        opening: int,
        now: Callable[[], dt.datetime],
        leases: Callable[[Iterable[int]], tuple[Lease, ...]],
    ) -> None:
        self._db = db
        self._execute = db.cursor().execute  # one cursor: making one per statement costs as much as a small read
        self._next_seq = next_seq
        self._committed_next_seq = next_seq
        self.opening = opening
        self._now = now
        self._leases = leases
        self._contents: list[tuple[int, bytes]] = []
        self._results: list[tuple[int, int, bytes]] = []
        self._letters: list[tuple[int, str, int, bytes]] = []
        self._references: list[tuple[str, str, str, str]] = []
        self._cursors: dict[str, bytes] = {}
        self._counts: defaultdict[tuple[str, int, str], int] = defaultdict(int)
        self._held: dict[tuple[str, int], int] | None = None  # by system and part, once somebody asked
        self._held_changes: list[tuple[str, int, int]] = []
        self._now_us = 0
        self.parts = ALL_PARTS  # of whose owner the next operations are
        self.pages_to_free = 0  # by the store after the commit, so that the file shrinks; bounded as the prune was
        self._handlers: dict[type, Callable[[Any], Any]] = {
            Accept: self._accept,
            Bury: self._bury_born,
            Settle: self._settle,
            Move: self._move,
            Replay: self._replay,
            Discard: self._discard,
            ReleaseDue: self._release_due,
            ReleaseHeld: self._release_held,
            SaveCursors: self._save_cursors,
            SaveReferences: self._save_references,
            MarkSeen: self._mark_seen,
            Prune: self._prune,
        }

    def begin(self) -> None:
        """Also forgets what a transaction that was rolled back had queued."""
        self._next_seq = self._committed_next_seq
        self._contents.clear()
        self._results.clear()
        self._letters.clear()
        self._references.clear()
        self._cursors.clear()
        self._counts.clear()
        self._held_changes.clear()
        self.pages_to_free = 0
        self._now_us = to_us(self._now())

    def apply(self, operation: Any) -> Any:
        return self._handlers[type(operation)](operation)

    def finish(self) -> None:
        self._flush()
        if self._references:
            self._db.executemany(_SAVE_REFERENCE, self._references)
        if self._cursors:
            self._db.executemany(_SAVE_CURSOR, list(self._cursors.items()))
        changes = [(*name, n) for name, n in self._counts.items() if n]
        if changes:
            self._db.executemany(_COUNT, changes)

    def committed(self) -> None:
        self._committed_next_seq = self._next_seq
        if self._held is not None:
            for system, part, change in self._held_changes:
                count = self._held.pop((system, part), 0) + change
                if count:
                    self._held[system, part] = count

    @property
    def last_seq(self) -> int:
        """The last sequence number given and committed."""
        return self._committed_next_seq - 1

    def held_by_part(self, count: Callable[[], dict[tuple[str, int], int]]) -> dict[tuple[str, int], int]:
        """(system, part) → messages it holds, followed from commit to commit since ``count`` counted them for the first call."""
        if self._held is None:
            self._held = count()
        return self._held

    def _flush(self) -> None:
        if self._contents:
            self._db.executemany(_INSERT_CONTENT, self._contents)
            self._contents.clear()
        if self._results:
            self._db.executemany(_INSERT_RESULTS, self._results)
            self._results.clear()
        if self._letters:
            self._db.executemany(_INSERT_LETTER, self._letters)
            self._letters.clear()

    def _is_own(self, flow: str, key: str) -> bool:
        return is_in(self.parts, part_of(flow, key))

    def _accept(self, operation: Accept) -> Accepted:
        accepted = Accepted(tuple([self._accept_one(message) for message in operation.messages]))
        if operation.cursors:
            self._save(operation.cursors)
        return accepted

    def _accept_one(self, message: Message) -> AcceptedOne:
        if self.parts != ALL_PARTS and not self._is_own(message.flow, message.key):
            raise not_owner(message.flow, message.key)
        accepted = self._admit(message, _INSERT_MESSAGE)
        if not accepted.is_duplicate:
            self._counts[message.flow, _READY, ""] += 1
        return accepted

    def _bury_born(self, operation: Bury) -> Accepted:
        rejected = operation.rejected
        fresh = self._bury_fresh(rejected) if rejected else []
        accepted = fresh or [self._bury_one(one) for one in rejected]
        self._save(operation.cursors)
        return Accepted(tuple(accepted))

    def _bury_fresh(self, rejected: Sequence[Rejected]) -> list[AcceptedOne]:
        """All of them at once, where the journal knows none of their events and ids; else it is left as it was, and the list is empty."""
        seqs = range(self._next_seq, self._next_seq + len(rejected))
        marks, messages = [], []
        for seq, one in zip(seqs, rejected, strict=True):
            message, at = one.message, to_us(one.message.time)
            messages.append((seq, message.id, message.flow, message.key, at, self._now_us, 1 if one.results else 0))
            if message.event_id:
                marks.append((mark_digest("event", message.flow, message.source, message.event_id), seq, at))
        self._execute("SAVEPOINT fresh")
        is_known = any(
            rows and self._db.executemany(insert, rows).rowcount < len(rows)
            for insert, rows in ((_INSERT_MARK, sorted(marks)), (_INSERT_DEAD, messages))
        )
        if is_known:
            self._execute("ROLLBACK TO fresh")
        self._execute("RELEASE fresh")
        if is_known:
            return []
        self._next_seq += len(rejected)
        for seq, one in zip(seqs, rejected, strict=True):
            self._contents.append((seq, encode(one.message)))
            self._bury_letter(seq, one)
        return [AcceptedOne(seq) for seq in seqs]

    def _bury_one(self, one: Rejected) -> AcceptedOne:
        accepted = self._admit(one.message, _INSERT_DEAD, (self._now_us, 1 if one.results else 0))
        if not accepted.is_duplicate:
            self._bury_letter(accepted.seq, one)
        return accepted

    def _bury_letter(self, seq: int, one: Rejected) -> None:
        self._letters.append((seq, one.message.flow, self._now_us, encode(one.dead)))
        if one.results:
            self._results.append((seq, 1, encode({r.path: r.value for r in one.results})))
        self._counts[one.message.flow, _DEAD, ""] += 1

    def _admit(self, message: Message, insert: str, more: tuple[int, ...] = ()) -> AcceptedOne:
        seq = self._next_seq
        accepted_at = to_us(message.time)
        digest = b""
        if message.event_id:
            digest = mark_digest("event", message.flow, message.source, message.event_id)
            if self._execute(_INSERT_MARK, (digest, seq, accepted_at)).rowcount == 0:
                return AcceptedOne(self._seq_of_mark(digest), True)
        row = (seq, message.id, message.flow, message.key, accepted_at, *more)
        if self._execute(insert, row).rowcount == 0:
            first = int(self._execute("SELECT seq FROM messages WHERE id = ?", (message.id,)).fetchone()[0])
            if digest:
                self._execute("UPDATE marks SET seq = ? WHERE digest = ?", (first, digest))
            return AcceptedOne(first, True)
        self._next_seq = seq + 1
        self._contents.append((seq, encode(message)))
        return AcceptedOne(seq)

    def _seq_of_mark(self, digest: bytes) -> int:
        row = self._execute(
            "SELECT m.seq FROM marks JOIN messages m ON m.seq = marks.seq WHERE digest = ?", (digest,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _settle(self, operation: Settle) -> bool:
        seq = operation.seq
        row = self._execute(_SELECT_TO_SETTLE, (seq,)).fetchone()
        if row is None or row[0] >= _DONE:
            return False
        old_state, flow, parts, old_held_by, is_head, next_seq, key = row
        if self.parts != ALL_PARTS and not self._is_own(flow, key):
            return False
        state = int(operation.state)
        if operation.results:
            parts += 1
            self._results.append((seq, parts, encode({r.path: r.value for r in operation.results})))
        held_by = operation.held_by if state == _HELD else ""
        is_settled = state >= _DONE
        if is_settled and not operation.in_doubt:
            self._execute(_SETTLE_PLAIN, (state, operation.attempts, parts, operation.reason, self._now_us, seq))
        else:
            due = (to_us(operation.due) if operation.due else self._now_us) if state == _WAITING else None
            self._execute(
                _SETTLE,
                (
                    state,
                    0 if is_settled else is_head,
                    operation.attempts,
                    parts,
                    due,
                    held_by,
                    operation.reason,
                    encode(operation.in_doubt) if operation.in_doubt else None,
                    self._now_us if is_settled else None,
                    seq,
                ),
            )
        if is_settled and is_head and next_seq is not None:
            self._execute("UPDATE messages SET is_head = 1 WHERE seq = ?", (next_seq,))
        if state == _DEAD:
            self._bury(seq, flow, operation)
        if state != old_state or held_by != old_held_by:
            self._counts[flow, old_state, old_held_by] -= 1
            self._counts[flow, state, held_by] += 1
            if self._held is not None:
                self._count_held(flow, key, old_held_by, held_by)
        if operation.references:
            self._refer(operation.references)
        if operation.cursors:
            self._save(operation.cursors)
        return True

    def _count_held(self, flow: str, key: str, old_system: str, system: str) -> None:
        """A message is held by ``system`` now, and was by ``old_system`` ('': by none)."""
        part = part_of(flow, key)
        if old_system:
            self._held_changes.append((old_system, part, -1))
        if system:
            self._held_changes.append((system, part, 1))

    def _bury(self, seq: int, flow: str, operation: Settle) -> None:
        letter = operation.dead or DeadLetter(step="", code="journal.no-letter", reason=operation.reason)
        self._letters.append((seq, flow, self._now_us, encode(letter)))

    def _move(self, operation: Move) -> bool:
        row = self._execute("SELECT attempts, in_doubt FROM messages WHERE seq = ?", (operation.seq,)).fetchone()
        if row is None:
            return False
        attempts, in_doubt = row
        return self._settle(settle_of(operation, attempts, decode_paths(in_doubt) if in_doubt else ()))

    def _replay(self, operation: Replay) -> bool:
        seq = operation.seq
        row = self._execute(_SELECT_STATE, (seq,)).fetchone()
        if row is None or row[0] != _DEAD:
            return False
        _, flow, key, _, parts, _ = row
        if not self._is_own(flow, key):
            return False
        self._flush()
        if operation.body is not None:
            (content,) = self._execute("SELECT message FROM contents WHERE seq = ?", (seq,)).fetchone()
            mended = msgspec.structs.replace(decode_message(content), body=operation.body)
            self._execute("UPDATE contents SET message = ? WHERE seq = ?", (encode(mended), seq))
        if operation.from_start:
            self._execute("DELETE FROM results WHERE seq = ?", (seq,))
            parts = 0
        self._execute("DELETE FROM dead WHERE seq = ?", (seq,))
        self._execute(
            "UPDATE messages SET is_head = 0 WHERE state < 10 AND flow = ? AND key = ? AND is_head = 1", (flow, key)
        )
        self._execute(
            "UPDATE messages SET state = 0, attempts = 0, parts = ?, reason = '', settled_at = NULL, replayed_in = ?"
            " WHERE seq = ?",
            (parts, self.opening, seq),
        )
        self._execute(_PROMOTE, (flow, key))
        self._counts[flow, _DEAD, ""] -= 1
        self._counts[flow, _READY, ""] += 1
        return True

    def _discard(self, operation: Discard) -> bool:
        row = self._execute(_SELECT_STATE, (operation.seq,)).fetchone()
        if row is None or row[0] != _DEAD or not self._is_own(row[1], row[2]):
            return False
        self._execute(
            "UPDATE messages SET state = 10, reason = ?, settled_at = ? WHERE seq = ?",
            (operation.reason, self._now_us, operation.seq),
        )
        self._counts[row[1], _DEAD, ""] -= 1
        self._counts[row[1], _DONE, ""] += 1
        return True

    def _release_due(self, operation: ReleaseDue) -> tuple[Lease, ...]:
        values = (to_us(operation.now), operation.flow, self.parts, self.parts, operation.limit)
        return self._release(self._execute(_SELECT_DUE, values).fetchall(), _WAITING)

    def _release_held(self, operation: ReleaseHeld) -> tuple[Lease, ...]:
        values = (operation.system, operation.flow, self.parts, self.parts, operation.limit)
        return self._release(self._execute(_SELECT_HELD, values).fetchall(), _HELD)

    def _release(self, rows: list[tuple[int, str, str, str]], state: int) -> tuple[Lease, ...]:
        self._flush()
        seqs = sorted(seq for seq, *_ in rows)
        self._db.executemany(
            "UPDATE messages SET state = 0, due = NULL, held_by = '' WHERE seq = ?", [(seq,) for seq in seqs]
        )
        for _, flow, held_by, key in rows:
            self._counts[flow, state, held_by] -= 1
            self._counts[flow, _READY, ""] += 1
            if self._held is not None:
                self._count_held(flow, key, held_by, "")
        return self._leases(seqs)

    def _save_cursors(self, operation: SaveCursors) -> None:
        self._save(operation.cursors)

    def _save(self, cursors: tuple[Cursor, ...]) -> None:
        for cursor in cursors:
            self._cursors[cursor.name] = cursor.position

    def _save_references(self, operation: SaveReferences) -> None:
        self._refer(operation.references)

    def _refer(self, references: tuple[CrossReference, ...]) -> None:
        for r in references:
            self._references.append((r.a, r.a_key, r.b, r.b_key))
            self._references.append((r.b, r.b_key, r.a, r.a_key))

    def _mark_seen(self, operation: MarkSeen) -> bool:
        digest, at = mark_digest("step", operation.scope, "", operation.id), to_us(operation.now)
        if self._execute(_INSERT_STEP_MARK, (digest, operation.seq, at, operation.version)).rowcount:
            return True
        seq, version = self._execute("SELECT seq, version FROM marks WHERE digest = ?", (digest,)).fetchone()
        if operation.version > version:
            self._execute(_RENEW_MARK, (operation.seq, at, operation.version, digest))
            return True
        return bool(seq == operation.seq)

    def _prune(self, operation: Prune) -> int:
        self._flush()
        self._execute(
            "DELETE FROM marks WHERE digest IN (SELECT digest FROM marks WHERE at < ? ORDER BY at LIMIT ?)",
            (to_us(operation.seen_before), operation.limit + MARKS_PRUNED_MORE),
        )
        seqs = self._done_seqs(to_us(operation.before), operation.limit)
        self._delete(seqs)
        deleted = len(seqs)
        # A few at a time: how much a message frees is known only afterwards.
        while operation.size_bytes_max and deleted < operation.limit and self._used_bytes() > operation.size_bytes_max:
            seqs = self._done_seqs(_END_OF_TIME_US, min(100, operation.limit - deleted))
            if not seqs:
                break
            self._delete(seqs)
            deleted += len(seqs)
        self.pages_to_free = max(256, 2 * operation.limit)
        return deleted

    def _done_seqs(self, before_us: int, limit: int) -> list[tuple[int, str]]:
        return self._execute(_SELECT_DONE, (before_us, self.parts, self.parts, limit)).fetchall()

    def _delete(self, rows: list[tuple[int, str]]) -> None:
        """Sequence numbers are never given again: the floor survives the deletion of the newest message."""
        seqs = [(seq,) for seq, _ in rows]
        for table in ("results", "dead", "contents", "messages"):
            self._db.executemany(f"DELETE FROM {table} WHERE seq = ?", seqs)  # noqa: S608 - names from the line above
        if rows:
            self._execute("UPDATE facts SET value = max(value, ?) WHERE name = 'seq_floor'", (max(s for s, _ in rows),))
        for _, flow in rows:
            self._counts[flow, _DONE, ""] -= 1

    def _used_bytes(self) -> int:
        pages, free = self._execute(
            "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"
        ).fetchone()
        return int((pages - free) * PAGE_SIZE_BYTES)
