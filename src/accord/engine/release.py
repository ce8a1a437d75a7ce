"""Wakes messages that wait: those whose time has come, and those held by a system that is well again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from accord.engine.clock import Clock
from accord.engine.dispatch import FlowQueue
from accord.engine.gate import Gate
from accord.journal.group import Journal
from accord.journal.operations import Lease, ReleaseDue, ReleaseHeld
from accord.observe.crash_points import crash_point

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
            held = self._journal.read.held()
            next_due = self._journal.read.next_due()
            if not held and next_due is None:
                self._something_waits.clear()
                continue
            if next_due is not None and next_due <= self._clock.now():
                await self._release_due()
            for system in held:
                await self._release_held(system)
            await self._clock.sleep(TICK_S)

    async def _release_due(self) -> None:
        for queue in self._queues.values():
            if queue.room:
                queue.released(await self._leases(ReleaseDue(self._clock.now(), queue.room, queue.flow)))

    async def _release_held(self, system: str) -> None:
        gate = self._gates.get(system)
        for queue in self._queues.values():
            limit = min(queue.room, gate.release_limit(queue.room) if gate is not None else queue.room)
            if limit:
                released = await self._leases(ReleaseHeld(system, limit, queue.flow))
                queue.released(released)
                if released and gate is not None and not gate.breaker.is_closed:
                    return  # one probe is on its way

    async def _leases(self, operation: ReleaseDue | ReleaseHeld) -> tuple[Lease, ...]:
        crash_point("release.before-commit")
        leases: tuple[Lease, ...] = await self._journal.submit(operation)
        if leases:
            crash_point("release.after-commit")
        return leases
