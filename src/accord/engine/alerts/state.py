"""What is known of alerts from one look to the next, and what is to be told of a change. Pure; kept in the journal as JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from accord.settings.alert_spec import AlertSpec

ACTIVE_MAX = 1_000  # conditions at once; a project with more troubles than that has one


class Finding(msgspec.Struct, frozen=True):
    """A condition holds now: for which flow or system, and how it is said."""

    subject: str
    text: str


class Active(msgspec.Struct, kw_only=True):
    """A condition that holds. ``fired_at`` None: not for long enough yet. ``told_at`` None: nobody was told."""

    alert: str
    subject: str
    severity: str
    text: str
    since: dt.datetime
    fired_at: dt.datetime | None = None
    told_at: dt.datetime | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """An operator wants no notices of an alert ('*': of any) until then."""

    alert: str
    until: dt.datetime
    reason: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a notice. ``state``: firing, or resolved."""

    alert: str
    subject: str
    severity: str
    state: str
    text: str
    since: dt.datetime


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel is told at once. ``id`` is the same at every try."""

    id: str
    project: str
    at: dt.datetime
    alerts: tuple[Line, ...]


class Sample(msgspec.Struct, frozen=True):
    """Messages of a flow done and dead since the start of the engines, at a time."""

    at: dt.datetime
    done: int
    dead: int


class Waiting(msgspec.Struct, kw_only=True):
    """A notice on its way to a channel."""

    channel: str
    notice: Notice
    tries: int = 0
    next_at: dt.datetime


class LateMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has not reached an entity in time: its key in its flow, and its record's in its entity. ``is_open``: it was, when it
    was last read."""

    seq: int
    key: str
    record_key: str
    at: dt.datetime
    is_open: bool


class Late(msgspec.Struct, kw_only=True):
    """Of one alert when: missing: messages up to ``seq`` are known, and of them these have not arrived."""

    seq: int = 0
    messages: list[LateMessage] = []


class Memory(msgspec.Struct, kw_only=True):
    """All that outlives a restart. ``heard``: when the last message of a flow came, and the counter that told so. ``late``: by alert,
    flow and entity."""

    active: list[Active] = []
    outbox: list[Waiting] = []
    heard: dict[str, tuple[dt.datetime, int]] = {}
    late: dict[str, Late] = {}


class Change(msgspec.Struct, frozen=True):
    """``channels`` are to hear of it; ``is_new``: it began or ended just now (and is not a repeat)."""

    line: Line
    channels: tuple[str, ...]
    is_new: bool


def is_silenced(alert: str, silences: Sequence[Silence], now: dt.datetime) -> bool:
    return any(one.alert in (alert, "*") and one.until > now for one in silences)


def step(
    memory: Memory,
    specs: Sequence[AlertSpec],
    found: Mapping[str, Sequence[Finding] | None],
    silences: Sequence[Silence],
    now: dt.datetime,
) -> list[Change]:
    """Moves ``memory.active`` on by one look. ``found``: by alert; None: it could not be looked at, so nothing changes."""
    known = {(one.alert, one.subject): one for one in memory.active}
    kept: list[Active] = []
    changes: list[Change] = []
    for spec in specs:
        findings = found.get(spec.alert)
        if findings is None:
            kept += [one for one in memory.active if one.alert == spec.alert]
            continue
        is_quiet = is_silenced(spec.alert, silences, now)
        for finding in findings:
            active = known.pop((spec.alert, finding.subject), None)
            active = active or Active(
                alert=spec.alert, subject=finding.subject, severity=spec.severity, text=finding.text, since=now
            )
            active.text, active.severity = finding.text, spec.severity
            if len(kept) < ACTIVE_MAX:
                kept.append(active)
                changes += _hold(active, spec, now, is_quiet=is_quiet)
        for key in [key for key in known if key[0] == spec.alert]:
            over = known.pop(key)
            if over.fired_at is not None:  # told of its end who was told of it
                told = tuple(spec.notify) if over.told_at is not None and not is_quiet else ()
                changes.append(Change(_line(over, "resolved"), told, is_new=True))
    memory.active = kept
    return changes


def _hold(active: Active, spec: AlertSpec, now: dt.datetime, *, is_quiet: bool) -> list[Change]:
    if now - active.since < spec.for_:
        return []
    is_new = active.fired_at is None
    active.fired_at = active.fired_at or now
    is_due = active.told_at is None or now - active.told_at >= spec.repeat_every
    if is_due and not is_quiet:
        active.told_at = now
        return [Change(_line(active, "firing"), tuple(spec.notify), is_new)]
    return [Change(_line(active, "firing"), (), is_new)] if is_new else []


def _line(active: Active, state: str) -> Line:
    return Line(
        alert=active.alert,
        subject=active.subject,
        severity=active.severity,
        state=state,
        text=active.text,
        since=active.since,
    )
