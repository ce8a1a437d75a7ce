"""Looks at all alerts every few seconds, remembers in the journal what it found and told, and sends what is to be told.

One engine of a journal does this. A notice is in the journal before its first try and until it was taken, so a restart neither forgets
nor repeats one, but for a kill between a receiver's answer and the next commit: then it comes again with the same id.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from accord.engine.alerts.arrivals import Arrivals
from accord.engine.alerts.channels import NoticeFailed, carry
from accord.engine.alerts.conditions import Conditions, Figures
from accord.engine.alerts.state import (
    Active,
    Change,
    Finding,
    Line,
    Memory,
    Notice,
    Silence,
    Waiting,
    is_silenced,
    step,
)
from accord.engine.clock import Clock
from accord.errors import AccordError, JournalError, did_you_mean
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import MessageRow, SaveCursors
from accord.journal.search import MessageQuery
from accord.observe import Observer
from accord.observe.events import AlertFiring, AlertOver, NoticeDropped, NoticeNotSent
from accord.record import Cursor, Entity
from accord.settings.alert_spec import AlertSpec, ChannelSpec

if TYPE_CHECKING:
    from accord.engine.control import Control

LOOK_EVERY_S = 10.0
RETRY_FIRST_S, RETRY_LONGEST_S = 10.0, 900.0
KEPT_S = 86_400.0  # a notice that nobody took for so long says nothing any more
OUTBOX_MAX = 200  # notices on their way
SILENCES_MAX = 100
MEMORY_CURSOR, SILENCES_CURSOR = "alerts:memory", "alerts:silences"


class AlertError(AccordError):
    """An operator's command on alerts that cannot be carried out."""

    code = "engine.alert"


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """A declared alert as an operator sees it. ``active``: where its condition holds; those with ``fired_at`` are firing."""

    alert: str
    when: str
    severity: str
    notify: list[str]
    silenced_until: dt.datetime | None
    silenced_reason: str
    active: list[Active]


