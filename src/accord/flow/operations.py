"""Operations of systems as effects: what the steps call and send share."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from accord.flow.commands import Call, Command
from accord.flow.effects import guarantee_of
from accord.flow.objects import compile_object
from accord.flow.results import answer_reader
from accord.flow.running import Asking, Frame, perform, resolved
from accord.flow.step import JSON, RunStep, StepContext, object_field
from accord.sdk.connector import Operation
from accord.settings.node import Node


def result_field(operation: Operation) -> Any:
    return JSON if operation.gives is None else object_field(dict(operation.gives))


def compile_operation(name: str, arguments: Node | None, at: StepContext, mode: str) -> RunStep | None:
    """A step that runs the operation ``system.operation`` and keeps its answer under the step's ``as`` name."""
    found = at.operation(name)
    if found is None:
        return None
    system, operation = found
    maker = compile_object(arguments, operation.takes, at, name, "argument")
    read = answer_reader(name, operation.gives, at)
    if not operation.is_read_only:
        guarantee = guarantee_of(operation.idempotency, operation.at_least_once_reason, name)
        at.add_effect(system.name, name, mode, guarantee)
    at.bind(result_field(operation))
    at.answers(result_field(operation), read)
    if maker is None:
        return None
    as_name, policy, path, undo = at.as_name, at.policy, at.path, at.undo
    short, is_read_only, system_name = operation.name, operation.is_read_only, system.name

    def run(frame: Frame) -> Asking:
        values = yield from resolved(maker, frame)
        command = Call(
            path=frame.prefix + path,
            system=system_name,
            operation=short,
            arguments=values,
            is_read_only=is_read_only,
            policy=policy,
        )
        yield from perform(frame, command, undo=undo, as_name=as_name, value_of=lambda done: read(done.result))

    return run


def call_read_only(
    frame: Frame, path: str, system: str, operation: str, arguments: dict[str, Any], policy: Any
) -> Generator[Command, Any, Any]:
    """Asks for a read-only operation; the Done, or None when the policy passes over its failure."""
    command = Call(path=path, system=system, operation=operation, arguments=arguments, is_read_only=True, policy=policy)
    return (yield from perform(frame, command))
