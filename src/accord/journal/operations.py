"""What can be asked of the journal: operations as values, committed together in one transaction.

A store takes a list of operations, applies them in order in ONE durable transaction and returns one result per operation.
An operation that fails alone (none does, by design) would fail the whole group, so operations are total: a settle of an
unknown or already settled message is a no-op that says so.

States of a message::

    ready ──settle──▶ done | dead | stopped(done)          bury ──▶ dead
      │  ▲
      │  └── due time reached (release_due) / system well again (release_held) / replay of a dead letter
      ├──▶ waiting (until ``due``)
      └──▶ held    (until system ``held_by`` is well)

An operator's Move takes an open message to any of them.

``ready, waiting, held`` are open; ``done, dead`` are settled. A message is *eligible* when it is ready and no open message
of the same flow and key has a smaller sequence number.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from accord.record import Cursor, Message


class State(enum.IntEnum):
    READY = 0
    WAITING = 1
    HELD = 2
    DONE = 10
    DEAD = 11


class StepResult(msgspec.Struct, frozen=True):
    """The settled result of one effect (or other durable answer) of a message. ``value`` is msgpack/JSON bytes of an Outcome."""

    path: str
    value: bytes


class CrossReference(msgspec.Struct, frozen=True):
    """Record ``a_key`` of entity ``a`` is record ``b_key`` of entity ``b``. Readable both ways."""

    a: str
    a_key: str
    b: str
    b_key: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message was given up: the step's path in the flow, stable code, reason (masked), field path, all problems as JSON."""

    step: str
    code: str
    reason: str
    path: str = ""
    details: bytes = b""


# --- operations (writes) ---------------------------------------------------------------------------------------------


