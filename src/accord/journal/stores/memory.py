"""The journal as plain dictionaries: the model other stores are compared with, and the store of ``accord test``.

Every rule is written as its definition reads, at the price of looking at all messages each time. Nothing survives the
process; ``open`` on a store that was used before acts as a restart.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from accord.errors import JournalError
from accord.journal.faults import closed, operation_fault
from accord.journal.operations import (
    Accept,
    Accepted,
    AcceptedOne,
    Bury,
    CrossReference,
    DeadLetter,
    DeadLetterRow,
    Discard,
    Lease,
    MarkSeen,
    MessageRow,
    Move,
    Operation,
    Prune,
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
from accord.journal.search import ANY, IN_DOUBT, InDoubt, MessageQuery
from accord.journal.shared import part_of
from accord.record import Cursor, Message

_OPEN = (State.READY, State.WAITING, State.HELD)


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    message: Message
    state: State = State.READY
    attempts: int = 0
    due: dt.datetime | None = None
    held_by: str = ""
    reason: str = ""
    settled_at: dt.datetime | None = None
    results: dict[str, bytes] = {}
    in_doubt: frozenset[str] = frozenset()
    dead: DeadLetter | None = None
    is_recovered: bool = False


class _Mark(msgspec.Struct, frozen=True):
    seq: int
    at: dt.datetime
    version: str = ""


class _Tables(msgspec.Struct):
    entries: dict[int, _Entry] = {}
    marks: dict[tuple[str, ...], _Mark] = {}
    references: dict[tuple[str, str, str], str] = {}
    cursors: dict[str, bytes] = {}
    last_seq: int = 0

    def copy(self) -> _Tables:
        return _Tables(dict(self.entries), dict(self.marks), dict(self.references), dict(self.cursors), self.last_seq)


class MemoryStore:
    """A Store in memory. ``now`` is the clock for settle times."""

    def __init__(self, *, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._now = now
        self._tables = _Tables()
        self._is_open = False
        self._parts = ALL_PARTS  # of whose owner the operations are

    def open(self) -> None:
        entries = self._tables.entries
        for seq, entry in entries.items():
            entries[seq] = msgspec.structs.replace(entry, is_recovered=entry.state in _OPEN)
        self._is_open = True

    def close(self) -> None:
        self._is_open = False

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Raises JournalError ``journal.closed``, or ``journal.operation`` when one of them cannot be applied; nothing is kept then."""
        return self.commit_of([(ALL_PARTS, operations)])

    def commit_of(self, groups: Sequence[tuple[int, Sequence[Operation]]]) -> list[Any]:
        if not self._is_open:
            raise closed()
        before = self._tables.copy()
        results: list[Any] = []
        try:
            for self._parts, operations in groups:
                results += [self._apply(operation) for operation in operations]
            return results
        except JournalError:
            self._tables = before
            raise
        except (TypeError, ValueError) as error:
            self._tables = before
            raise operation_fault(error) from error

    def _apply(self, operation: Operation) -> Any:
        match operation:
            case Accept():
                accepted = Accepted(tuple(self._accept(message) for message in operation.messages))
                self._save(operation.cursors)
                return accepted
            case Bury():
                return self._bury(operation)
            case Settle():
                return self._settle(operation)
            case Move():
                return self._move(operation)
            case Replay():
                return self._replay(operation)
            case Discard():
                return self._discard(operation)
            case ReleaseDue():
                waiting = [e for e in self._in_state(State.WAITING, operation.flow) if e.due and e.due <= operation.now]
                waiting = [e for e in waiting if _is_of(e, self._parts)]
                return self._release(sorted(waiting, key=lambda e: (e.due, e.seq))[: operation.limit])
            case ReleaseHeld():
                held = [e for e in self._in_state(State.HELD, operation.flow) if e.held_by == operation.system]
                held = [e for e in held if _is_of(e, self._parts)]
                return self._release(held[: operation.limit])
            case SaveCursors():
                return self._save(operation.cursors)
            case SaveReferences():
                return self._refer(operation.references)
            case MarkSeen():
                return self._mark_seen(operation)
            case Prune():
                return self._prune(operation)

    def _bury(self, operation: Bury) -> Accepted:
        found = []
        for one in operation.rejected:
            accepted = self._admit(one.message)
            if not accepted.is_duplicate:
                self._replace(
                    self._tables.entries[accepted.seq],
                    state=State.DEAD,
                    dead=one.dead,
                    results={r.path: r.value for r in one.results},
                    settled_at=self._now(),
                )
            found.append(accepted)
        self._save(operation.cursors)
        return Accepted(tuple(found))

    def _accept(self, message: Message) -> AcceptedOne:
        if not is_in(self._parts, part_of(message.flow, message.key)):
            raise not_owner(message.flow, message.key)
        return self._admit(message)

    def _admit(self, message: Message) -> AcceptedOne:
        tables = self._tables
        (message.id + message.flow + message.key).encode()  # text that is no Unicode is refused here as in a file
        if message.time.tzinfo is None:
            raise TypeError(f"the time of message {message.id} has no zone")
        mark = ("event", message.flow, message.source, message.event_id)
        if message.event_id and mark in tables.marks:
            seq = tables.marks[mark].seq
            return AcceptedOne(seq if seq in tables.entries else 0, True)
        first = next((e.seq for e in tables.entries.values() if e.message.id == message.id), 0)
        seq = first or tables.last_seq + 1
        if message.event_id:
            tables.marks[mark] = _Mark(seq, message.time)
        if first:
            return AcceptedOne(first, True)
        tables.last_seq = seq
        tables.entries[seq] = _Entry(seq=seq, message=message)
        return AcceptedOne(seq)

    def _settle(self, operation: Settle) -> bool:
        entry = self._tables.entries.get(operation.seq)
        if entry is None or entry.state not in _OPEN or not _is_of(entry, self._parts):
            return False
        state = operation.state
        self._replace(
            entry,
            state=state,
            attempts=operation.attempts,
            results=entry.results | {r.path: r.value for r in operation.results},
            due=(operation.due or self._now()) if state is State.WAITING else None,
            held_by=operation.held_by if state is State.HELD else "",
            reason=operation.reason,
            in_doubt=frozenset(operation.in_doubt),
            settled_at=None if state in _OPEN else self._now(),
            dead=(operation.dead or DeadLetter(step="", code="journal.no-letter", reason=operation.reason))
            if state is State.DEAD
            else None,
        )
        self._refer(operation.references)
        self._save(operation.cursors)
        return True

    def _move(self, operation: Move) -> bool:
        entry = self._tables.entries.get(operation.seq)
        return entry is not None and self._settle(settle_of(operation, entry.attempts, entry.in_doubt))

    def _replay(self, operation: Replay) -> bool:
        entry = self._tables.entries.get(operation.seq)
        if entry is None or entry.state is not State.DEAD or not _is_of(entry, self._parts):
            return False
        message = entry.message
        if operation.body is not None:
            message = msgspec.structs.replace(message, body=operation.body)
        self._replace(
            entry,
            message=message,
            state=State.READY,
            attempts=0,
            results={} if operation.from_start else entry.results,
            reason="",
            settled_at=None,
            dead=None,
            is_recovered=False,
        )
        return True

    def _discard(self, operation: Discard) -> bool:
        entry = self._tables.entries.get(operation.seq)
        if entry is None or entry.state is not State.DEAD or not _is_of(entry, self._parts):
            return False
        self._replace(entry, state=State.DONE, reason=operation.reason, settled_at=self._now())
        return True

    def _release(self, entries: list[_Entry]) -> tuple[Lease, ...]:
        leases = []
        for entry in sorted(entries, key=lambda e: e.seq):
            leases.append(_lease(self._replace(entry, state=State.READY, due=None, held_by="")))
        return tuple(leases)

    def _mark_seen(self, operation: MarkSeen) -> bool:
        name = ("step", operation.scope, operation.id)
        known = self._tables.marks.get(name)
        if known is None or operation.version > known.version:
            self._tables.marks[name] = _Mark(operation.seq, operation.now, operation.version)
            return True
        return known.seq == operation.seq

    def _prune(self, operation: Prune) -> int:
        tables = self._tables
        old = [(mark.at, name) for name, mark in tables.marks.items() if mark.at < operation.seen_before]
        for _, mark in sorted(old)[: operation.limit + 100]:
            del tables.marks[mark]
        done = sorted((e.message.time, e.seq) for e in self._in_state(State.DONE, "") if _is_of(e, self._parts))
        deleted = 0
        for time, seq in done:
            is_too_large = operation.size_bytes_max and self.size_bytes() > operation.size_bytes_max
            if deleted < operation.limit and (time < operation.before or is_too_large):
                del tables.entries[seq]
                deleted += 1
        return deleted

    def _save(self, cursors: tuple[Cursor, ...]) -> None:
        self._tables.cursors.update((c.name, c.position) for c in cursors)

    def _refer(self, references: tuple[CrossReference, ...]) -> None:
        for r in references:
            self._tables.references[r.a, r.a_key, r.b] = r.b_key
            self._tables.references[r.b, r.b_key, r.a] = r.a_key

    def _replace(self, entry: _Entry, **changes: Any) -> _Entry:
        changed = msgspec.structs.replace(entry, **changes)
        self._tables.entries[entry.seq] = changed
        return changed

    def _in_state(self, state: State, flow: str) -> list[_Entry]:
        entries = self._tables.entries
        return [
            entries[s] for s in sorted(entries) if entries[s].state is state and flow in ("", entries[s].message.flow)
        ]

    def _open_of(self, flow: str, key: str) -> list[_Entry]:
        entries = self._tables.entries
        return [
            entries[s]
            for s in sorted(entries)
            if entries[s].state in _OPEN and (entries[s].message.flow, entries[s].message.key) == (flow, key)
        ]

    # reads

    def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        return self.lease_of(ALL_PARTS, flow, after_seq, limit)

    def lease_of(self, parts: int, flow: str, after_seq: int, limit: int) -> list[Lease]:
        ready = [e for e in self._in_state(State.READY, flow) if e.seq > after_seq and e.message.flow == flow]
        ready = [e for e in ready if _is_of(e, parts)]
        return [_lease(e) for e in ready if self._open_of(flow, e.message.key)[0].seq == e.seq][:limit]

    def next_of_key(self, flow: str, key: str) -> Lease | None:
        oldest = self._open_of(flow, key)
        return _lease(oldest[0]) if oldest else None

    def counts(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for entry in self._tables.entries.values():
            name = (entry.message.flow, entry.state.name.lower())
            found[name] = found.get(name, 0) + 1
        return found

    def held(self) -> dict[str, int]:
        return self.held_of(ALL_PARTS)

    def held_of(self, parts: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for entry in [e for e in self._in_state(State.HELD, "") if _is_of(e, parts)]:
            found[entry.held_by] = found.get(entry.held_by, 0) + 1
        return found

    def next_due(self) -> dt.datetime | None:
        return self.next_due_of(ALL_PARTS)

    def next_due_of(self, parts: int) -> dt.datetime | None:
        waiting = [e for e in self._in_state(State.WAITING, "") if _is_of(e, parts)]
        return min((e.due for e in waiting if e.due), default=None)

    def open_counts_of(self, parts: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for entry in self._tables.entries.values():
            if entry.state in _OPEN and _is_of(entry, parts):
                found[entry.message.flow] = found.get(entry.message.flow, 0) + 1
        return found

    def recover(self, parts: int) -> None:
        for entry in [e for e in self._tables.entries.values() if e.state in _OPEN and _is_of(e, parts)]:
            self._replace(entry, is_recovered=True)

    def cursor(self, name: str) -> bytes | None:
        return self._tables.cursors.get(name)

    def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        return [self._tables.references.get(query) for query in queries]

    def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        rows = [
            DeadLetterRow(seq=e.seq, message=e.message, dead=e.dead, attempts=e.attempts, at=e.settled_at)
            for e in self._in_state(State.DEAD, flow)
            if e.seq > after_seq and e.dead and e.settled_at
        ]
        return rows[:limit]

    def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        entries = [self._tables.entries[s] for s in sorted(self._tables.entries)]
        found = [
            e
            for e in entries
            if e.seq > query.after_seq
            and (not query.before_seq or e.seq < query.before_seq)
            and (query.since is None or e.message.time >= query.since)
            and (query.until is None or e.message.time < query.until)
            and query.flow in ("", e.message.flow)
            and query.key in ("", e.message.key)
            and query.id in ("", e.message.id)
            and (query.state in ("", e.state.name.lower()) or (query.state == IN_DOUBT and _is_in_doubt(e)))
        ]
        return [_row(e) for e in (found[::-1] if query.before_seq else found)[: query.limit]]

    def in_doubt(self) -> list[InDoubt]:
        entries = [e for e in self._tables.entries.values() if _is_in_doubt(e)]
        found = Counter((e.message.flow, tuple(sorted(e.in_doubt))) for e in entries)
        return [InDoubt(flow, paths, count) for (flow, paths), count in sorted(found.items())]

    def size_bytes(self) -> int:
        """Bytes of all bodies: an estimate."""
        return sum(len(e.message.body) for e in self._tables.entries.values())


def _is_in_doubt(e: _Entry) -> bool:
    return bool(e.in_doubt) and e.state is not State.DONE


def _is_of(e: _Entry, parts: int) -> bool:
    return is_in(parts, part_of(e.message.flow, e.message.key))


def _lease(e: _Entry) -> Lease:
    return Lease(
        seq=e.seq,
        message=e.message,
        state=e.state,
        attempts=e.attempts,
        results=e.results,
        in_doubt=e.in_doubt,
        is_recovered=e.is_recovered,
    )


def _row(e: _Entry) -> MessageRow:
    return MessageRow(
        seq=e.seq,
        message=e.message,
        state=e.state,
        attempts=e.attempts,
        due=e.due,
        held_by=e.held_by,
        reason=e.reason,
        settled_at=e.settled_at,
        results=e.results,
        in_doubt=e.in_doubt,
        dead=e.dead,
    )
