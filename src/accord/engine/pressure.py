"""Keeps acceptance from outrunning delivery when the processor is what is short.

Taking a message costs a third of what running it costs, so senders that send again as soon as they are answered fill memory, then the
disk, and every message is read back: the same processor then delivers a third less. So while the event loop runs late *and* a flow has
many fresh messages in memory, answers are held back for a moment: messages are on disk, their senders hear so a little later.

A slow or sick system holds back nobody: then the loop is not late. Nor does a flow that reads its backlog from disk: it is not fresh.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from time import monotonic

from accord.engine.dispatch import FlowQueue

ROUND_S = 0.005  # how often it looks, while there is something to look at
LATE_S = 0.002  # a loop that is late by this much has no time left over
FRESH_MAX = 64  # messages in memory: the requests a system has under way by default; more would only wait at its gate
HELD_S_MAX = 0.1  # a tenth of what the most impatient senders wait
LATE_FOR_S = 0.1  # after a late round: answers measured now may have waited then
QUIET_ROUNDS = 20
NOBODY: AbstractSet[str] = frozenset()


class Pressure:
    """``is_high`` is asked before each answer; ``hold`` takes those that have to wait."""

    def __init__(self, queues: Mapping[str, FlowQueue], now: Callable[[], float] = monotonic) -> None:
        self.is_high = False
        self._queues = queues
        self._high: AbstractSet[str] = NOBODY
        self._now = now
        self._held: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._late_until = 0.0
        self._quiet = 0

    def is_late(self) -> bool:
        """The loop has been late a moment ago, so that what was measured just now may be its own delay."""
        return self._now() < self._late_until

    def watch(self) -> None:
        """Something was taken, or is run: look for a while."""
        self._quiet = 0
        if self._timer is None:
            self._arm()

    def holds(self, flow: str) -> bool:
        """While it is high: only those wait whose flow has the many messages; a flood holds back no other flow's senders."""
        return flow in self._high

    def hold(self, answer: Callable[[], None]) -> None:
        self._held.append((self._now() + HELD_S_MAX, answer))

    def close(self) -> None:
        """Answers everybody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_high = False
        self._release(float("inf"))

    def _arm(self) -> None:
        self._due = self._now() + ROUND_S
        self._timer = asyncio.get_running_loop().call_later(ROUND_S, self._round)

    def _round(self) -> None:
        now = self._now()
        is_late = now - self._due > LATE_S
        if is_late:
            self._late_until = now + LATE_FOR_S
        self._high = (
            {name for name, queue in self._queues.items() if queue.fresh_count > FRESH_MAX} if is_late else NOBODY
        )
        self.is_high = bool(self._high)
        self._release(now if self.is_high else float("inf"))
        self._quiet += 1
        if self._quiet < QUIET_ROUNDS or self._held:
            self._arm()
        else:
            self._timer = None

    def _release(self, until: float) -> None:
        while self._held and self._held[0][0] <= until:
            _, answer = self._held.popleft()
            answer()
