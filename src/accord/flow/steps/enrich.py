"""enrich: data from another system joins the record: the answer of a read-only operation, or a record read by its key."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.commands import Command, Fetch
from accord.flow.objects import compile_object
from accord.flow.operations import call_read_only
from accord.flow.results import answer_reader
from accord.flow.running import Asking, Frame, evaluate, perform, resolved
from accord.flow.step import JSON, RunStep, StepContext, StepKind, object_field
from accord.record import Field
from accord.settings.node import Node


class Enrich(msgspec.Struct, frozen=True):
    enrich: str
    with_: Node | None = None
    key: Node | None = None
    into: str = ""


Asker = Callable[[Frame], Generator[Command, Any, Any]]


def compile_enrich(spec: Enrich, at: StepContext) -> RunStep | None:
    if spec.key is not None or spec.enrich in at.parts.entities:
        ask, fields = _by_key(spec, at)
    else:
        ask, fields = _by_operation(spec, at)
    read = answer_reader(spec.enrich, fields, at)
    _bind(spec, fields, at)
    if ask is None:
        return None
    as_name, into = at.as_name, spec.into

    def run(frame: Frame) -> Asking:
        done = yield from ask(frame)
        value = None if done is None else read(done.result)
        if as_name:
            frame.names[as_name] = value
        if into:
            frame.record = {**frame.record, into: value}
        elif not as_name and value is not None:
            frame.record = {**frame.record, **value}

    return run


def _by_key(spec: Enrich, at: StepContext) -> tuple[Asker | None, Mapping[str, Field] | None]:
    found = at.entity(spec.enrich)
    if found is None:
        return None, {}
    system, entity = found
    if spec.with_ is not None:
        at.fault("flow.unknown-argument", "'with' belongs to an operation; a record is read by 'key'.", key="with")
    if not system.capabilities(entity).get:
        at.fault(
            "flow.not-readable",
            f"Records of '{entity.name}' cannot be read by key: the connector '{system.connector}' does not offer it.",
            "Use a read-only operation of the system instead.",
        )
        return None, entity.fields
    if spec.key is None:
        at.fault("flow.missing-argument", f"Reading '{entity.name}' needs its key.", "Add 'key: <expression>'.")
        return None, entity.fields
    expression = at.expression(spec.key)
    if expression is None:
        return None, entity.fields
    name, policy, path = entity.name, at.policy, at.path

    def ask(frame: Frame) -> Generator[Command, Any, Any]:
        key = yield from evaluate(expression, frame)
        if key is None:
            raise RecordError(
                [Problem("flow.null-key", str(spec.key and spec.key.value), f"the key of {name} is null")]
            )
        command = Fetch(path=frame.prefix + path, entity=name, key=str(key), policy=policy)
        return (yield from perform(frame, command))

    return ask, entity.fields


def _by_operation(spec: Enrich, at: StepContext) -> tuple[Asker | None, Mapping[str, Field] | None]:
    found = at.operation(spec.enrich)
    if found is None:
        return None, {}
    system, operation = found
    if not operation.is_read_only:
        at.fault(
            "flow.not-readable",
            f"'{spec.enrich}' changes something at its system, so it cannot enrich a record.",
            f"Write 'call: {spec.enrich}' with an 'as' name.",
        )
    maker = compile_object(spec.with_, operation.takes, at, spec.enrich, "argument")
    if maker is None:
        return None, operation.gives
    system_name, short, policy, path = system.name, operation.name, at.policy, at.path

    def ask(frame: Frame) -> Generator[Command, Any, Any]:
        arguments = yield from resolved(maker, frame)
        return (yield from call_read_only(frame, frame.prefix + path, system_name, short, arguments, policy))

    return ask, operation.gives


def _bind(spec: Enrich, fields: Mapping[str, Field] | None, at: StepContext) -> None:
    result = JSON if fields is None else object_field(dict(fields))
    at.bind(result)
    added: dict[str, Field] = {}
    if spec.into:
        added = {spec.into: result}
    elif not at.as_name and fields is None:
        at.fault(
            "flow.untyped-merge",
            f"The answer of '{spec.enrich}' is json without declared fields, so it cannot join the record field by field.",
            "Add 'as: name' or 'into: field'.",
        )
    elif not at.as_name:
        added = dict(fields or {})
    at.change(added)


STEP = StepKind(
    key="enrich",
    settings=Enrich,
    compile=compile_enrich,
    gives=True,
    summary="Data of another system joins the record.",
)
