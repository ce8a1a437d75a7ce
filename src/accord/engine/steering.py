"""An operator's word on single messages: pause, resume, cancel.

A message on disk is moved in the journal. One that runs is told: it stops at its next command; the effect under way ends and is
recorded first. A cancelled message is done, with the reason ``cancelled: …``; it never counts as dead, since there is nothing to
mend. When what it did is to be undone, that happens like every undo, as durable effects: the wish is journaled with the message
(``CANCEL_PATH``) and the message runs once more, backwards. In every case later messages of its key go on afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from accord.engine.dispatch import FlowQueue
from accord.engine.ends import (
    CANCEL_PATH,
    HELD_BY_OPERATOR,
    VERSION_PATH,
    Stamp,
    Stop,
    cancelled,
    done_paths,
    paused,
    targets_of,
)
from accord.engine.versions import Versions
from accord.errors import AccordError
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import MessageRow, Move, State, StepResult
from accord.record import Message

ENDING_WAIT_S = 20.0  # for a running message's effect under way; less than the command line waits for an answer


class SteeringError(AccordError):
    """An operator's word on a message that cannot be carried out."""

    code = "engine.message-state"


class Steered(msgspec.Struct, frozen=True):
    """What became of a message. ``state``: paused, resumed, migrated or cancelled, or ``pausing`` and ``cancelling`` while an effect
    under way or its undo has not ended."""

    seq: int
    state: str


class StillRunning(SteeringError):
    """The message has been told, and its effect under way has not ended yet."""

    code = "engine.still-running"

    def __init__(self, seq: int) -> None:
        super().__init__(f"Message {seq} still waits for the effect under way.", mend="Try again once it has ended.")


class _AtRest:
    """A message that does not run, and cannot start, as it is in the journal."""

    def __init__(
        self, journal: Journal, row: MessageRow, claim: Callable[[Message], None], *, was_at_rest: bool = True
    ) -> None:
        self.was_at_rest = was_at_rest  # it did not have to be stopped
        self._journal = journal
        self._claim = claim
        self.row = row
        self.is_ended = False

    async def move(
        self, state: State, *, held_by: str = "", reason: str = "", results: tuple[StepResult, ...] = ()
    ) -> None:
        move = Move(seq=self.row.seq, state=state, held_by=held_by, reason=reason, results=results)
        self._claim(self.row.message)
        if not await self._journal.submit(move):
            raise SteeringError(f"Message {self.row.seq} has ended already.")
        self.is_ended = state is State.DONE


