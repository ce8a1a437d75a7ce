"""compile_bulk: a bulk flow and the ordinary flow of the same steps, or faults with their lines."""

from __future__ import annotations

import datetime as dt

import msgspec

from accord.errors import Faults, did_you_mean
from accord.flow.bulk.columns import ColumnPlan, Draft, Drafts
from accord.flow.bulk.read import BulkSpec
from accord.flow.bulk.write import BulkWrite, write_kind
from accord.flow.bulk.written import as_written
from accord.flow.compile import compile_flow
from accord.flow.flow import Flow
from accord.flow.kinds import step_kinds
from accord.flow.parts import DeclaredSystem, Parts
from accord.flow.step import StepKind
from accord.record import Entity
from accord.record.types import Date, DateTime, Integer
from accord.settings.node import Node

STEPS = ("validate", "map", "set", "filter", "split", "write")
OVERLAP = dt.timedelta(
    minutes=5
)  # of a cursor that is a time: longer than the longest transaction that may still commit


class BulkFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk flow, compiled. ``flow``: the same for one record. ``overlap``: how far back of the last cursor value is read again:
    a duration for dates and times, else a number."""

    flow: Flow
    spec: BulkSpec
    source: Entity
    writes: tuple[BulkWrite, ...]
    drafts: tuple[Draft, ...] = ()
    overlap: dt.timedelta | int = 0

    @property
    def name(self) -> str:
        return self.spec.name

    def as_written(self) -> frozenset[str]:
        """Fields of the source whose written form shows in what the flow writes, refuses or asks."""
        return as_written(self.flow.contract, self.drafts)

    def columns(self) -> ColumnPlan:
        """Raises AccordError ``mapping.no-columns`` when Polars is not installed."""
        return ColumnPlan(self.flow.contract, self.drafts)


def compile_bulk(spec: BulkSpec, parts: Parts, faults: Faults) -> BulkFlow | None:
    """None when it has errors; every fault is added."""
    before = len(faults.errors)
    writes: list[BulkWrite] = []
    steps = _checked_steps(spec.row.steps, parts, faults)
    drafts = Drafts()
    kinds = drafts.noting(_kinds(spec, writes, faults))
    flow = compile_flow(msgspec.structs.replace(spec.row, steps=steps), parts, faults, kinds)
    entity = parts.entities.get(spec.read.entity)
    if entity is not None and entity.system in parts.systems:
        _check_read(spec, parts.systems[entity.system], entity, faults)
    if spec.files is not None and spec.files.entity != spec.read.entity:
        what = f"The files of '{spec.files.entity}' start the flow, and '{spec.read.entity}' is read."
        faults.add("flow.two-sources", spec.files.place, what, "Write the same entity in both places.")
    if len(faults.errors) == before and not _has_write(spec.row.steps):
        faults.add("flow.bulk-no-write", spec.row.steps.place, "A bulk flow writes nowhere.", "Add a 'write' step.")
    if flow is None or entity is None or len(faults.errors) > before:
        return None
    return BulkFlow(
        flow=flow,
        spec=spec,
        source=entity,
        writes=tuple(writes),
        drafts=tuple(drafts.found),
        overlap=_overlap(spec, entity),
    )


def _has_write(steps: Node) -> bool:
    """Also where it stands under a split, and where its target's system is faulty (which is said of the system)."""
    return any(each.get("write") is not None or _has_write(each.get("steps") or Node([])) for each in steps.elements())


def _kinds(spec: BulkSpec, writes: list[BulkWrite], faults: Faults) -> dict[str, StepKind]:
    kinds = step_kinds(faults)
    known = {key: msgspec.structs.replace(kinds[key], gives=False) for key in STEPS if key in kinds}
    has_cursor, is_whole = bool(spec.read.cursor), spec.read.full_every is not None
    known["write"] = write_kind(writes, has_cursor=has_cursor, is_whole_at_times=is_whole)
    return known


