"""Bulk flow files into specs: ``read:``, when it starts, when it stops."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

import msgspec

from accord.errors import NOWHERE, Faults, Place, did_you_mean
from accord.flow.commands import ErrorPolicy
from accord.flow.policy import read_policy
from accord.flow.read import NAME, FlowSpec, Priority
from accord.flow.trigger import FilesTrigger, ManualTrigger, ScheduleTrigger, read_trigger
from accord.sdk.bulk import CHUNK_ROWS
from accord.settings.decode import decode
from accord.settings.node import Node

Engine = Literal["polars", "spark"]
MANUAL = "manual"
STARTS = ("schedule", "files", MANUAL)
PARTITIONS_MAX = 16  # connections of one read: each is a process of the database's server
CHUNK_ROWS_MAX = 1_000_000  # rows of a chunk; a dozen chunks are in memory at once
_REJECTS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*(?:rejects?)?\s*\Z")


class ReadSpec(msgspec.Struct, frozen=True):
    """What is read. ``cursor``: only records changed since the last run, by this field; ``overlap``: how far back of the last value
    seen (time, or a number for a numeric cursor); ``full_every``: everything is read again after so long."""

    entity: str
    cursor: str = ""
    overlap: dt.timedelta | Annotated[int, msgspec.Meta(ge=0)] | None = None
    chunk: Annotated[
        int, msgspec.Meta(ge=1, le=CHUNK_ROWS_MAX, description="Rows of one chunk: written, and counted, together.")
    ] = CHUNK_ROWS
    full_every: dt.timedelta | None = None
    partitions: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=PARTITIONS_MAX, description="Connections that read a PostgreSQL table at once, in one snapshot."
        ),
    ] = 1


class BulkFile(msgspec.Struct, frozen=True):
    """A bulk flow: what is read, when, and steps."""

    flow: str
    on: Node
    read: str | ReadSpec
    steps: Node
    engine: Annotated[
        Engine,
        msgspec.Meta(
            description="Who works on the rows. polars: this process, on all its cores. spark: a Spark cluster, with the same result."
        ),
    ] = "polars"
    summary: str = ""
    key: Node | None = None
    stop_after: str | Annotated[int, msgspec.Meta(ge=0)] | None = None
    on_error: Node | None = None
    priority: Priority = "normal"
    tests: tuple[Node, ...] = ()


class StopAfter(msgspec.Struct, frozen=True):
    """The run stops when more rejects than this have come up: ``count`` of them, or a ``share`` (0..1) of the rows read."""

    count: int | None = None
    share: float | None = None

    def is_passed(self, rejected: int, rows: int) -> bool:
        if self.share is not None:
            return rejected > self.share * rows
        return self.count is not None and rejected > self.count

    def __str__(self) -> str:
        return f"{self.share * 100:g}% rejects" if self.share is not None else f"{self.count} rejects"


class BulkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk flow as written. ``row``: the ordinary flow of the same steps, for one record at a time."""

    name: str
    read: ReadSpec
    read_node: Node
    schedules: tuple[ScheduleTrigger, ...]
    files: FilesTrigger | None
    stop_after: StopAfter | None
    row: FlowSpec
    engine: Engine = "polars"
    place: Place = NOWHERE


def is_bulk(node: Node) -> bool:
    return node.get("read") is not None


def read_bulk_flow(
    node: Node, faults: Faults, *, policy: ErrorPolicy | None = None, zone: str = "UTC"
) -> BulkSpec | None:
    """None, with every fault recorded, when the file cannot be used."""
    file = decode(node, BulkFile, faults, what="this bulk flow")
    if file is None:
        return None
    if not NAME.match(file.flow):
        what = f"'{file.flow}' cannot be a flow's name."
        mend = "Use small letters, digits, - and _, beginning with a letter."
        faults.add("flow.bad-name", node.place_of("flow"), what, mend)
    read = ReadSpec(file.read) if isinstance(file.read, str) else file.read
    policy = policy or ErrorPolicy()
    if file.on_error is not None:
        policy = read_policy(file.on_error, policy, faults, is_flow=True)
    schedules, files = _starts(file.on, faults, zone)
    row = FlowSpec(
        name=file.flow,
        summary=file.summary,
        triggers=(ManualTrigger(read.entity, node.place_of("read")),),
        key=file.key,
        steps=file.steps,
        policy=policy,
        response_timeout_s=0.0,
        tests=file.tests,
        node=node,
        priority=file.priority,
        place=node.place_of("flow"),
    )
    return BulkSpec(
        name=file.flow,
        read=read,
        read_node=node.get("read") or node,
        schedules=schedules,
        files=files,
        stop_after=_stop_after(file.stop_after, node, faults),
        row=row,
        engine=file.engine,
        place=node.place_of("flow"),
    )


def _starts(node: Node, faults: Faults, zone: str) -> tuple[tuple[ScheduleTrigger, ...], FilesTrigger | None]:
    schedules: list[ScheduleTrigger] = []
    files: list[FilesTrigger] = []
    for each in node.elements() if node.is_list else [node]:
        if each.value == MANUAL:
            continue
        keys = [key for key, _ in each.items()]
        if not any(key in ("schedule", "files") for key in keys):
            shown = f"'{', '.join(keys)}'" if keys else each.describe()
            what = f"A bulk flow starts by {', '.join(STARTS)}; here stands {shown}."
            word = keys[0] if keys else str(each.value)
            faults.add("flow.bulk-start", each.place, what, did_you_mean(word, STARTS) or "Write `on: manual`.")
            continue
        trigger = read_trigger(each, faults, zone)
        if isinstance(trigger, ScheduleTrigger):
            schedules.append(trigger)
        elif isinstance(trigger, FilesTrigger):
            files.append(trigger)
    return tuple(schedules), files[0] if files else None


def _stop_after(written: str | int | None, node: Node, faults: Faults) -> StopAfter | None:
    if written is None:
        return None
    if isinstance(written, int):
        return StopAfter(count=written)
    found = _REJECTS.match(written)
    if found is None or (not found[2] and "." in found[1]) or float(found[1]) > (100 if found[2] else 1e15):
        what = f"'stop_after: {written}' says no number of rejects."
        faults.add("flow.bad-stop-after", node.place_of("stop_after"), what, "Write for example 1% rejects, or 100.")
        return None
    return StopAfter(share=float(found[1]) / 100) if found[2] else StopAfter(count=int(found[1]))
