"""write: a record goes to an entity of a system: created, updated, upserted or deleted."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from accord.flow.commands import Write
from accord.flow.effects import guarantee_of
from accord.flow.objects import Maker, compile_object
from accord.flow.results import answer_reader
from accord.flow.running import Asking, Frame, perform, resolved
from accord.flow.step import RunStep, StepContext, StepKind, object_field
from accord.record import Done, Entity
from accord.sdk.connector import Capabilities, Idempotency, WriteMode
from accord.settings.node import Node


class WriteSpec(msgspec.Struct, frozen=True):
    write: str
    mapping: str = ""
    with_: Node | None = None
    mode: Literal["create", "update", "upsert", "delete"] | None = None
    link: bool | None = None


def compile_write(spec: WriteSpec, at: StepContext) -> RunStep | None:
    found = at.entity(spec.write)
    if found is None:
        return None
    system, entity = found
    capabilities = system.capabilities(entity)
    mode = _mode(spec, entity, capabilities, at)
    maker = record_maker(spec, entity, mode, at)
    at.bind(object_field(entity.fields))
    read = answer_reader(entity.name, entity.fields, at, is_partial=True)
    if mode is None:
        return None
    idempotency = capabilities.idempotency.get(mode, Idempotency.NONE)
    at.add_effect(
        system.name, entity.name, mode.value, guarantee_of(idempotency, capabilities.at_least_once_reason, entity.name)
    )
    is_linked = _is_linked(spec, entity, mode, at)
    if maker is None:
        return None
    as_name, policy, path, undo, name = at.as_name, at.policy, at.path, at.undo, entity.name
    link_from = at.plan.source.name if is_linked and at.plan.source else ""

    def run(frame: Frame) -> Asking:
        record = yield from resolved(maker, frame)
        link_key = frame.run.source_key if link_from else ""
        command = Write(
            path=frame.prefix + path,
            entity=name,
            mode=mode,
            record=record,
            link_from=link_from if link_key else "",
            link_key=link_key,
            policy=policy,
        )

        def value_of(done: Done) -> dict[str, Any]:
            answered = read(done.result) if isinstance(done.result, dict) else {}
            return {**record, **{key: value for key, value in answered.items() if value is not None}}

        yield from perform(frame, command, undo=undo, as_name=as_name, value_of=value_of)

    return run


def _mode(spec: WriteSpec, entity: Entity, capabilities: Capabilities, at: StepContext) -> WriteMode | None:
    can = capabilities.write
    if not can:
        at.fault(
            "flow.not-writable",
            f"Nothing can be written to '{entity.name}'.",
            "Choose another entity, or an operation of the system with 'call'.",
        )
        return None
    mode = WriteMode(spec.mode) if spec.mode else WriteMode.CREATE if WriteMode.CREATE in can else WriteMode.UPSERT
    if mode not in can:
        offered = ", ".join(sorted(can))
        at.fault(
            "flow.not-writable",
            f"'{entity.name}' cannot be written with mode {mode}.",
            f"It offers: {offered}.",
            key="mode",
        )
        return None
    if mode is not WriteMode.CREATE and not entity.key:
        at.fault(
            "flow.no-key",
            f"'{entity.name}' has no key, which mode {mode} needs.",
            "Declare 'key:' of the entity.",
            key="mode",
        )
    return mode


class RecordSpec(Protocol):
    """Where a step says what is written: by a mapping, by expressions, or the record as it is."""

    @property
    def mapping(self) -> str: ...

    @property
    def with_(self) -> Node | None: ...


def record_maker(spec: RecordSpec, entity: Entity, mode: WriteMode | None, at: StepContext) -> Maker | None:
    """A function to the record that is written; None, with faults, when there is none."""
    if spec.mapping and spec.with_ is not None:
        at.fault("flow.two-records", "'mapping' and 'with' both say what to write.", "Keep one of them.", key="with")
    if spec.mapping:
        mapping = at.mapping(spec.mapping)
        if mapping is None:
            return None
        is_right = at.can_apply(mapping, key="mapping")
        if mapping.target.name != entity.name:
            at.fault(
                "flow.mapping-to",
                f"Mapping '{spec.mapping}' makes a record of '{mapping.target.name}', and '{entity.name}' is written.",
                f"Use a mapping to '{entity.name}'.",
                key="mapping",
            )
            return None
        return mapping.apply if is_right else None
    if spec.with_ is not None:
        is_partial = mode in (WriteMode.UPDATE, WriteMode.DELETE)
        return compile_object(
            spec.with_, entity.fields, at, entity.name, "field", required=frozenset(entity.key) if is_partial else None
        )
    if not at.takes_record_of(entity.name, f"'write: {entity.name}' without 'mapping' or 'with'"):
        return None
    if set(at.state.fields) == set(entity.fields):
        return lambda record, names, environment: record
    return lambda record, names, environment: {name: record[name] for name in entity.fields if name in record}


def _is_linked(spec: WriteSpec, entity: Entity, mode: WriteMode, at: StepContext) -> bool:
    source = at.plan.source
    can = source is not None and bool(source.key and entity.key) and source.name != entity.name
    if spec.link and not can:
        at.fault(
            "flow.no-key",
            f"'link: true' needs keys on both sides, and '{source.name if source else 'a schedule'}' or '{entity.name}' has none.",
            "Declare 'key:' of both entities, or remove the line.",
            key="link",
        )
    default = can and not at.state.is_item and mode is not WriteMode.DELETE
    return can and (default if spec.link is None else spec.link)


STEP = StepKind(
    key="write",
    settings=WriteSpec,
    compile=compile_write,
    gives=True,
    is_effect=True,
    summary="Writes a record to an entity of a system.",
)
