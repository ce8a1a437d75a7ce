"""Circuit breaker of one system: decides when calls may go, from what came of the last ones.

closed ──failures in a row──▶ open (0.5 s, doubling to 15 s) ──time──▶ probing (one call) ──success──▶ closed
                               ▲                                        │
                               └────────────────failure────────────────┘

A hard failure (the system is not there) weighs 1, a soft one (it answered badly, or not in time) 0.3; 3 open the breaker.
"""

from __future__ import annotations

from accord.engine.clock import Clock

WEIGHT_TO_OPEN = 3.0  # a single reset of an idle connection must not stop a healthy system
SOFT_WEIGHT = 0.3
OPEN_FIRST_S = 0.5
OPEN_LONGEST_S = 15.0  # an operator who has mended a system should not wait longer than this


class Breaker:
    """Not thread-safe: lives on the event loop. ``allow`` is asked before a call, ``success``/``failure`` told after it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._weight = 0.0
        self._open_for_s = OPEN_FIRST_S
        self._open_until: float | None = None
        self._is_probing = False
        self.reason = ""
        self.is_closed = True
        self.is_troubled = False  # a failure is remembered: a success would change something

    def allow(self) -> bool:
        """True when a call may go now; while open, exactly one call at a time is let through as a probe."""
        if self._open_until is None:
            return True
        if self._is_probing or self._clock.monotonic() < self._open_until:
            return False
        self._is_probing = True
        return True

    def can_probe(self) -> bool:
        """True when ``allow`` would let a call through (without taking the probe)."""
        return self._open_until is None or (not self._is_probing and self._clock.monotonic() >= self._open_until)

    def wait_s(self) -> float:
        """Seconds until a probe may go; 0 when closed."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock.monotonic())

    def success(self) -> bool:
        """Returns True when this closed an open breaker."""
        was_open = self._open_until is not None
        self._weight = 0.0
        self._open_until = None
        self._is_probing = False
        self._open_for_s = OPEN_FIRST_S
        self.reason = ""
        self.is_closed = True
        self.is_troubled = False
        return was_open

    def failure(self, reason: str, after_s: float | None = None, *, is_hard: bool = True) -> bool:
        """A call failed. ``after_s``: the system asked not to be tried sooner. Returns True when this opened the breaker."""
        self._weight += 1.0 if is_hard else SOFT_WEIGHT
        self.reason = reason
        self.is_troubled = True
        if self._open_until is not None:
            if self._is_probing:
                self._is_probing = False
                self._open_for_s = min(OPEN_LONGEST_S, self._open_for_s * 2)
                self._open_until = self._clock.monotonic() + max(self._open_for_s, after_s or 0.0)
            return False
        if self._weight < WEIGHT_TO_OPEN - 1e-9 and not after_s:
            return False
        self._open_until = self._clock.monotonic() + max(self._open_for_s, after_s or 0.0)
        self.is_closed = False
        return True

    def unknown(self) -> None:
        """A call ended without telling anything about the system (it was cancelled): a probe is given back."""
        self._is_probing = False
