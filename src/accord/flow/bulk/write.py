"""The ``write`` step of a bulk flow: what a load is told, and how a single record is written when a reject is replayed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.commands import Write
from accord.flow.effects import EXACTLY_ONCE, guarantee_of
from accord.flow.running import Asking, Frame, perform, resolved
from accord.flow.step import RunStep, StepContext, StepKind
from accord.flow.steps.write import record_maker
from accord.record import Entity
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import Capabilities, Idempotency, WriteMode
from accord.settings.node import Node

LOAD_HEADER = "accord-load"  # set on the messages of a load's rows only: what they write goes into chunks
BY_CHUNK = EXACTLY_ONCE + "chunk"
_KEYED = (LoadMode.UPSERT, LoadMode.DELETE_MISSING, LoadMode.HISTORY)
_WHOLE = (LoadMode.REPLACE, LoadMode.DELETE_MISSING)


class BulkWriteSpec(msgspec.Struct, frozen=True):
    write: str
    mapping: str = ""
    with_: Node | None = None
    mode: Literal["append", "upsert", "replace", "delete_missing", "history"] | None = None
    deleted_share_max: Annotated[
        float,
        msgspec.Meta(ge=0, le=1, description="delete_missing deletes nothing when it would be more than this share."),
    ] = 0.2


class BulkWrite(msgspec.Struct, frozen=True, kw_only=True):
    """One target of a bulk flow. ``path`` is static (``[]`` for the index of a split). ``is_native``: the connector takes chunks;
    else they are written record by record in ``row_mode``. ``incremental_mode``: of a run that reads changes only."""

    path: str
    entity: Entity
    mode: LoadMode
    incremental_mode: LoadMode
    row_mode: WriteMode | None
    is_native: bool
    deleted_share_max: float
    mapping: str = ""


def write_kind(found: list[BulkWrite], *, has_cursor: bool, is_whole_at_times: bool) -> StepKind:
    """``found`` gets every write as it is compiled. ``has_cursor``: runs read changes only, but for whole ones ``is_whole_at_times``."""

    def compile_write(spec: BulkWriteSpec, at: StepContext) -> RunStep | None:
        return _compile(spec, at, found, has_cursor=has_cursor, is_whole_at_times=is_whole_at_times)

    return StepKind(
        key="write", settings=BulkWriteSpec, compile=compile_write, summary="Loads records into an entity of a system."
    )


def _compile(
    spec: BulkWriteSpec, at: StepContext, found: list[BulkWrite], *, has_cursor: bool, is_whole_at_times: bool
) -> RunStep | None:
    pair = at.entity(spec.write)
    if pair is None:
        return None
    system, entity = pair
    can = system.capabilities(entity)
    mode = _mode(spec, entity, can, at)
    row_mode = row_mode_of(mode or LoadMode.APPEND, can)
    maker = record_maker(spec, entity, row_mode, at)
    if mode is None:
        return None
    incremental = _incremental(mode, entity, at, has_cursor=has_cursor, is_whole_at_times=is_whole_at_times)
    is_native = mode in can.bulk_write and incremental in can.bulk_write
    idempotency = can.idempotency.get(row_mode, Idempotency.NONE) if row_mode else Idempotency.NONE
    if not is_native:
        guarantee = guarantee_of(idempotency, can.at_least_once_reason, entity.name)
    elif reason := can.bulk_at_least_once.get(mode) or can.bulk_at_least_once.get(incremental):
        guarantee = guarantee_of(Idempotency.NONE, reason, entity.name)
    else:
        guarantee = BY_CHUNK
    at.add_effect(system.name, entity.name, mode.value, guarantee)
    write = BulkWrite(
        path=at.static_prefix + at.path,
        entity=entity,
        mode=mode,
        incremental_mode=incremental,
        row_mode=row_mode,
        is_native=is_native,
        deleted_share_max=spec.deleted_share_max,
        mapping=spec.mapping,
    )
    found.append(write)
    if maker is None:
        return None
    path = at.path

    def run(frame: Frame) -> Asking:
        record = yield from resolved(maker, frame)
        if write.row_mode is None and LOAD_HEADER not in frame.run.message.headers:
            reason = f"{write.entity.name} is only loaded: mend the record at its source, and the next run takes it"
            raise RecordError([Problem("flow.bulk-only", "", reason)])
        mode = write.row_mode or WriteMode.CREATE
        yield from perform(frame, Write(path=frame.prefix + path, entity=write.entity.name, mode=mode, record=record))

    return run


def row_mode_of(mode: LoadMode, can: Capabilities) -> WriteMode | None:
    """How one record is written that a load would write with ``mode``; None when it cannot be (history has no single rows)."""
    if mode is LoadMode.HISTORY:
        return None
    wanted = [WriteMode.UPSERT]
    if mode is LoadMode.APPEND:
        wanted = [WriteMode.CREATE, WriteMode.UPSERT]
    elif mode is LoadMode.REPLACE:
        wanted.append(WriteMode.CREATE)
    return next((one for one in wanted if one in can.write), None)


def modes_of(can: Capabilities) -> frozenset[LoadMode]:
    """The modes an entity can be loaded in: its connector's own, and those any connector has that writes records."""
    by_row = {WriteMode.CREATE: LoadMode.APPEND, WriteMode.UPSERT: LoadMode.UPSERT}
    return can.bulk_write | {mode for write, mode in by_row.items() if write in can.write}


def _mode(spec: BulkWriteSpec, entity: Entity, can: Capabilities, at: StepContext) -> LoadMode | None:
    offered = modes_of(can)
    if not offered:
        what = f"Nothing can be loaded into '{entity.name}'."
        at.fault("flow.not-writable", what, "Choose an entity of a system that can be written.")
        return None
    default = LoadMode.UPSERT if entity.key and LoadMode.UPSERT in offered else LoadMode.APPEND
    if default not in offered:
        default = min(offered)
    mode = LoadMode(spec.mode) if spec.mode else default
    if mode not in offered:
        what = f"'{entity.name}' cannot be loaded with mode {mode}."
        at.fault("flow.not-writable", what, f"It offers: {', '.join(sorted(offered))}.", key="mode")
        return None
    if mode in _KEYED and not entity.key:
        what = f"'{entity.name}' has no key, which mode {mode} needs."
        at.fault("flow.no-key", what, "Declare 'key:' of the entity.", key="mode")
    if at.state.is_item and mode in _WHOLE and not at.state.is_unknown:
        what = f"Mode {mode} is for whole records, and an item of a split is written here."
        at.fault("flow.bulk-mode", what, "Use append or upsert here.", key="mode")
    return mode


def _incremental(
    mode: LoadMode, entity: Entity, at: StepContext, *, has_cursor: bool, is_whole_at_times: bool
) -> LoadMode:
    if not has_cursor or mode not in _WHOLE:
        return mode
    if mode is LoadMode.DELETE_MISSING and is_whole_at_times:
        return LoadMode.UPSERT
    what = f"Mode {mode} takes what is not read for deleted, and this flow reads changes only ('cursor')."
    mend = "Add 'full_every' to 'read'." if mode is LoadMode.DELETE_MISSING else "Remove 'cursor', or use upsert."
    at.fault("flow.bulk-mode", what, mend, key="mode")
    return mode
