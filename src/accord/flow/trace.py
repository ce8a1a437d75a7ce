"""A message's way through its flow, told again from what the journal has of it: pure, nothing is asked of any system.

A flow is a function of the message and the answers it was given, so running it over the journaled answers shows every step with its
input and output. Where an answer is not known the trace ends: there the message waits, or what was read there was not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from accord.errors import Problem
from accord.flow.commands import All, Call, Command, Fetch, Finished, Mark, Resolve, Write
from accord.flow.flow import Flow
from accord.flow.running import Frame, Step, StepRejected, StopFlow
from accord.mapping.environment import Query
from accord.record import Message

COMMANDS_MAX = 20_000  # a larger message is shown up to there
STEPS_MAX = 2_000  # entries; a split of a thousand items with more steps is shown up to there

Answering: TypeAlias = Callable[[Command], Any]


class NotKnown(Exception):
    """There is no answer to this command."""


class TracedStep(msgspec.Struct, kw_only=True):
    """One run of one step. ``path`` as in commands; ``static`` with ``[]`` for the index of a split. ``outcome``: done, passed over (its
    ``when`` said no, or its policy), ended (the message or item stops here), refused, or open (it never came back).
    ``before`` and ``after`` are the record around it, ``names`` what it added or changed."""

    path: str
    static: str
    before: Any
    after: Any = None
    names: dict[str, Any] = {}
    outcome: str = "open"
    reason: str = ""
    problems: tuple[Problem, ...] = ()


class Asked(msgspec.Struct, frozen=True):
    """``answer`` is None where ``is_known`` is not set."""

    command: Command
    answer: Any = None
    is_known: bool = True


class Trace(msgspec.Struct, kw_only=True):
    """``asked`` by path. ``unknown``: paths of commands without an answer, where the trace ends. ``missing``: cross-references to find
    before it can be told."""

    steps: list[TracedStep] = []
    asked: dict[str, Asked] = {}
    finished: Finished | None = None
    rejected: StepRejected | None = None
    unknown: tuple[str, ...] = ()
    missing: tuple[Query, ...] = ()
    asks_references: bool = False
    is_cut: bool = False


class Follower:
    """The tracer of one run."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._open: dict[str, tuple[TracedStep, dict[str, Any]]] = {}

    def entered(self, step: Step, frame: Frame) -> None:
        if len(self._trace.steps) >= STEPS_MAX:
            self._trace.is_cut = True
            return
        entry = TracedStep(path=frame.prefix + step.path, static=step.static, before=frame.record)
        self._trace.steps.append(entry)
        self._open[entry.path] = entry, dict(frame.names)

    def left(self, step: Step, frame: Frame, error: BaseException | None = None, *, is_passed: bool = False) -> None:
        found = self._open.pop(frame.prefix + step.path, None)
        if found is None:
            return
        entry, names = found
        entry.after = frame.record
        entry.names = {name: value for name, value in frame.names.items() if names.get(name, names) is not value}
        if is_passed:
            entry.outcome, entry.reason = "passed over", "its 'when' is not true"
        elif error is None:
            entry.outcome = "done"
        elif isinstance(error, StopFlow):
            entry.outcome, entry.reason = "ended", error.reason
        elif isinstance(error, StepRejected):
            entry.outcome, entry.reason, entry.problems = "refused", str(error), error.problems
        elif not isinstance(error, GeneratorExit):
            entry.outcome, entry.reason = "passed over", str(error)


def trace_of(flow: Flow, message: Message, answering: Answering, refs: dict[Query, str | None]) -> Trace:
    """Runs the flow until its end, or until an answer is not known. ``refs``: cross-references; those it lacks come back in
    ``missing``, and the trace must be told again with them."""
    trace = Trace(steps=[], asked={})
    running = flow.run(message, Follower(trace))
    answer: Any = None
    try:
        for _ in range(COMMANDS_MAX):
            answer = _answer(running.send(answer), trace, answering, refs)
        trace.is_cut = True
    except StopIteration as end:
        trace.finished = end.value
    except StepRejected as error:
        trace.rejected = error
    except NotKnown:
        pass
    finally:
        running.close()
    return trace


def _answer(command: Command, trace: Trace, answering: Answering, refs: dict[Query, str | None]) -> Any:
    if isinstance(command, Resolve):
        trace.asks_references = True
        trace.missing = tuple(query for query in command.queries if query not in refs)
        if trace.missing:
            raise NotKnown
        return [refs[query] for query in command.queries]
    if isinstance(command, All):
        answers = []
        for each in command.commands:
            try:
                answers.append(_one(each, trace, answering))
            except NotKnown:
                continue  # what the others were answered is still told
        if trace.unknown:
            raise NotKnown
        return answers
    return _one(command, trace, answering)


def _one(command: Command, trace: Trace, answering: Answering) -> Any:
    path = getattr(command, "path", "")
    try:
        answer = answering(command)
    except NotKnown:
        trace.asked[path] = Asked(command, is_known=False)
        trace.unknown = (*trace.unknown, path)
        raise
    if isinstance(command, Write | Call | Fetch | Mark):
        trace.asked[path] = Asked(command, answer)
    return answer
