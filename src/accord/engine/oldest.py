"""How long the oldest open message of each flow has been on its way."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable

from accord.engine.clock import Clock
from accord.errors import JournalError
from accord.journal.group import Journal

LOOK_EVERY_S = 15.0
SHARE_MAX = 0.05  # of the time: over a backlog of millions one look takes long, and then the next comes late
OPEN_STATES = ("ready", "waiting", "held")


class Oldest:
    """``ages`` answers from the last look, which is LOOK_EVERY_S old or more where looking takes long."""

    def __init__(self, journal: Journal, flows: Iterable[str], clock: Clock) -> None:
        self._journal = journal
        self._flows = tuple(flows)
        self._clock = clock
        self._since: dict[str, dt.datetime] = {}
        self._next_s = float("-inf")

    async def ages(self) -> dict[str, float]:
        """Flow → seconds since its oldest open message was accepted; flows without one are left out. Raises JournalError."""
        if self._clock.monotonic() >= self._next_s:
            began_s = time.perf_counter()
            self._next_s = self._clock.monotonic() + LOOK_EVERY_S
            try:
                self._since = await self._look()
            except JournalError:
                self._next_s = float("-inf")
                raise
            took_s = time.perf_counter() - began_s
            self._next_s = self._clock.monotonic() + max(LOOK_EVERY_S, took_s / SHARE_MAX)
        now = self._clock.now()
        return {flow: max(0.0, (now - since).total_seconds()) for flow, since in self._since.items()}

    async def _look(self) -> dict[str, dt.datetime]:
        counts = await self._journal.reads.counts()
        found: dict[str, dt.datetime] = {}
        for flow in self._flows:
            for state in OPEN_STATES:
                if counts.get((flow, state)):
                    for row in await self._journal.reads.messages(flow=flow, state=state, limit=1):
                        found[flow] = min(found.get(flow, row.message.time), row.message.time)
        return found
