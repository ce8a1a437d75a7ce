"""Drives a flow against declared answers, with no system running, and keeps what it did."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.errors import Problem
from accord.flow.answers import Answers, Exhausted, NoAnswer
from accord.flow.commands import All, Call, Command, Fetch, Finished, Mark, Note, Resolve, Respond, Running, Wait, Write
from accord.flow.flow import Flow
from accord.flow.running import StepRejected
from accord.flow.versions import NEWEST
from accord.record import Done, Message, Reject

COMMANDS_MAX = 100_000


class Rejected(msgspec.Struct, frozen=True):
    """Where and why the message was given up, as its dead letter would say."""

    step: str
    code: str
    reason: str
    path: str = ""


class Trial:
    """One run. ``writes``, ``calls`` (sends among them) in the order they happened; ``undone`` those of the undo."""

    def __init__(self, flow: Flow, answers: Answers, refs: dict[tuple[str, str, str], str]) -> None:
        self.flow = flow
        self.answers = answers
        self.refs = refs
        self.writes: list[Write] = []
        self.calls: list[Call] = []
        self.undone: list[Write | Call] = []
        self.notes: list[Note] = []
        self.waits: list[Wait] = []
        self.links: list[tuple[str, str, str]] = []  # from entity, its key, to entity
        self.response: Respond | None = None
        self.rejected: Rejected | None = None
        self.finished: Finished | None = None
        self._done: dict[str, Done] = {}
        self._seen: dict[tuple[str, str], str] = {}  # (scope, id) to the newest version
        self._is_undoing = False
        self._count = 0

    def run(self, message: Message) -> None:
        """Runs to the end, the undo steps included when the message is given up. Raises NoAnswer."""
        try:
            self.finished = self._drive(self.flow.run(message))
        except StepRejected as error:
            first = error.problem
            self.rejected = Rejected(error.step, first.code, first.reason, first.path)
        except _Stopped as stopped:
            self.finished = Finished(stopped=stopped.reason)
        if self.rejected is None or not self._done:
            return
        self._is_undoing = True
        try:
            self._drive(self.flow.undo(message, dict(self._done)))
        except StepRejected as error:
            reason = f"{self.rejected.reason}; undo failed at {error.step}: {error.problem.reason}"
            self.rejected = msgspec.structs.replace(self.rejected, reason=reason)

    def mark_seen(self, scope: str, id: str) -> None:
        """As if a message with this id, and none newer to come, had been processed before."""
        self._seen[scope, id] = NEWEST

    def _drive(self, running: Running) -> Finished:
        answer: Any = None
        while True:
            self._count += 1
            if self._count > COMMANDS_MAX:
                raise NoAnswer(f"The flow asked for more than {COMMANDS_MAX} commands.")
            try:
                command = running.send(answer)
            except StopIteration as end:
                finished: Finished = end.value
                return finished
            answer = self._answer(command)

    def _answer(self, command: Command) -> Any:
        match command:
            case All(commands=commands):
                return [self._answer(each) for each in commands]
            case Resolve(queries=queries):
                return [self.refs.get(query) for query in queries]
            case Write() | Call() | Fetch():
                return self._effect(command)
            case Mark(scope=scope, id=id, version=version):
                known = self._seen.get((scope, id))
                is_new = known is None or version > known
                if is_new:
                    self._seen[scope, id] = version
                return is_new
            case Respond():
                self.response = self.response or command
            case Note():
                self.notes.append(command)
            case Wait():
                self.waits.append(command)
        return None

    def _effect(self, command: Write | Call | Fetch) -> Done | Reject:
        policy = command.policy or self.flow.policy
        answer = self.answers.of(command, policy)
        if isinstance(answer, Exhausted):
            answer = Reject(answer.reason, code="flow.attempts-exhausted")
        if isinstance(answer, Reject):
            if policy.then == "continue":
                return answer
            if policy.then == "stop":
                raise _Stopped(answer.reason)
            raise StepRejected(command.path, (Problem(answer.code, answer.path, answer.reason),))
        self._keep(command, answer)
        return answer

    def _keep(self, command: Write | Call | Fetch, done: Done) -> None:
        if isinstance(command, Fetch) or (isinstance(command, Call) and command.is_read_only):
            return
        if self._is_undoing:
            self.undone.append(command)
            return
        self._done[command.path] = done
        if isinstance(command, Call):
            self.calls.append(command)
            return
        self.writes.append(command)
        if command.link_from:
            self.links.append((command.link_from, command.link_key, command.entity))


class _Stopped(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
