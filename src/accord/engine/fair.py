"""Who is served next where several flows share one thing: start-time fair queueing.

Every entry gets a start tag: the larger of the queue's present virtual time and the end of its lane's entry before it; an entry
lasts 1 / weight. The smallest tag goes first, and the virtual time is the tag served last. So lanes that wait share by weight,
whatever their lengths; an idle lane saves up nothing; and since the tag of who waits stands still while the virtual time moves on,
the lightest lane has its turn too. (Goyal, Vin, Cheng: Start-time Fair Queueing, SIGCOMM 1996.)
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from accord.flow.read import Priority

T = TypeVar("T")
WEIGHTS: dict[Priority, int] = {"high": 64, "normal": 16, "low": 4}  # shares of a system that all of them wait for
BACKFILL_WEIGHT = (
    1  # of catching up: a seventeenth of a system a normal flow wants whole, all of it when nobody else does
)


class Lane(msgspec.Struct, frozen=True):
    """Whose work it is. ``weight``: its share among those who wait. Backfill: work nobody waits for, like catching up."""

    name: str
    weight: int = WEIGHTS["normal"]
    is_backfill: bool = False


@functools.cache
def lane_of(flow: str, priority: Priority, is_backfill: bool) -> Lane:
    return Lane(flow, BACKFILL_WEIGHT if is_backfill else WEIGHTS[priority], is_backfill)


class FairQueue(Generic[T]):
    """Entries of one lane leave in the order they came. ``waiting`` is true while there are any (cheaper than the length)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Lane, T]] = []
        self.waiting: Sequence[object] = self._heap
        self._numbers = itertools.count()
        self._ends: dict[Lane, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, lane: Lane, entry: T) -> None:
        tag = max(self._now, self._ends.get(lane, 0.0))
        self._ends[lane] = tag + 1.0 / lane.weight
        heapq.heappush(self._heap, (tag, next(self._numbers), lane, entry))

    def peek(self) -> tuple[Lane, T]:
        """Who is next; raises IndexError when nobody is."""
        _, _, lane, entry = self._heap[0]
        return lane, entry

    def pop(self) -> T:
        self._now, _, _, entry = heapq.heappop(self._heap)
        if not self._heap:
            self._ends.clear()  # nobody waits: the past counts no more
        return entry
