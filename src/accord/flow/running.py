"""How a compiled flow runs: frames, the body of steps, effects and their undo.

A run is a generator of commands (see ``flow.commands``). ``Run`` is what all frames of one message share; a ``Frame`` is the
record and the names a list of steps sees. Records are never changed in place: a step replaces ``frame.record``.

In undo mode (``Run.done`` is set) the same steps run again over the settled results; effects are answered from ``done``
instead of being asked for, and the first effect that never happened ends its branch (``GivenUp``). What is collected on the
way in ``Run.undos`` then runs in reverse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from accord.errors import AccordError, Problem, RecordError
from accord.flow.commands import Call, Command, ErrorPolicy, Fetch, Mark, Note, Resolve, Respond, Wait, Write
from accord.mapping.environment import Environment, Query
from accord.mapping.expression import Expression
from accord.record import Done, Message, Reject
from accord.record.message import TOPIC_HEADER

Asking: TypeAlias = Generator[Command, Any, None]
T = TypeVar("T")
Undo: TypeAlias = "Callable[[Frame, Done], Asking]"
RESOLVE_ROUNDS_MAX = 50


class StepRejected(AccordError):
    """A step refused the message: ``step`` is its path, ``problems`` what is wrong (values masked). Becomes a dead letter."""

    code = "flow.step-rejected"

    def __init__(self, step: str, problems: tuple[Problem, ...]) -> None:
        self.step = step
        self.problems = problems
        super().__init__(f"Step {step}: {RecordError(problems).what}", mend="Mend the record and replay it.")

    @property
    def problem(self) -> Problem:
        """The first problem: what the dead letter shows in its line."""
        return self.problems[0] if self.problems else Problem(self.code, "", self.what)


class StopFlow(Exception):
    """The message (or the item of a split) ends here quietly."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class GivenUp(Exception):
    """Undo mode has come to an effect that never happened: nothing after it happened either."""


class Run:
    """What all frames of one message share."""

    __slots__ = ("clock", "done", "environment", "message", "refs", "source_key", "tracer", "undos")

    def __init__(self, message: Message, done: dict[str, Done] | None = None, tracer: Tracer | None = None) -> None:
        self.message = message
        self.refs: dict[Query, str | None] = {}
        self.environment = Environment(message.time, message_names(message), self.refs)
        self.clock = message.time
        self.source_key = ""
        self.done = done
        self.undos: list[Callable[[], Asking]] = []
        self.tracer = tracer


def message_names(message: Message) -> dict[str, Any]:
    """What expressions see as ``message``."""
    return {
        "id": message.id,
        "key": message.key,
        "source": message.source,
        "time": message.time,
        "topic": message.headers.get(TOPIC_HEADER),
        "headers": message.headers,
    }


class Frame:
    """The record and names one list of steps sees; ``prefix`` begins the paths of its commands."""

    __slots__ = ("names", "prefix", "record", "run")

    def __init__(self, run: Run, record: Any, names: dict[str, Any], prefix: str = "") -> None:
        self.run = run
        self.record = record
        self.names = names
        self.prefix = prefix

    def child(self, prefix: str, record: Any = None) -> Frame:
        """A frame of a branch: what it changes stays in it."""
        return Frame(self.run, self.record if record is None else record, dict(self.names), prefix)


class Step(msgspec.Struct, frozen=True):
    """A compiled step. ``path`` is relative to the frame's prefix. ``policy``: None takes the flow's."""

    path: str
    run: Callable[[Frame], Asking]
    when: Expression | None = None
    policy: ErrorPolicy | None = None
    given_up: tuple[str, ...] = ()  # names set to null when the step is passed over
    static: str = ""  # its path as compiled, with ``[]`` for the index of a split


class Tracer(Protocol):
    """Follows a run: ``entered`` before a step, ``left`` after it with the error it raised, if any. ``is_passed``: its ``when`` said no."""

    def entered(self, step: Step, frame: Frame) -> None: ...

    def left(
        self, step: Step, frame: Frame, error: BaseException | None = None, *, is_passed: bool = False
    ) -> None: ...


def run_steps(steps: tuple[Step, ...], frame: Frame) -> Asking:
    """Runs steps in order. Raises StepRejected, StopFlow, GivenUp."""
    tracer = frame.run.tracer
    return _run_steps(steps, frame) if tracer is None else _run_traced(steps, frame, tracer)