class Accept(msgspec.Struct, frozen=True, tag=True):
    """Stores messages (and moves cursors in the same transaction). Result: Accepted.

    A message with an ``event_id`` already seen for its (flow, source) within the dedupe retention is not stored again.
    """

    messages: tuple[Message, ...]
    cursors: tuple[Cursor, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A row of a load that could not be processed. ``results``: of the steps that had taken it before."""

    message: Message
    dead: DeadLetter
    results: tuple[StepResult, ...] = ()


class Bury(msgspec.Struct, frozen=True, tag=True):
    """Stores messages that are dead letters from the beginning, and moves cursors in the same transaction. Nobody runs them before they
    are replayed, so any member of a shared journal may bury messages of any part. Known events and ids as for Accept.
    Result: Accepted."""

    rejected: tuple[Rejected, ...]
    cursors: tuple[Cursor, ...] = ()


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Records what came of a message: new results, its next state, cross-references, and moves cursors.

    ``attempts`` is the new total spent. ``due`` for WAITING, ``held_by`` for HELD, ``dead`` for DEAD. ``in_doubt`` lists
    effect paths whose last attempt may have been carried out. Result: bool, False when the message is unknown or settled.
    """

    seq: int
    state: State
    results: tuple[StepResult, ...] = ()
    attempts: int = 0
    due: dt.datetime | None = None
    held_by: str = ""
    in_doubt: tuple[str, ...] = ()
    reason: str = ""
    dead: DeadLetter | None = None
    references: tuple[CrossReference, ...] = ()
    cursors: tuple[Cursor, ...] = ()


class Move(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Changes the state of an open message from outside its flow: an operator's word. READY lets it go on, HELD keeps it back,
    DONE ends it; ``held_by`` and ``reason`` as for Settle. Its attempts and what is in doubt stay as they are, ``results`` are
    added. Result: bool, False when the message is unknown or settled."""

    seq: int
    state: State
    held_by: str = ""
    reason: str = ""
    results: tuple[StepResult, ...] = ()


def settle_of(move: Move, attempts: int, in_doubt: Iterable[str]) -> Settle:
    """What a Move of a message with these attempts and doubts amounts to."""
    return Settle(
        seq=move.seq,
        state=move.state,
        results=move.results,
        attempts=attempts,
        held_by=move.held_by,
        in_doubt=tuple(sorted(in_doubt)),
        reason=move.reason,
    )


class Replay(msgspec.Struct, frozen=True, tag=True):
    """Puts a dead letter back to ready, with a mended body if given; settled results are kept, so it resumes where it stopped.
    ``from_start`` forgets its results. Result: bool, False when it is not dead."""

    seq: int
    body: bytes | None = None
    from_start: bool = False


class Discard(msgspec.Struct, frozen=True, tag=True):
    """Marks a dead letter as done without running it; ``reason`` is kept. Result: bool."""

    seq: int
    reason: str


class ReleaseDue(msgspec.Struct, frozen=True, tag=True):
    """Waiting messages due at ``now`` become ready, earliest due first, at most ``limit``: so a million overdue ones cost no
    sort. Result: tuple[Lease, ...] of them by seq; whether one is eligible (a replayed message of its key may go before it)
    is for ``next_of_key`` to say."""

    now: dt.datetime
    limit: int
    flow: str = ""


class ReleaseHeld(msgspec.Struct, frozen=True, tag=True):
    """Messages held by ``system`` become ready, oldest sequence first, at most ``limit``. Result: tuple[Lease, ...] of them."""

    system: str
    limit: int
    flow: str = ""


class SaveCursors(msgspec.Struct, frozen=True, tag=True):
    """Result: None."""

    cursors: tuple[Cursor, ...]


class SaveReferences(msgspec.Struct, frozen=True, tag=True):
    """Result: None."""

    references: tuple[CrossReference, ...]


class MarkSeen(msgspec.Struct, frozen=True, tag=True):
    """The idempotent receiver of a `dedupe` step: True when (scope, id) is new, was marked last by the same message, or was marked
    with a smaller ``version`` (compared as text); then this message's version is the mark's."""

    scope: str
    id: str
    seq: int
    now: dt.datetime
    version: str = ""


class Prune(msgspec.Struct, frozen=True, tag=True):
    """Deletes at most ``limit`` settled DONE messages accepted before ``before`` or, oldest first, until the file is under
    ``size_bytes_max`` (0: no size bound); and dedupe marks older than ``seen_before`` (at most ``limit`` + 100 of them).
    Dead letters are never pruned. Result: int, the number of messages deleted."""

    before: dt.datetime
    seen_before: dt.datetime
    limit: int
    size_bytes_max: int = 0


Operation: TypeAlias = (
    Accept
    | Bury
    | Settle
    | Move
    | Replay
    | Discard
    | ReleaseDue
    | ReleaseHeld
    | SaveCursors
    | SaveReferences
    | MarkSeen
    | Prune
)


def size_of(operation: Operation) -> int:
    """How many messages it may add to the journal."""
    if type(operation) is Accept:
        return len(operation.messages)
    return len(operation.rejected) if type(operation) is Bury else 0


# --- what comes back -------------------------------------------------------------------------------------------------


class AcceptedOne(msgspec.Struct, frozen=True):
    """``seq`` orders messages in the journal; for a duplicate it is that of the first one (0 when already pruned)."""

    seq: int
    is_duplicate: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """One per message, in order."""

    messages: tuple[AcceptedOne, ...]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A message ready to run, with what is known of it. ``results`` by step path; ``in_doubt`` effect paths."""

    seq: int
    message: Message
    state: State = State.READY
    attempts: int = 0
    results: dict[str, bytes] = {}
    in_doubt: frozenset[str] = frozenset()
    is_recovered: bool = False  # it was open when the journal was last opened: any unsettled effect may be in doubt


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    message: Message
    dead: DeadLetter
    attempts: int
    at: dt.datetime


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message with all that is known of it, for looking at."""

    seq: int
    message: Message
    state: State
    attempts: int
    due: dt.datetime | None = None
    held_by: str = ""
    reason: str = ""
    settled_at: dt.datetime | None = None
    results: dict[str, bytes] = {}
    in_doubt: frozenset[str] = frozenset()
    dead: DeadLetter | None = None
