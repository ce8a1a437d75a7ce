"""What is learned by reading all open messages, and so is asked for seldom: each answers from its last look."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from accord.engine.clock import Clock
from accord.journal.group import Journal
from accord.journal.search import MessageQuery

OLDEST_EVERY_S = 15.0
DOUBTS_EVERY_S = 2.0  # what pages call live
SHARE_MAX = 0.05  # of the time: over a backlog of millions one look takes long, and then the next comes late
OPEN_STATES = ("ready", "waiting", "held")

_T = TypeVar("_T")


class Looks(Generic[_T]):
    """``last`` is ``every_s`` old at most, or older where looking takes long; who asks during a look gets the one before."""

    def __init__(self, look: Callable[[], Awaitable[_T]], every_s: float, clock: Clock) -> None:
        self._look = look
        self._every_s = every_s
        self._clock = clock
        self._found: tuple[_T] | None = None
        self._next_s = float("-inf")

    async def last(self) -> _T:
        """Raises what a look raises."""
        if self._found is not None and self._clock.monotonic() < self._next_s:
            return self._found[0]
        began_s = time.perf_counter()
        self._next_s = self._clock.monotonic() + self._every_s
        try:
            found = await self._look()
        except BaseException:
            self._next_s = float("-inf")
            raise
        self._found = (found,)
        took_s = time.perf_counter() - began_s
        self._next_s = self._clock.monotonic() + max(self._every_s, took_s / SHARE_MAX)
        return found


class Oldest:
    """How long the oldest open message of each flow has been on its way."""

    def __init__(self, journal: Journal, flows: Iterable[str], clock: Clock) -> None:
        self._journal = journal
        self._flows = tuple(flows)
        self._clock = clock
        self._looks = Looks(self._look, OLDEST_EVERY_S, clock)

    async def ages(self) -> dict[str, float]:
        """Flow → seconds since its oldest open message was accepted; flows without one are left out. Raises JournalError."""
        found, now = await self._looks.last(), self._clock.now()
        return {flow: max(0.0, (now - since).total_seconds()) for flow, since in found.items()}

    async def _look(self) -> dict[str, dt.datetime]:
        counts = await self._journal.reads.counts()
        found: dict[str, dt.datetime] = {}
        for flow in self._flows:
            for state in OPEN_STATES:
                if counts.get((flow, state)):
                    query = MessageQuery(flow=flow, state=state, limit=1)
                    for row in await self._journal.reads.messages(query):
                        found[flow] = min(found.get(flow, row.message.time), row.message.time)
        return found


class Doubts(msgspec.Struct):
    """Of one flow: open and dead messages with an effect in doubt, and by the effect's path."""

    messages: int = 0
    by_path: dict[str, int] = {}


def doubts_by_flow(journal: Journal, clock: Clock) -> Looks[dict[str, Doubts]]:
    """Flows without one are left out."""

    async def look() -> dict[str, Doubts]:
        found: dict[str, Doubts] = {}
        for one in await journal.reads.in_doubt():
            doubts = found.setdefault(one.flow, Doubts())
            doubts.messages += one.messages
            for path in one.paths:
                doubts.by_path[path] = doubts.by_path.get(path, 0) + one.messages
        return found

    return Looks(look, DOUBTS_EVERY_S, clock)
