"""How many requests a system takes at once without queueing them: found from what its answers tell (decision 0140).

Per window of answers, the median of their latency is compared with what is good: twice the system's own latency without
queueing (``base``: the least median seen), or 50 ms, whichever is more. While it is good and the limit was used, the limit grows:
doubling at first, later by its square root. Above, it shrinks by good / median, at most by half. A refusal for overload (429, 503,
time-out) shrinks it too, once for all requests that were under way together. Where the limit has been halved and the latency has
not come down, the queue was not ours: the latency is the new base, and the limit grows again.

One slow answer moves no median. Pure: told everything, times included, in seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

LIMIT_START = (
    2  # requests: shows what a system takes without a queue; doubling, the limit is 64 after ten times the latency
)
LATENCY_GOOD_S = 0.05  # below it nobody's queue is worth a thought, and a busy event loop's own delays count as much
TOLERANCE = 2.0  # times the base; beyond it a request waits longer than it is worked on
SHRINK_MOST = 0.5  # of the limit per window
SHRINK_OVERLOAD = 0.6
NOT_LOWER = 0.8  # of the latency before: more than that, with half the requests, is not our queue
WINDOW_MIN = 5  # answers: two slow ones among them do not move the median; and at least half the limit, up to
WINDOW_MAX = 32


class Limiter(Protocol):
    """``limit`` is read before each request; the rest is told after it."""

    limit: int
    is_starting: bool  # still looking for the limit, fast

    def set_max(self, limit_max: int) -> None: ...

    def answered(self, began_s: float, now_s: float, in_flight: int) -> None:
        """``in_flight``: requests under way, this one included."""
        ...

    def overloaded(self, began_s: float, now_s: float) -> None: ...

    def restart(self) -> None:
        """The system was down and is back: begin carefully."""
        ...


class FixedLimit:
    """What is declared, always."""

    def __init__(self, limit_max: int) -> None:
        self.limit = limit_max
        self.is_starting = False

    def set_max(self, limit_max: int) -> None:
        self.limit = limit_max

    def answered(self, began_s: float, now_s: float, in_flight: int) -> None:
        pass

    def overloaded(self, began_s: float, now_s: float) -> None:
        pass

    def restart(self) -> None:
        pass


class GradientLimit:
    """Between 1 and ``limit_max``. ``is_late``: this process has been late itself, so that what it measured as the system's latency
    may be its own: then nothing shrinks for latency (it would wait for answers that lie in its sockets)."""

    def __init__(self, limit_max: int, is_late: Callable[[], bool] = bool) -> None:
        self._is_late = is_late
        self.limit_max = limit_max
        self.limit = min(limit_max, LIMIT_START)
        self.base_s = math.inf
        self._exact = float(self.limit)
        self._samples: list[float] = []
        self._window = self._window_of()
        self._peak = 0
        self.is_starting = True
        self._reduced_at_s = self._changed_at_s = -math.inf
        self._before: tuple[float, float] | None = (
            None  # limit and median when it was slowest, since it began to shrink
        )

    def set_max(self, limit_max: int) -> None:
        self.limit_max = limit_max
        self._set(self._exact)

    def answered(self, began_s: float, now_s: float, in_flight: int) -> None:
        if began_s < self._changed_at_s:
            return  # it tells of the limit before
        samples = self._samples
        samples.append(now_s - began_s)
        if in_flight > self._peak:
            self._peak = in_flight
        if len(samples) >= self._window:
            self._learn(now_s)

    def overloaded(self, began_s: float, now_s: float) -> None:
        if began_s < self._reduced_at_s:
            return  # it left before the limit was reduced: the same overload, told again
        self._reduced_at_s = self._changed_at_s = now_s
        self.is_starting = False
        self._set(self._exact * SHRINK_OVERLOAD)

    def restart(self) -> None:
        self.is_starting = True
        self._before = None
        self._set(min(self._exact, LIMIT_START))

    def _learn(self, now_s: float) -> None:
        samples = sorted(self._samples)
        median_s = samples[len(samples) // 2]
        self._samples.clear()
        peak, self._peak = self._peak, 0
        if median_s < self.base_s:
            self.base_s = median_s
        good_s = max(LATENCY_GOOD_S, self.base_s * TOLERANCE)
        if peak * 2 < self.limit:
            return  # so few under way tell nothing about the limit
        self._changed_at_s = now_s
        if median_s <= good_s:
            self._before = None
            self._set(self._exact * 2 if self.is_starting else self._exact + math.sqrt(self._exact))
            return
        if self._is_late():
            return
        self.is_starting = False
        if self._before is None or median_s > self._before[1]:
            self._before = (self._exact, median_s)
        limit_before, median_before_s = self._before
        if self._exact <= limit_before / 2 and median_s > median_before_s * NOT_LOWER:
            self.base_s = median_s
            self._before = None
            self.is_starting = True
            return
        self._set(self._exact * max(SHRINK_MOST, good_s / median_s))

    def _set(self, limit: float) -> None:
        self._exact = min(float(self.limit_max), max(1.0, limit))
        self.limit = int(self._exact)
        self._window = self._window_of()
        self._samples.clear()
        self._peak = 0

    def _window_of(self) -> int:
        return min(WINDOW_MAX, max(WINDOW_MIN, self.limit // 2))