def _run_traced(steps: tuple[Step, ...], frame: Frame, tracer: Tracer) -> Asking:
    """The same, step by step, with the tracer told of each."""
    for step in steps:
        tracer.entered(step, frame)
        has_run: list[BaseException | None] = []
        followed = msgspec.structs.replace(step, run=functools.partial(_noted, step.run, has_run))
        try:
            yield from _run_steps((followed,), frame)
        except BaseException as error:  # told, and raised on
            tracer.left(step, frame, error)
            raise
        tracer.left(step, frame, has_run[0] if has_run else None, is_passed=not has_run)


def _noted(run: Callable[[Frame], Asking], has_run: list[BaseException | None], frame: Frame) -> Asking:
    has_run.append(None)
    try:
        yield from run(frame)
    except RecordError as error:
        has_run[0] = error
        raise


def _run_steps(steps: tuple[Step, ...], frame: Frame) -> Asking:
    for step in steps:
        try:
            if step.when is not None and (yield from evaluate(step.when, frame)) is not True:
                for name in step.given_up:
                    frame.names[name] = None
                continue
            yield from step.run(frame)
        except RecordError as error:
            if not passes_over(step.policy, str(error)):
                raise StepRejected(frame.prefix + step.path, error.problems) from error
            for name in step.given_up:
                frame.names[name] = None


def passes_over(policy: ErrorPolicy | None, reason: str) -> bool:
    """True when the policy says to go on after a refusal; raises StopFlow when it says to stop."""
    if policy is not None and policy.then == "stop":
        raise StopFlow(reason)
    return policy is not None and policy.then == "continue"


def evaluate(expression: Expression, frame: Frame) -> Generator[Command, Any, Any]:
    """The value of an expression, with the cross-references it needs asked for."""
    return (yield from resolved(expression.evaluate, frame))


def resolved(work: Callable[[Any, dict[str, Any], Environment], T], frame: Frame) -> Generator[Command, Any, T]:
    """Does pure work, asks for the cross-references it missed, and does it again until none is missing."""
    environment = frame.run.environment
    for _ in range(RESOLVE_ROUNDS_MAX):
        try:
            value = work(frame.record, frame.names, environment)
        except RecordError:
            if not environment.missing:
                raise
        else:
            if not environment.missing:
                return value
        queries = tuple(environment.missing)
        environment.missing.clear()
        keys = yield Resolve(queries)
        frame.run.refs.update(zip(queries, keys, strict=True))
    raise RecordError(
        [Problem("flow.references", "", f"Cross-references still missing after {RESOLVE_ROUNDS_MAX} rounds")]
    )


def ask(frame: Frame, command: Command) -> Generator[Command, Any, Any]:
    """Yields a command, or answers it from the settled results in undo mode."""
    done = frame.run.done
    if done is None:
        return (yield command)
    if isinstance(command, Write) or (isinstance(command, Call) and not command.is_read_only):
        if command.path in done:
            return done[command.path]
        if command.policy is not None and command.policy.then == "continue":
            return Reject("it was refused, or never asked for")  # either way, what happened later is in `done`
        raise GivenUp
    if isinstance(command, Mark):
        return True
    if isinstance(command, Wait | Respond | Note):
        return None
    return (yield command)


def perform(
    frame: Frame,
    command: Write | Call | Fetch,
    *,
    undo: Undo | None = None,
    as_name: str = "",
    value_of: Callable[[Done], Any] | None = None,
) -> Generator[Command, Any, Done | None]:
    """Asks for an effect; None when it was refused and the policy says to go on.

    ``value_of`` the answer is kept under ``as_name``; ``undo`` is remembered with the names of this moment.
    """
    answer = yield from ask(frame, command)
    if isinstance(answer, Reject):
        if not passes_over(command.policy, answer.reason):
            raise StepRejected(command.path, (Problem(answer.code, answer.path, answer.reason),))
        if as_name:
            frame.names[as_name] = None
        return None
    done = answer if isinstance(answer, Done) else Done(answer)
    if undo is None and not as_name:
        return done
    kept = Frame(frame.run, frame.record, dict(frame.names), "undo/" + frame.prefix)
    if undo is not None and frame.run.done is not None:
        frame.run.undos.append(functools.partial(undo, kept, done))
    if as_name:
        kept.names[as_name] = None
        value = value_of(done) if value_of is not None else done.result
        frame.names[as_name] = kept.names[as_name] = value
    return done
