"""One attempt at a message: by the version of its flow that began it, traced and counted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from accord.engine.clock import Clock
from accord.engine.control import Control
from accord.engine.delivery import Delivery
from accord.engine.ends import Stop
from accord.engine.intake import Callers, Ended
from accord.engine.run import Attempt
from accord.engine.versions import Versions, held_for_version
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import Lease, Settle, State
from accord.observe import Observer
from accord.project.snapshot import VersionGone
from accord.record.message import PARENT_SPAN_HEADER

STATE_NAMES = {state: state.name.lower() for state in State}


class Runner:
    """``stops``: of the messages that run, by number. ``watch`` hears of every attempt that begins."""

    def __init__(
        self,
        flows: Mapping[str, Flow],
        journal: Journal,
        delivery: Delivery,
        versions: Versions,
        control: Control,
        callers: Callers,
        stops: dict[int, Stop],
        watch: Callable[[], None],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._flows = flows
        self._journal = journal
        self._delivery = delivery
        self._versions = versions
        self._control = control
        self._callers = callers
        self._stops = stops
        self._watch = watch
        self._clock = clock
        self._observer = observer

    def attempt(self, lease: Lease) -> Coroutine[Any, Any, Settle]:
        self._watch()
        flow = self._flows[lease.message.flow]
        if lease.results or lease.is_recovered:
            return self._begun(lease, flow)
        return self._with(lease, flow)

    async def _begun(self, lease: Lease, flow: Flow) -> Settle:
        found = await self._versions.flow_of(lease, flow)
        if isinstance(found, VersionGone):
            return held_for_version(lease, found)
        if found is not flow:
            return await self._with_earlier(lease, found)
        return await self._with(lease, flow)

    async def _with_earlier(self, lease: Lease, earlier: Flow) -> Settle:
        self._versions.began(earlier)
        try:
            return await self._with(lease, earlier)
        finally:
            self._versions.ended(earlier)

    async def _with(self, lease: Lease, flow: Flow) -> Settle:
        replayed = self._control.replayed
        is_replayed = bool(replayed) and lease.seq in replayed
        attempt = Attempt(
            lease,
            flow,
            self._journal,
            self._delivery,
            self._clock,
            self._observer,
            self._callers.answer,
            self._stops,
            is_backfill=is_replayed,
        )
        tracing, message = self._observer.tracing, lease.message
        if tracing is None:
            settle = await attempt.run()
        else:
            parent = message.headers.get(PARENT_SPAN_HEADER, "")
            with tracing.message(flow.name, message.id, message.trace_id, parent) as ended:
                settle = await attempt.run()
                ended(STATE_NAMES[settle.state])
        metrics = self._observer.metrics.flow(flow.name)
        metrics.attempts[STATE_NAMES[settle.state]] += 1
        if settle.state >= State.DONE:
            metrics.duration.observe((self._clock.now() - lease.message.time).total_seconds())
        if is_replayed and settle.state >= State.DONE:
            replayed.discard(lease.seq)
        if flow.has_respond and settle.state >= State.DONE:
            self._callers.answer(lease.message.id, Ended(STATE_NAMES[settle.state]))  # unless it was answered before
        return settle
