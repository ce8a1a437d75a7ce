"""What starts a flow: triggers as they are written under ``on:`` and as the engine sees them."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import TypeAlias

import msgspec
from cronsim import CronSim, CronSimError

from accord.errors import NOWHERE, Faults, Place, did_you_mean
from accord.sdk.capture import ChangeKind
from accord.settings.decode import decode
from accord.settings.node import Node

POLL_EVERY_S = 60.0
FILES_EVERY_S = 2.0
EVERY_S_MIN = 0.1
CHANGES_TAKEN = (
    ChangeKind.SNAPSHOT,
    ChangeKind.INSERT,
    ChangeKind.UPDATE,
    ChangeKind.DELETE,
)  # a truncate when asked for

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class WebhookTrigger(msgspec.Struct, frozen=True, tag="webhook"):
    """Events of ``entity`` (full name) with one of ``topics``; no topics: every topic of the entity."""

    entity: str
    topics: tuple[str, ...] = ()
    place: Place = NOWHERE


class PollTrigger(msgspec.Struct, frozen=True, tag="poll"):
    """Changed records of ``entity``, looked for every ``every_s`` seconds."""

    entity: str
    every_s: float = POLL_EVERY_S
    place: Place = NOWHERE


class FilesTrigger(msgspec.Struct, frozen=True, tag="files"):
    """Records of files arriving for ``entity``; the folder is looked at every ``every_s`` seconds."""

    entity: str
    every_s: float = FILES_EVERY_S
    place: Place = NOWHERE


class ChangesTrigger(msgspec.Struct, frozen=True, tag="changes"):
    """Changes of rows of ``entity`` from the database's own log, of the kinds ``topics``."""

    entity: str
    topics: tuple[str, ...]
    place: Place = NOWHERE


class ScheduleTrigger(msgspec.Struct, frozen=True, tag="schedule"):
    """A time: five-field ``cron`` in ``zone``, or every ``every_s`` seconds (0: cron). The record is ``{scheduled_at: instant}``."""

    cron: str = ""
    zone: str = "UTC"
    every_s: float = 0.0
    place: Place = NOWHERE

    def after(self, instant: dt.datetime) -> dt.datetime:
        """The next time strictly after ``instant`` (aware), in UTC. Intervals count from 1970-01-01."""
        if self.every_s:
            every = dt.timedelta(
                seconds=self.every_s
            )  # whole microseconds: floats would give a time twice, or one too near
            return _EPOCH + ((instant - _EPOCH) // every + 1) * every
        found: dt.datetime = next(CronSim(self.cron, instant.astimezone(zoneinfo.ZoneInfo(self.zone))))
        return found.astimezone(dt.UTC)


class ManualTrigger(msgspec.Struct, frozen=True, tag="manual"):
    """Records given by hand (``accord send``) or posted to the flow."""

    entity: str
    place: Place = NOWHERE


Trigger: TypeAlias = WebhookTrigger | PollTrigger | FilesTrigger | ChangesTrigger | ScheduleTrigger | ManualTrigger


class _Webhook(msgspec.Struct, frozen=True):
    webhook: str
    topic: str | tuple[str, ...] = ()


class _Poll(msgspec.Struct, frozen=True):
    poll: str
    every: dt.timedelta = dt.timedelta(seconds=POLL_EVERY_S)


class _Files(msgspec.Struct, frozen=True):
    files: str
    every: dt.timedelta = dt.timedelta(seconds=FILES_EVERY_S)


class _Changes(msgspec.Struct, frozen=True):
    changes: str
    topic: ChangeKind | tuple[ChangeKind, ...] = CHANGES_TAKEN


class _Every(msgspec.Struct, frozen=True):
    every: dt.timedelta


class _Schedule(msgspec.Struct, frozen=True):
    schedule: str | _Every
    zone: str | None = None


class _Manual(msgspec.Struct, frozen=True):
    manual: str


TRIGGER_SPECS: dict[str, type[msgspec.Struct]] = {
    "webhook": _Webhook,
    "poll": _Poll,
    "files": _Files,
    "changes": _Changes,
    "schedule": _Schedule,
    "manual": _Manual,
}


def read_triggers(node: Node, faults: Faults, zone: str = "UTC") -> tuple[Trigger, ...]:
    """Triggers of an ``on:`` node (one or a list); faults for those that cannot be read. ``zone``: for cron lines without one."""
    nodes = node.elements() if node.is_list else [node]
    if not nodes:
        faults.add(
            "flow.bad-trigger", node.place, "'on' names no trigger.", "Write for example {webhook: shop.orders}."
        )
    found = [read_trigger(each, faults, zone) for each in nodes]
    return tuple(trigger for trigger in found if trigger is not None)


def read_trigger(node: Node, faults: Faults, zone: str) -> Trigger | None:
    kinds = [key for key, _ in node.items() if key in TRIGGER_SPECS]
    if not node.is_map or len(kinds) != 1:
        keys = [key for key, _ in node.items()]
        shown = f"'{', '.join(keys)}'" if keys else node.describe()
        faults.add(
            "flow.bad-trigger",
            node.place,
            f"A trigger has exactly one of {', '.join(TRIGGER_SPECS)}; here stands {shown}.",
            did_you_mean(keys[0], TRIGGER_SPECS) if keys and not kinds else "Write for example {webhook: shop.orders}.",
        )
        return None
    spec = decode(node, TRIGGER_SPECS[kinds[0]], faults, what=f"the '{kinds[0]}' trigger")
    match spec:
        case _Webhook(webhook=entity, topic=topic):
            return WebhookTrigger(entity, (topic,) if isinstance(topic, str) else topic, node.place)
        case _Poll(poll=entity, every=every):
            return PollTrigger(entity, _checked(every, node, faults), node.place)
        case _Files(files=entity, every=every):
            return FilesTrigger(entity, _checked(every, node, faults), node.place)
        case _Changes(changes=entity, topic=topic):
            return ChangesTrigger(entity, (topic,) if isinstance(topic, ChangeKind) else topic, node.place)
        case _Manual(manual=entity):
            return ManualTrigger(entity, node.place)
        case _Schedule():
            return _schedule(spec, node, zone, faults)
    return None


def _checked(every: dt.timedelta, node: Node, faults: Faults) -> float:
    seconds = every.total_seconds()
    if seconds < EVERY_S_MIN:
        faults.add(
            "flow.bad-trigger",
            node.place,
            f"'every: {seconds:g}s' is too often.",
            f"At least {EVERY_S_MIN:g} s is allowed.",
        )
    return max(seconds, EVERY_S_MIN)


def _schedule(spec: _Schedule, node: Node, default_zone: str, faults: Faults) -> Trigger | None:
    if isinstance(spec.schedule, _Every):
        return ScheduleTrigger(every_s=_checked(spec.schedule.every, node, faults), place=node.place)
    place = (node.get("schedule") or node).place
    name = spec.zone or default_zone
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        faults.add(
            "flow.unknown-zone",
            (node.get("zone") or node).place,
            f"There is no time zone '{name}'.",
            did_you_mean(name, zoneinfo.available_timezones()),
        )
        return None
    try:
        next(CronSim(spec.schedule, dt.datetime(2000, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        faults.add(
            "flow.bad-schedule",
            place,
            f"'{spec.schedule}' is no cron expression that ever comes true: {str(error) or 'no such day'}.",
            'Write five fields: minute hour day month weekday, like "0 2 * * *", or {every: 5m}.',
        )
        return None
    return ScheduleTrigger(cron=spec.schedule, zone=name, place=node.place)
