"""Wakes messages that wait: those whose time has come, and those held by a system that is well again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from accord.engine.clock import Clock
from accord.engine.dispatch import JOURNAL_RETRY_S, FlowQueue
from accord.engine.gate import Gate
from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Lease, ReleaseDue, ReleaseHeld
from accord.observe.crash_points import crash_point

KEPT = "~"  # begins what holds messages and is no system: an operator has to let them go
TICK_S = 0.05  # how late a timer may be; two indexed reads per tick, and only while something waits


class Releaser:
    """One task for all flows. ``parked()`` tells it that there is something to watch."""

    def __init__(
        self, queues: Mapping[str, FlowQueue], gates: Mapping[str, Gate], journal: Journal, clock: Clock
    ) -> None:
        self._queues = queues
        self._gates = gates
        self._journal = journal
        self._clock = clock
        self._something_waits = asyncio.Event()
        self._something_waits.set()

    def parked(self) -> None:
        self._something_waits.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._something_waits.wait()
            self._something_waits.clear()  # before looking: what parks meanwhile sets it again
            try:
                if not await self._release():
                    continue
                wait_s = TICK_S
            except JournalError:
                wait_s = JOURNAL_RETRY_S
            self._something_waits.set()
            await self._clock.sleep(wait_s)

    async def _release(self) -> bool:
        """One round. False when nothing waits."""
        held = await self._journal.reads.held()
        next_due = await self._journal.reads.next_due()
        if next_due is not None and next_due <= self._clock.now():
            await self._release_due()
        systems = [name for name in held if not name.startswith(KEPT)]
        for system in systems:
            await self._release_held(system)
        return bool(systems) or next_due is not None

    async def _release_due(self) -> None:
        for queue in self._queues.values():
            if queue.room:
                await queue.released(await self._leases(ReleaseDue(self._clock.now(), queue.room, queue.flow)))

    async def _release_held(self, system: str) -> None:
        gate = self._gates.get(system)
        for queue in self._queues.values():
            limit = min(queue.room, gate.release_limit(queue.room) if gate is not None else queue.room)
            if limit:
                released = await self._leases(ReleaseHeld(system, limit, queue.flow))
                await queue.released(released)
                if released and gate is not None and not gate.breaker.is_closed:
                    return  # one probe is on its way

    async def _leases(self, operation: ReleaseDue | ReleaseHeld) -> tuple[Lease, ...]:
        crash_point("release.before-commit")
        leases: tuple[Lease, ...] = await self._journal.submit(operation)
        if leases:
            crash_point("release.after-commit")
        return leases
