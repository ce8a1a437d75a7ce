"""A compiled flow: what the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

from accord.errors import NOWHERE, Place, Problem, RecordError
from accord.flow.commands import Command, ErrorPolicy, Fetch, Finished, Running
from accord.flow.effects import EffectInfo
from accord.flow.keys import key_text
from accord.flow.read import Priority
from accord.flow.running import Frame, GivenUp, Run, Step, StepRejected, StopFlow, Tracer, ask, run_steps
from accord.flow.shape import StepShape
from accord.flow.trigger import Trigger
from accord.mapping.contract import Contract
from accord.record import Done, Entity, Message, Reject
from accord.record.message import CHANGE_HEADER, FETCH_HEADER
from accord.sdk.http import encode_json
from accord.settings.node import Node

_PARTIAL = ("delete", "truncate")


class Flow:
    """One flow, compiled. Immutable after compile; safe to run for many messages at once.

    ``version``: 16 hex digits over the declaration and what it uses. ``source``: full name of the entity it starts from
    ('' for a schedule). ``effects``: every change it can make outside, with its guarantee. ``systems``: all systems it touches.
    ``policy``: the flow's own; a command's policy, if set, goes before it. ``tests``: its declared tests, as nodes.
    ``priority``: its share where several flows wait for one system.
    ``contract``: what it asks of the records it starts with (types only, unless it validates them first).
    ``partial_contract``: the same for a row that was deleted.
    ``mappings``: names of those it uses. ``names``: static path of a step to its ``as`` name.
    ``shapes``: static path of a step to what compiling knew of it.
    """

    def __init__(
        self,
        *,
        name: str,
        summary: str,
        version: str,
        triggers: tuple[Trigger, ...],
        policy: ErrorPolicy,
        effects: tuple[EffectInfo, ...],
        systems: frozenset[str],
        has_respond: bool,
        response_timeout_s: float,
        source_entity: Entity | None,
        contract: Contract,
        partial_contract: Contract | None = None,
        key_of: Callable[[bytes, str], str],
        steps: tuple[Step, ...],
        start_path: str = "start",
        names: dict[str, str] | None = None,
        shapes: dict[str, StepShape] | None = None,
        mappings: frozenset[str] = frozenset(),
        tests: tuple[Node, ...] = (),
        priority: Priority = "normal",
        place: Place = NOWHERE,
    ) -> None:
        self.name = name
        self.summary = summary
        self.version = version
        self.triggers = triggers
        self.policy = policy
        self.effects = effects
        self.systems = systems
        self.has_respond = has_respond
        self.response_timeout_s = response_timeout_s
        self.source_entity = source_entity
        self.source = source_entity.name if source_entity else ""
        self.tests = tests
        self.priority = priority
        self.place = place
        self.contract = contract
        self._partial_contract = partial_contract
        self._key_of = key_of
        self._steps = steps
        self._start_path = start_path
        self.names = names or {}
        self.shapes = shapes or {}
        self.mappings = mappings

    def key_of(self, body: bytes, fallback: str) -> str:
        """The ordering key of a record's JSON; ``fallback`` when the body does not give one. Never raises."""
        return self._key_of(body, fallback)

    def contract_of(self, message: Message) -> Contract:
        """What is asked of the record of this message; of a deleted row not more than its key is known."""
        is_partial = self._partial_contract is not None and message.headers.get(CHANGE_HEADER) in _PARTIAL
        return cast(Contract, self._partial_contract) if is_partial else self.contract

    def run(self, message: Message, tracer: Tracer | None = None) -> Running:
        """Runs the flow for one message; ``tracer`` follows every step. The generator raises StepRejected when the record is refused."""
        run = Run(message, tracer=tracer)
        try:
            frame = yield from self._start(run)
            yield from run_steps(self._steps, frame)
        except StopFlow as stop:
            return Finished(stopped=stop.reason)
        return Finished(frame.record)

    def undo(self, message: Message, done: Mapping[str, Done]) -> Running:
        """Runs the ``undo:`` steps of the effects in ``done`` (by path), last first. Asks only what they and the way there need.

        The generator raises StepRejected when an undo step is refused, or when the record cannot be had any more.
        """
        run = Run(message, dict(done))
        frame = yield from self._start(run)
        try:
            yield from run_steps(self._steps, frame)
        except (StopFlow, GivenUp, StepRejected):
            pass  # here the message was given up: all effects before it have left their undo
        run.done = None
        for step in reversed(run.undos):
            yield from step()
        return Finished()

    def _start(self, run: Run) -> Generator[Command, Any, Frame]:
        message = run.message
        body = message.body
        fetch = message.headers.get(FETCH_HEADER, "")
        frame = Frame(run, {}, {})
        if fetch and self.source_entity is not None:
            answer = yield from ask(frame, Fetch(path="start.fetch", entity=self.source, key=fetch))
            if isinstance(answer, Reject):
                raise StepRejected("start.fetch", (Problem(answer.code, answer.path, answer.reason),))
            body = encode_json(answer.result)
        try:
            frame.record = self.contract_of(message).decode(body)
        except RecordError as error:
            raise StepRejected(self._start_path, error.problems) from error
        if self.source_entity is not None:
            run.source_key = key_text(frame.record, self.source_entity.key)
        return frame
