"""Runs one message through its flow: answers the flow's commands, keeps results, and says how the message settles.

Every effect whose result is journaled is answered from the journal. The result of an effect is durable before the next
effect begins; the last results travel with the final settle, so a flow with one effect costs one commit.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from accord.engine.attempts import ATTEMPT_PATH, JOURNALED_MAX, Attempted, encode_attempt
from accord.engine.clock import Clock
from accord.engine.delivery import SICK, Delivery
from accord.engine.dispatch import JOURNAL_RETRY_S
from accord.engine.ends import (
    CANCEL_PATH,
    CANCELLED_CODE,
    GIVE_UP_PATH,
    HELD_BY_OPERATOR,
    REASON_LENGTH_MAX,
    UNDONE,
    VERSION_PATH,
    Cancelled,
    GivenUp,
    Parked,
    Stamp,
    Stop,
    backoff_s,
    cancelled,
    dead_letter_of,
    decode_result,
    generation_of,
    paused,
    shown,
    targets_of,
)
from accord.engine.fair import lane_of
from accord.engine.gate import PAUSE_IN_MEMORY_S_MAX, Gate
from accord.engine.malformed import malformed_reason
from accord.engine.masking import Masker
from accord.errors import JournalError
from accord.flow.commands import (
    All,
    Answer,
    Call,
    Command,
    ErrorPolicy,
    Fetch,
    Finished,
    Mark,
    Note,
    Resolve,
    Respond,
    Running,
    Wait,
    Write,
)
from accord.flow.flow import Flow
from accord.flow.keys import key_text
from accord.flow.running import StepRejected
from accord.journal.group import Journal
from accord.journal.operations import CrossReference, DeadLetter, Lease, MarkSeen, Settle, State, StepResult
from accord.observe import Observer
from accord.observe.crash_points import crash_point
from accord.observe.events import FlowDefect, FlowNote, FlowWarning, MessageDead
from accord.record import Done, Reject, Retry
from accord.record.message import BACKFILL_HEADER
from accord.sdk.http import encode_json

T = TypeVar("T")
RESERVE_LOOK_S = 60.0  # between looks whether a system has room for backfill again
RECONNECT_WAIT_S = 0.2  # before the breaker opens; spends no attempt
ANSWERS_UNSAVED_MAX = 200  # results of a large split are journaled in parts of this size
NO_STOPS: Mapping[int, Stop] = {}
_SAME_WHEN_READ = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})


class Attempt:
    """One attempt at one leased message. ``run()`` returns how it settles; it never raises for what flows or systems do."""

    # Of most messages these stay as they are.
    _generation = 0
    _prefix = ""
    _is_undoing = False
    _has_begun = False
    _attempts_kept = 0
    _masker: Masker | None = None  # made when a system refuses something
    _stamped: bytes | None = None

    def __init__(
        self,
        lease: Lease,
        flow: Flow,
        journal: Journal,
        delivery: Delivery,
        clock: Clock,
        observer: Observer,
        respond: Callable[[str, Respond], None],
        stops: Mapping[int, Stop] = NO_STOPS,
        *,
        is_backfill: bool = False,
    ) -> None:
        self._lease = lease
        self._flow = flow
        self._journal = journal
        self._delivery = delivery
        self._clock = clock
        self._observer = observer
        self._respond = respond
        self._stops = stops
        self._lane = lane_of(flow.name, flow.priority, is_backfill or BACKFILL_HEADER in lease.message.headers)
        self._effects_of = lease.message.id
        self._results: dict[str, bytes] = {}
        self._in_doubt = set(lease.in_doubt)
        self._attempts = lease.attempts
        self._unsaved: list[StepResult] = []
        self._references: list[CrossReference] = []
        if lease.results:
            self._take_up(lease.results)

    def _take_up(self, stored: Mapping[str, bytes]) -> None:
        """What is journaled of the message."""
        self._generation, self._prefix = generation_of(stored)
        self._effects_of += self._prefix
        self._results = {
            path[len(self._prefix) :]: value
            for path, value in stored.items()
            if path.startswith(self._prefix) and (self._prefix or path[:1] != "~")
        }
        self._attempts_kept = sum(path.startswith(ATTEMPT_PATH) for path in stored)
        self._has_begun = len(stored) > self._attempts_kept
        self._stamped = stored.get(VERSION_PATH)

    async def run(self) -> Settle:
        message = self._lease.message
        try:
            dead = self._stored_give_up() or self._malformed()
            if dead is None and (stop := self._stored_cancel()) is not None:
                return await self._cancel(stop)
            if dead is None:
                finished = await self._drive(self._flow.run(message))
                return self._settle(State.DONE, reason=finished.stopped)
        except StepRejected as end:
            dead = dead_letter_of(end)
        except GivenUp as end:
            if end.then == "stop":
                return self._settle(State.DONE, reason=end.reject.reason)
            dead = dead_letter_of(end)
        except Parked as parked:
            return self._park(parked)
        except Cancelled as end:
            return await self._cancel(end.stop)
        except Exception as error:  # noqa: BLE001 (a defect in a step must become a dead letter, never a lost message)
            dead = self._defect(error)
        return await self._give_up(dead)

    async def _drive(self, running: Running, answer: Any = None) -> Finished:
        """Until the flow's end. ``answer`` is that to a command already taken from it, if any."""
        while True:
            try:
                command = running.send(answer)
            except StopIteration as stop:
                finished: Finished = stop.value
                return finished
            if type(command) is Write and not self._stops:
                answer = await self._effect(command)  # what nearly every command is
            else:
                answer = await self._answer(command)

    async def _answer(self, command: Command) -> Answer:
        if self._stops:
            self._obey()
        match command:
            case Write() | Call():
                return await self._effect(command)
            case All():
                return await self._all(command)
            case Fetch():
                return await self._deliver(command)
            case Resolve():
                return await self._until_answered(lambda: self._journal.reads.references(command.queries))
            case Wait():
                if self._clock.now() < command.until:
                    self._has_begun = True
                    raise Parked(State.WAITING, due=command.until, reason="delay")
                return None
            case Respond():
                self._respond(self._lease.message.id, command)
                return None
            case Mark():
                mark = MarkSeen(command.scope, command.id, self._lease.seq, self._clock.now(), command.version)
                return bool(await self._commit(mark))
            case Note():
                kind = FlowWarning if command.level in ("warning", "error") else FlowNote
                self._observer.emit(
                    kind(
                        flow=self._flow.name,
                        message=self._lease.message.id,
                        text=command.text,
                        trace=self._lease.message.trace_id,
                    )
                )
                return None

    async def _effect(self, command: Write | Call) -> Done | Reject:
        """The journaled answer, or a new one: then what came before it is journaled first."""
        stored = self._results.get(command.path)
        if stored is not None:
            return decode_result(stored)
        if self._unsaved:
            await self._save()
        return self._keep(command, await self._deliver(command))

    async def _all(self, group: All) -> list[Any]:
        """Runs the commands with bounded concurrency; what succeeded is kept even when another one stops the message."""
        slots = asyncio.Semaphore(group.parallel)
        stops: list[Exception] = []

        async def one(command: Command) -> Answer:
            async with slots:
                if stops:
                    return None
                try:
                    return await self._in_group(command)
                except Exception as stop:  # noqa: BLE001 (raised below, once the others have kept what they did)
                    stops.append(stop)
                    return None

        if self._unsaved:
            await self._save()
        answers = await asyncio.gather(*(one(command) for command in group.commands))
        if stops:
            raise next((stop for stop in stops if not isinstance(stop, Parked)), stops[0])
        return list(answers)

    def _obey(self) -> None:
        """Raises Parked or Cancelled when an operator said so. What is being undone already is undone to its end."""
        stop = self._stops.get(self._lease.seq)
        if stop is not None and stop.kind == "pause":
            raise Parked(State.HELD, held_by=HELD_BY_OPERATOR, reason=paused(stop.reason))
        if stop is not None and not self._is_undoing:
            raise Cancelled(stop)

    async def _in_group(self, command: Command) -> Answer:
        if self._stops:
            self._obey()
        if not isinstance(command, Write | Call):
            return await self._answer(command)
        stored = self._results.get(command.path)
        if stored is not None:
            return decode_result(stored)
        answer = self._keep(command, await self._deliver(command))
        if len(self._unsaved) >= ANSWERS_UNSAVED_MAX:
            await self._save()
        return answer

    async def _deliver(self, command: Write | Call | Fetch) -> Done | Reject:
        """One attempt. Raises Parked when it has to be tried again, GivenUp when it must not."""
        system = command.system if isinstance(command, Call) else command.entity.partition(".")[0]
        gate = self._delivery.gate(system)
        if not gate.may_try():
            raise Parked(State.HELD, held_by=system, reason=gate.why_not)
        if type(command) is not Fetch:
            self._has_begun = True
        if self._lane.is_backfill:
            self._leave_reserve(gate)
        in_doubt = self._lease.is_recovered or command.path in self._in_doubt
        began_s = gate.now_s()
        recent, at = self._delivery.recent, self._clock.now()
        watch = recent.begin()
        tracing = self._observer.tracing
        if tracing is None:
            outcome = await self._delivery.attempt(command, self._effects_of, self._lane, in_doubt, self._conceal)
        else:
            with tracing.effect(command.path, system) as ended:
                outcome = await self._delivery.attempt(command, self._effects_of, self._lane, in_doubt, self._conceal)
                ended(type(outcome).__name__.lower())
        if outcome is not SICK:
            attempted = recent.end(watch, self._flow.name, self._lease.seq, self._prefix + command.path, at, outcome)
            if attempted is not None:
                self._keep_attempt(attempted)
        self._observer.metrics.flow(self._flow.name).step(command.path).observe(gate.now_s() - began_s)
        if isinstance(outcome, Done):
            self._in_doubt.discard(command.path)
            self._attempts = 0
            return outcome
        policy = command.policy or self._flow.policy
        if isinstance(outcome, Reject):
            return self._refused(command.path, outcome, policy)
        if outcome.in_doubt:
            self._in_doubt.add(command.path)
        if not isinstance(outcome, Retry) or outcome.throttled:
            if not gate.may_try():
                raise Parked(State.HELD, held_by=system, reason=outcome.reason)
            raise Parked(State.WAITING, due=self._after(outcome.after_s or RECONNECT_WAIT_S), reason=outcome.reason)
        return self._try_later(command.path, outcome, policy)

    def _conceal(self, text: str) -> str:
        """What a system said, without the personal values of the message."""
        if self._masker is None:
            message = self._lease.message
            self._masker = self._delivery.masker_of(message.source, message.body)
        return self._masker.text(text)

    def _keep_attempt(self, attempted: Attempted) -> None:
        """Journals it with the next save."""
        number = self._attempts_kept
        if number < JOURNALED_MAX:
            self._attempts_kept += 1
            self._unsaved.append(StepResult(f"{ATTEMPT_PATH}{number}", encode_attempt(attempted)))

    def _leave_reserve(self, gate: Gate) -> None:
        """What is left of a budget is for live messages: look again later. Raises Parked."""
        wait_s = gate.budget_wait_s(self._lane)
        if wait_s > PAUSE_IN_MEMORY_S_MAX:
            reason = f"what {gate.system} still takes is kept for live messages"
            raise Parked(State.WAITING, due=self._after(min(wait_s, RESERVE_LOOK_S)), reason=reason)

    def _try_later(self, path: str, outcome: Retry, policy: ErrorPolicy) -> Done | Reject:
        self._attempts += 1
        if self._attempts >= policy.attempts:
            reject = Reject(
                f"given up after {self._attempts} attempts: {outcome.reason}", code="flow.attempts-exhausted"
            )
            return self._refused(path, reject, policy)
        wait_s = backoff_s(policy, self._attempts, random.random())
        raise Parked(State.WAITING, due=self._after(max(wait_s, outcome.after_s or 0.0)), reason=outcome.reason)

    def _refused(self, path: str, reject: Reject, policy: ErrorPolicy) -> Reject:
        if policy.then == "continue":
            return reject
        raise GivenUp(path, reject, policy.then)

    def _keep(self, command: Write | Call, answer: Done | Reject) -> Done | Reject:
        """Remembers a result, to be journaled with the next save. Returns it as it will be read back: the flow sees the same
        answer on this attempt as on every later one."""
        if isinstance(command, Call) and command.is_read_only:
            return answer
        value = encode_json(answer)
        kept = answer if type(answer) is Done and _is_same_when_read(answer.result) else decode_result(value)
        self._results[command.path] = value
        self._unsaved.append(StepResult(self._prefix + command.path, value))
        if isinstance(command, Write) and command.link_from and isinstance(kept, Done):
            fields = self._delivery.entity(command.entity).key
            key = key_text(kept.result, fields) or key_text(command.record, fields)
            if key:
                self._references.append(CrossReference(command.link_from, command.link_key, command.entity, key))
        return kept

    async def _save(self) -> None:
        """Journals the results so far; the message stays ready."""
        unsaved, self._unsaved = [*self._unsaved, *self._stamp(State.READY)], []
        references, self._references = self._references, []
        crash_point("save.before-commit")
        await self._commit(
            Settle(
                seq=self._lease.seq,
                state=State.READY,
                results=tuple(unsaved),
                attempts=self._attempts,
                in_doubt=tuple(self._in_doubt),
                references=tuple(references),
            )
        )
        crash_point("save.after-commit")

    async def _commit(self, operation: Settle | MarkSeen) -> Any:
        """What was done must be on disk before the flow goes on."""
        return await self._until_answered(lambda: self._journal.submit(operation))

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Until the journal takes or tells it. Raises JournalError when it is closed."""
        while True:
            try:
                return await ask()
            except JournalError as error:
                if error.code == "journal.closed":
                    raise
                await self._clock.sleep(JOURNAL_RETRY_S)

    async def _undo(self, undo: Running, dead: DeadLetter) -> DeadLetter:
        """Runs the undo steps there are; what fails among them is told in the dead letter. Raises Parked."""
        self._is_undoing = True
        try:
            command = next(undo)
        except StopIteration:
            return dead
        if GIVE_UP_PATH not in self._results:
            value = encode_json(dead)
            self._results[GIVE_UP_PATH] = value
            self._unsaved.append(StepResult(self._prefix + GIVE_UP_PATH, value))
        try:
            crash_point("undo.before")
            answer = await self._answer(command)
            crash_point("undo.between")
            await self._drive(undo, answer)
            crash_point("undo.after")
        except (GivenUp, StepRejected) as error:
            dead = msgspec.structs.replace(dead, reason=f"{dead.reason}; undo failed at {shown(error)}")
        except Parked:
            raise
        except Exception as error:  # noqa: BLE001 (same as in run: never lose the message)
            self._defect(error)
            dead = msgspec.structs.replace(dead, reason=f"{dead.reason}; undo failed: {type(error).__name__}")
        self._unsaved.append(StepResult(f"{UNDONE}{self._generation}", b"null"))
        return dead

    async def _cancel(self, stop: Stop) -> Settle:
        """Ends the message for an operator, after undoing what it did if that is asked for."""
        reason = cancelled(stop.reason)
        if self._in_doubt:
            reason += f"; in doubt: {', '.join(sorted(self._in_doubt))}"
        if not stop.undo:
            return self._settle(State.DONE, reason=reason)
        if CANCEL_PATH not in self._lease.results:
            self._unsaved.append(StepResult(CANCEL_PATH, msgspec.json.encode(stop)))
        return await self._give_up(DeadLetter(step="", code=CANCELLED_CODE, reason=reason))

    def _stored_cancel(self) -> Stop | None:
        stored = self._lease.results.get(CANCEL_PATH)
        return msgspec.json.decode(stored, type=Stop) if stored is not None else None

    def _stored_give_up(self) -> DeadLetter | None:
        stored = self._results.get(GIVE_UP_PATH)
        return msgspec.json.decode(stored, type=DeadLetter) if stored is not None else None

    def _malformed(self) -> DeadLetter | None:
        reason = malformed_reason(self._lease.message)
        return DeadLetter(step="start", code="connector.malformed", reason=reason) if reason else None

    async def _give_up(self, dead: DeadLetter) -> Settle:
        """Undoes what was done, in reverse, as durable effects of its own; then the message is dead, or done if it was cancelled."""
        why = dead.reason
        done = {
            path: one
            for path, raw in self._results.items()
            if path != GIVE_UP_PATH and isinstance(one := decode_result(raw), Done)
        }
        if done:
            try:
                dead = await self._undo(self._flow.undo(self._lease.message, done), dead)
            except Parked as parked:
                return self._park(parked)
        if dead.code == CANCELLED_CODE and dead.reason == why:  # else its undo failed, and that needs a person
            return self._settle(State.DONE, reason=why)
        self._observer.emit(
            MessageDead(
                flow=self._flow.name,
                message=self._lease.message.id,
                step=dead.step,
                code=dead.code,
                reason=dead.reason,
                trace=self._lease.message.trace_id,
            )
        )
        return self._settle(State.DEAD, dead=dead, reason=dead.reason)

    def _defect(self, error: Exception) -> DeadLetter:
        shown = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
        self._observer.emit(
            FlowDefect(
                flow=self._flow.name,
                message=self._lease.message.id,
                step="",
                error=type(error).__name__,
                trace=self._lease.message.trace_id,
            )
        )
        return DeadLetter(step="", code="flow.defect", reason=shown)

    def _park(self, parked: Parked) -> Settle:
        return self._settle(parked.state, due=parked.due, held_by=parked.held_by, reason=parked.reason)

    def _settle(
        self,
        state: State,
        *,
        due: dt.datetime | None = None,
        held_by: str = "",
        reason: str = "",
        dead: DeadLetter | None = None,
    ) -> Settle:
        return Settle(
            seq=self._lease.seq,
            state=state,
            results=tuple(self._unsaved) if state is State.DONE else (*self._unsaved, *self._stamp(state)),
            attempts=self._attempts,
            due=due,
            held_by=held_by,
            in_doubt=tuple(self._in_doubt),
            reason=reason[:REASON_LENGTH_MAX],
            dead=dead,
            references=tuple(self._references),
        )

    def _stamp(self, state: State) -> tuple[StepResult, ...]:
        """The version that runs this message, when a later attempt has to know it and does not yet."""
        if state is State.DONE or not self._has_begun:
            return ()
        stamp = Stamp(self._flow.version)
        if state is State.DEAD:
            is_undone = any(result.path.startswith(UNDONE) for result in self._unsaved)
            done = [] if is_undone else [path for path in self._results if path != GIVE_UP_PATH]
            stamp = Stamp(self._flow.version, True, targets_of(done, self._flow.effects))
        value = msgspec.json.encode(stamp)
        if value == self._stamped:
            return ()
        self._stamped = value
        return (StepResult(VERSION_PATH, value),)

    def _after(self, seconds: float) -> dt.datetime:
        return self._clock.now() + dt.timedelta(seconds=seconds)


def _is_same_when_read(result: Any) -> bool:
    """Whether an answer is the same once it was written as JSON and read: nothing, or a flat object of texts and integers."""
    if type(result) is not dict:
        return result is None
    return _SAME_WHEN_READ.issuperset(map(type, result.values())) and _TEXT.issuperset(map(type, result))
