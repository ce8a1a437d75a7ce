"""Whether one more webhook of a system is taken: each system has bounds of its own, so a flood of one pushes out no other.

The bound on the backlog is on what is open on disk: acceptance outruns delivery, and what a slow target leaves behind belongs there.
It is generous, since a sender that is refused for long gives up; it keeps one source from filling the disk of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from accord.engine.answer import RETRY_AFTER, Answer, problem
from accord.engine.clock import Clock
from accord.engine.dispatch import FlowQueue
from accord.observe import Observer
from accord.observe.events import BacklogFull

BACKLOG_RETRY_AFTER_S = 30  # a backlog shrinks in minutes, not in seconds
SHARE_OF_REQUESTS = 0.75  # of all requests at once, for one of several systems
TELL_EVERY_S = 60.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """``body_size_bytes_max``: larger requests get 413. ``requests_max``: more at once get 503. For each system, more than these get
    429: ``requests_per_system_max`` at once (None: three quarters of all where several systems send webhooks), ``rate_per_s`` (None:
    unbounded), ``backlog_max`` open messages of the flows that its webhooks start."""

    body_size_bytes_max: int = 5_000_000
    requests_max: int = 2_000
    requests_per_system_max: int | None = None
    rate_per_s: float | None = None
    backlog_max: int = 5_000_000


class SystemBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one system file says otherwise; None: as for all."""

    rate_per_s: float | None = None
    backlog_max: int | None = None


class Source:
    """One system's webhooks. ``requests``: those being answered now, counted by the intake."""

    def __init__(
        self,
        system: str,
        bounds: Bounds,
        own: SystemBounds,
        queues: Sequence[FlowQueue],
        requests_max: int,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self.requests = 0
        self._system = system
        self._requests_max = requests_max
        self._rate_per_s = own.rate_per_s or bounds.rate_per_s
        self._backlog_max = own.backlog_max or bounds.backlog_max
        self._queues = queues
        self._observer = observer
        self._clock = clock
        self._tokens = self._rate_per_s or 0.0
        self._filled_at_s = clock.monotonic()
        self._told_at_s = float("-inf")

    @property
    def backlog(self) -> int:
        count = 0
        for queue in self._queues:
            count += queue.open_count
        return count

    def refusal(self) -> Answer | None:
        """The answer when no more of it is taken now."""
        if self._rate_per_s is not None and not self._is_within_rate(self._rate_per_s):
            return problem(429, "intake.rate", "too many webhooks from this system", RETRY_AFTER)
        if self.requests >= self._requests_max:
            return problem(429, "intake.requests", "too many webhooks from this system at once", RETRY_AFTER)
        return self._backlog_full() if self.backlog >= self._backlog_max else None

    def _backlog_full(self) -> Answer:
        now_s = self._clock.monotonic()
        if now_s - self._told_at_s >= TELL_EVERY_S:
            self._told_at_s = now_s
            self._observer.emit(BacklogFull(system=self._system, open=self.backlog, backlog_max=self._backlog_max))
        retry_after = ((b"retry-after", str(BACKLOG_RETRY_AFTER_S).encode()),)
        return problem(429, "intake.backlog", "too many messages from this system wait already", retry_after)

    def _is_within_rate(self, rate_per_s: float) -> bool:
        now_s = self._clock.monotonic()
        self._tokens = min(max(1.0, rate_per_s), self._tokens + (now_s - self._filled_at_s) * rate_per_s)
        self._filled_at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def sources_of(
    bounds: Bounds,
    own: Mapping[str, SystemBounds],
    systems: Sequence[str],
    hooks: Mapping[str, Sequence[FlowQueue]],
    observer: Observer,
    clock: Clock,
) -> dict[str, Source]:
    """``hooks``: the queues of the flows that each system's webhooks start."""
    requests_max = bounds.requests_per_system_max
    if requests_max is None:
        is_shared = sum(1 for system in systems if hooks.get(system)) > 1
        requests_max = max(1, int(bounds.requests_max * SHARE_OF_REQUESTS)) if is_shared else bounds.requests_max
    return {
        system: Source(
            system, bounds, own.get(system, SystemBounds()), hooks.get(system, ()), requests_max, observer, clock
        )
        for system in systems
    }