class Steering:
    """``stops``: what running messages are to hear, by seq; attempts look there before every command. ``claim``: see Control."""

    def __init__(
        self,
        journal: Journal,
        queues: Mapping[str, FlowQueue],
        stops: dict[int, Stop],
        find: Callable[[int], Awaitable[MessageRow | None]],
        flows: Mapping[str, Flow],
        versions: Versions,
        claim: Callable[[Message], None],
    ) -> None:
        self._flows = flows
        self._versions = versions
        self._journal = journal
        self._queues = queues
        self._stops = stops
        self._find = find
        self._claim = claim
        self._busy: set[int] = set()

    async def pause(self, seq: int, reason: str = "") -> Steered:
        """Raises SteeringError when the message is settled."""
        try:
            async with self._at_rest(seq, Stop("pause", reason)) as at_rest:
                _refuse_settled(at_rest.row)
                if at_rest.row.held_by != HELD_BY_OPERATOR:
                    await at_rest.move(State.HELD, held_by=HELD_BY_OPERATOR, reason=paused(reason))
        except StillRunning:
            return Steered(seq, "pausing")
        return Steered(seq, "paused")

    async def resume(self, seq: int) -> Steered:
        """Raises SteeringError when the message is not paused."""
        async with self._at_rest(seq, None) as at_rest:
            if at_rest.row.held_by != HELD_BY_OPERATOR:
                raise SteeringError(
                    f"Message {seq} is not paused.", mend="`accord messages --state held` shows those that are."
                )
            await at_rest.move(State.READY)
        return Steered(seq, "resumed")

    async def migrate(self, seq: int, *, force: bool = False) -> Steered:
        """Lets a message that has begun on an earlier version of its flow finish on today's. Raises SteeringError when it has not, or
        when what it did stands elsewhere in today's flow, unless ``force``."""
        async with self._at_rest(seq, Stop("pause")) as at_rest:
            row = at_rest.row
            _refuse_settled(row)
            flow = self._flows.get(row.message.flow)
            version = self._versions.version_of_row(row)
            if flow is None or version in ("", flow.version):
                raise SteeringError(
                    f"Message {seq} is on no earlier version.", mend="`accord messages --json` shows versions."
                )
            done = targets_of(done_paths(row.results), self._versions.effects_of(flow.name, version))
            if not force:
                check_done(seq, done, flow)
            stamp = StepResult(VERSION_PATH, msgspec.json.encode(Stamp(flow.version)))
            if row.held_by == HELD_BY_OPERATOR and at_rest.was_at_rest:
                await at_rest.move(State.HELD, held_by=row.held_by, reason=row.reason, results=(stamp,))
            else:
                await at_rest.move(State.READY, results=(stamp,))
        return Steered(seq, "migrated")

    async def cancel(self, seq: int, reason: str = "", *, undo: bool = False) -> Steered:
        """Raises SteeringError when the message is settled, or ends before it can be cancelled."""
        stop = Stop("cancel", reason, undo)
        try:
            async with self._at_rest(seq, stop) as at_rest:
                row = at_rest.row
                if row.state is State.DONE and row.reason.startswith(cancelled("")):
                    return Steered(seq, "cancelled")
                _refuse_settled(row)
                if undo and has_effects(row):
                    wish = StepResult(CANCEL_PATH, msgspec.json.encode(stop))
                    await at_rest.move(State.READY, results=(wish,))
                    return Steered(seq, "cancelling")
                await at_rest.move(State.DONE, reason=cancelled(reason))
        except StillRunning:
            return Steered(seq, "cancelling")
        return Steered(seq, "cancelled")

    @asynccontextmanager
    async def _at_rest(self, seq: int, stop: Stop | None) -> AsyncIterator[_AtRest]:
        """Until the block's end the message does not run. One that runs is told ``stop`` first (None: it is refused)."""
        if seq in self._busy:
            raise SteeringError(f"Another command on message {seq} is under way.", mend="Try again.")
        self._busy.add(seq)
        try:
            async with self._kept_back(seq, stop) as at_rest:
                yield at_rest
        finally:
            self._busy.discard(seq)

    @asynccontextmanager
    async def _kept_back(self, seq: int, stop: Stop | None) -> AsyncIterator[_AtRest]:
        row = await self._row(seq)
        queue = self._queues.get(row.message.flow)
        if queue is None:
            yield _AtRest(self._journal, row, self._claim)
            return
        was_at_rest = True
        while not queue.take_out(seq, row.message.key):
            was_at_rest = False
            if stop is None:
                raise SteeringError(f"Message {seq} is running.")
            await self._tell(queue, seq, stop)
        at_rest = None
        try:
            at_rest = _AtRest(self._journal, await self._row(seq), self._claim, was_at_rest=was_at_rest)
            yield at_rest
        finally:
            queue.put_back(seq, is_ended=at_rest is not None and at_rest.is_ended)

    async def _tell(self, queue: FlowQueue, seq: int, stop: Stop) -> None:
        """Returns when the running attempt has ended; raises StillRunning when that takes too long, and then it still hears it."""
        self._stops[seq] = stop
        ended = asyncio.ensure_future(queue.wait_ended(seq))
        ended.add_done_callback(lambda _: self._stops.pop(seq, None))
        done, _ = await asyncio.wait([ended], timeout=ENDING_WAIT_S)
        if not done:
            raise StillRunning(seq)

    async def _row(self, seq: int) -> MessageRow:
        row = await self._find(seq)
        if row is None:
            raise SteeringError(f"There is no message {seq}.", mend="`accord messages` shows them.")
        return row


def has_effects(row: MessageRow) -> bool:
    """Whether something was recorded that an undo could take back."""
    return any(path[:1] != "~" or "/" in path for path in row.results)


def check_done(seq: int, done: Mapping[str, str], flow: Flow) -> None:
    """``done``: what is recorded, by path, with its target. Raises SteeringError when today's flow does something else there."""
    today = targets_of(done, flow.effects)
    for path, target in done.items():
        if target == "?" or today[path] != target:
            what = f"Step {path} of message {seq} is done"
            what += (
                f" ({target}), and today's flow has something else there"
                if target != "?"
                else "; what it did is not known"
            )
            mend = "Going on would repeat or leave out something: cancel it (--undo), or give --force or --from-start."
            raise SteeringError(what + ".", mend=mend, code="engine.version-changed")


def _refuse_settled(row: MessageRow) -> None:
    if row.state is State.DEAD:
        what = f"Message {row.seq} is a dead letter."
        raise SteeringError(what, mend=f"`accord dead discard {row.seq} --reason …` ends it.")
    if row.state is State.DONE:
        raise SteeringError(f"Message {row.seq} has ended already.")