class Alerts:
    """``run`` on one engine; everything else on any, also on one that is not started."""

    def __init__(
        self,
        specs: Sequence[AlertSpec],
        channels: Mapping[str, ChannelSpec],
        *,
        project: str,
        zone: str,
        flows: Mapping[str, Flow],
        entities: Mapping[str, Entity],
        control: Control,
        journal: Journal,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._specs = specs
        self._channels = channels
        self._project = project
        self._zone = zone
        self._flows = flows
        self._entities = entities
        self._control = control
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._memory: Memory | None = None
        self._saved = b""
        self._conditions: Conditions | None = None

    async def run(self) -> None:
        """Until cancelled."""
        self._memory = None  # another engine may have written since
        while True:
            try:
                await self.look()
            except JournalError:
                pass  # away or full: the next look tells, and flows tell of it themselves
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Once. Raises JournalError when what was found could not be kept: then nothing was sent."""
        memory = await self._remembered()
        now = self._clock.now()
        changes = step(memory, self._specs, await self._found(), await self.silences(), now)
        self._tell(changes)
        self._put_out(memory, changes, now)
        await self._save(memory)
        await self._send_due(memory)
        await self._save(memory)

    async def view(self) -> list[AlertView]:
        raw, silences, now = await self._journal.reads.cursor(MEMORY_CURSOR), await self.silences(), self._clock.now()
        memory = msgspec.json.decode(raw, type=Memory) if raw else Memory()
        return [_view(spec, memory, silences, now) for spec in self._specs]

    async def firing(self) -> list[Active]:
        """What fires now and is not silenced, for pages. Costs one read."""
        if not self._specs:
            return []
        return [
            one
            for view in await self.view()
            if view.silenced_until is None
            for one in view.active
            if one.fired_at is not None
        ]

    async def silences(self) -> list[Silence]:
        """Those not over yet."""
        raw = await self._journal.reads.cursor(SILENCES_CURSOR)
        found = msgspec.json.decode(raw, type=list[Silence]) if raw else []
        return [one for one in found if one.until > self._clock.now()]

    async def silence(self, alert: str, for_s: float, reason: str = "") -> dt.datetime:
        """No notices of an alert ('*': of any) for so long; 0 ends its silence. Returns until when. Raises AlertError."""
        known = [spec.alert for spec in self._specs]
        if alert != "*" and alert not in known:
            raise AlertError(f"There is no alert '{alert}'.", mend=did_you_mean(alert, known))
        others = [one for one in await self.silences() if one.alert != alert]
        until = self._clock.now() + dt.timedelta(seconds=for_s)
        silences = [*others, Silence(alert=alert, until=until, reason=reason)] if for_s > 0 else others
        if len(silences) > SILENCES_MAX:
            raise AlertError(f"There are {SILENCES_MAX} silences already.", mend="Silence '*' instead.")
        await self._journal.submit(SaveCursors((Cursor(SILENCES_CURSOR, msgspec.json.encode(silences)),)))
        return until

    async def test(self, channel: str) -> None:
        """Sends a notice without alerts to a channel now. Raises AlertError when there is none of that name, NoticeFailed."""
        if channel not in self._channels:
            raise AlertError(f"There is no channel '{channel}'.", mend=did_you_mean(channel, self._channels))
        await carry(self._channels[channel], self._notice((), self._clock.now()))

    async def _remembered(self) -> Memory:
        if self._memory is None or self._conditions is None:
            self._saved = await self._journal.reads.cursor(MEMORY_CURSOR) or b""
            self._memory = msgspec.json.decode(self._saved, type=Memory) if self._saved else Memory()
            arrivals = Arrivals(self._flows, self._entities, self._memory, self._journal.reads)
            self._conditions = Conditions(self._flows, self._zone, self._memory, arrivals)
        return self._memory

    async def _found(self) -> dict[str, list[Finding] | None]:
        assert self._conditions is not None
        control = self._control
        try:
            ages = await control.ages() if any(one.when == "oldest_waiting" for one in self._specs) else {}
            figures = Figures(
                now=self._clock.now(),
                status=await control.status(),
                metrics=await control.metrics(),
                ages=ages,
                messages=self._messages,
            )
            self._conditions.learn(figures, self._specs)
            return {spec.alert: await self._conditions.find(spec, figures) for spec in self._specs}
        except JournalError:
            return {}

    async def _messages(self, flow: str, state: str, limit: int) -> list[MessageRow]:
        return await self._journal.reads.messages(MessageQuery(flow=flow, state=state, limit=limit))

    def _tell(self, changes: Sequence[Change]) -> None:
        for line in (change.line for change in changes if change.is_new):
            if line.state == "firing":
                self._observer.emit(
                    AlertFiring(alert=line.alert, subject=line.subject, severity=line.severity, text=line.text)
                )
            else:
                self._observer.emit(AlertOver(alert=line.alert, subject=line.subject))

    def _put_out(self, memory: Memory, changes: Sequence[Change], now: dt.datetime) -> None:
        """One notice for each channel, whatever it is to hear of."""
        lines: dict[str, list[Line]] = {}
        for change in changes:
            for channel in change.channels:
                lines.setdefault(channel, []).append(change.line)
        for channel, told in lines.items():
            memory.outbox.append(Waiting(channel=channel, notice=self._notice(tuple(told), now), next_at=now))
        for dropped in memory.outbox[:-OUTBOX_MAX]:
            self._observer.emit(NoticeDropped(channel=dropped.channel))
        memory.outbox = memory.outbox[-OUTBOX_MAX:]

    def _notice(self, lines: tuple[Line, ...], now: dt.datetime) -> Notice:
        return Notice(id=uuid.uuid4().hex, project=self._project, at=now, alerts=lines)

    async def _send_due(self, memory: Memory) -> None:
        """Each channel's notices in their order; channels beside each other."""
        by_channel: dict[str, list[Waiting]] = {}
        for waiting in memory.outbox:
            by_channel.setdefault(waiting.channel, []).append(waiting)
        kept = await asyncio.gather(*(self._send_to(channel, ones) for channel, ones in by_channel.items()))
        left = {id(waiting) for ones in kept for waiting in ones}
        memory.outbox = [waiting for waiting in memory.outbox if id(waiting) in left]

    async def _send_to(self, name: str, waiting: list[Waiting]) -> list[Waiting]:
        """Those that are still to be sent."""
        channel = self._channels.get(name)
        while waiting:
            first, now = waiting[0], self._clock.now()
            if channel is None or (now - first.notice.at).total_seconds() > KEPT_S:
                self._observer.emit(NoticeDropped(channel=name))
            elif first.next_at > now:
                break
            else:
                try:
                    await carry(channel, first.notice)
                except NoticeFailed as error:
                    wait_s = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2**first.tries)
                    first.tries += 1
                    first.next_at = now + dt.timedelta(seconds=wait_s)
                    self._observer.emit(NoticeNotSent(channel=name, reason=error.what, retry_in_s=wait_s))
                    break
            waiting = waiting[1:]
        return waiting

    async def _save(self, memory: Memory) -> None:
        raw = msgspec.json.encode(memory)
        if raw != self._saved:
            await self._journal.submit(SaveCursors((Cursor(MEMORY_CURSOR, raw),)))
            self._saved = raw


def _view(spec: AlertSpec, memory: Memory, silences: Sequence[Silence], now: dt.datetime) -> AlertView:
    quiet = [one for one in silences if is_silenced(spec.alert, [one], now)]
    longest = max(quiet, key=lambda one: one.until, default=None)
    return AlertView(
        alert=spec.alert,
        when=spec.when,
        severity=spec.severity,
        notify=spec.notify,
        silenced_until=longest.until if longest is not None else None,
        silenced_reason=longest.reason if longest is not None else "",
        active=[one for one in memory.active if one.alert == spec.alert],
    )