def _checked_steps(node: Node, parts: Parts, faults: Faults) -> Node:
    """The steps without those a bulk flow cannot have; a fault for each of them."""
    if not node.is_list:
        return node
    kinds = step_kinds(faults)
    kept = []
    for each in node.elements():
        refused = [key for key, _ in each.items() if key in kinds and key not in STEPS]
        for key in refused:
            what = f"A bulk flow cannot have the step '{key}': it would act on every record by itself."
            mend = f"A bulk flow has {', '.join(STEPS)}. Write a flow of its own with a trigger for '{key}'."
            faults.add("flow.bulk-step", each.place_of(key), what, mend)
        if each.get("on_error") is not None:
            what = "The steps of a bulk flow have no 'on_error': what a row is refused for makes it a reject."
            faults.add("flow.bulk-step", each.place_of("on_error"), what, "Remove it.")
        if not refused:
            inner = each.get("steps")
            values = {key: value for key, value in each.items() if key != "on_error"}
            if inner is not None:
                values["steps"] = _checked_steps(inner, parts, faults)
            kept.append(Node(values, each.place, each.key_places) if each.is_map else each)
    return Node(kept, node.place) if kept or not node.elements() else node


def _check_read(spec: BulkSpec, system: DeclaredSystem, entity: Entity, faults: Faults) -> None:
    can = system.capabilities(entity)
    node = spec.read_node
    if not (can.bulk_read or can.read or can.read_changes):
        what = f"'{entity.name}' (connector '{system.connector}') cannot be read."
        faults.add("flow.cannot-read", node.place_of("entity"), what, "Choose an entity that can.")
    cursor = spec.read.cursor
    _check_partitions(spec, system, entity, faults)
    if not cursor:
        for key in ("overlap", "full_every"):
            if node.get(key) is not None:
                what = f"'{key}' is for reading changes only."
                faults.add("flow.bad-cursor", node.place_of(key), what, "Add 'cursor', or remove it.")
        return
    field = entity.fields.get(cursor)
    if field is None:
        what = f"'{entity.name}' has no field '{cursor}'."
        faults.add("flow.bad-cursor", node.place_of("cursor"), what, did_you_mean(cursor, entity.fields))
        return
    if not isinstance(field.type, Date | DateTime | Integer):
        what = f"'{cursor}' cannot be a cursor: it is no date, time or whole number."
        faults.add("flow.bad-cursor", node.place_of("cursor"), what, "Name the field that grows with every change.")
    elif spec.read.overlap is not None and isinstance(field.type, Integer) is not isinstance(spec.read.overlap, int):
        wanted = "a number, as its cursor" if isinstance(field.type, Integer) else "a duration, like 5m"
        faults.add("flow.bad-cursor", node.place_of("overlap"), f"'overlap' must be {wanted}.")
    if not entity.key:
        what = f"'{entity.name}' has no key: records read twice could not be told apart."
        faults.add("flow.no-key", node.place_of("cursor"), what, "Declare 'key:' of the entity.")


def _check_partitions(spec: BulkSpec, system: DeclaredSystem, entity: Entity, faults: Faults) -> None:
    if spec.read.partitions == 1:
        return
    if spec.read.cursor:
        what = "'partitions' is for whole tables, not for changes by a cursor."
    elif not system.capabilities(entity).bulk_partitions:
        what = (
            f"'{entity.name}' (connector '{system.connector}') cannot be read by several connections in one snapshot."
        )
    else:
        return
    faults.add("flow.bad-partitions", spec.read_node.place_of("partitions"), what, "Remove 'partitions'.")


def _overlap(spec: BulkSpec, entity: Entity) -> dt.timedelta | int:
    field = entity.fields.get(spec.read.cursor)
    if spec.read.overlap is not None:
        return spec.read.overlap
    return OVERLAP if field is not None and not isinstance(field.type, Integer) else 0
