"""The gate before one system: breaker, pause (Retry-After), rate (token bucket) and concurrency, for all flows together.

Who finds everything free enters without waiting (``enter_now``). Who does not waits in one fair queue, by weight of its lane
(``fair``), until a place is free and rate and pause let it. How many places there are the limiter finds out (``limiter``).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Callable, Mapping

import msgspec

from accord.engine.breaker import Breaker
from accord.engine.clock import Clock
from accord.engine.fair import FairQueue, Lane
from accord.engine.ledger import BudgetView, Ledger
from accord.engine.limiter import FixedLimit, GradientLimit, Limiter
from accord.engine.probe import Troubles
from accord.observe import Observer
from accord.observe.events import SystemBudgetUsedUp, SystemConcurrency, SystemSick, SystemThrottled, SystemWell
from accord.record import Done, End, Outcome, Partial, Reconnect, Reject, Retry
from accord.sdk.budget import Budget
from accord.sdk.connector import RateLimit

BUDGET_LOOK_S_MAX = 5.0  # others take from it too, and their answers tell of it
PAUSE_IN_MEMORY_S_MAX = 1.0  # longer waits are held in the journal, where they cost no memory
ROUNDING = 1e-6  # tokens
SHARE_MIN = 1 / 64  # of a declared rate: what an engine may use that owns next to nothing
SLEEP_S_MIN = 0.001  # shorter ones may not move a clock of large numbers at all
ANY_LANE = Lane("")
_OUTCOMES: Mapping[type, str] = {
    Done: "done",
    Retry: "retry",
    Reject: "reject",
    Reconnect: "reconnect",
    Partial: "partial",
    End: "end",
    type(None): "cancelled",
}


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """A gate as an operator sees it; times in seconds. ``throttled_since``: when the present pause was asked for."""

    concurrency_limit: int
    concurrency_max: int
    in_flight: int
    waiting: int
    pause_s: float
    throttled_since: dt.datetime | None
    budgets: list[BudgetView]


class Gate:
    """``may_try`` tells whether a message should try at all; ``enter_now`` or ``enter`` before the call, ``leave`` after it."""

    def __init__(
        self,
        system: str,
        limit: RateLimit,
        clock: Clock,
        observer: Observer,
        is_late: Callable[[], bool] = bool,
    ) -> None:
        self.system = system
        self.breaker = Breaker(clock)
        self._is_paused = False
        self.limiter: Limiter = (
            GradientLimit(limit.concurrent, is_late) if limit.adaptive else FixedLimit(limit.concurrent)
        )
        self._clock = clock
        self.now_s = clock.monotonic
        self._observer = observer
        self._limit = limit
        self._share = 1.0
        self._in_flight = 0
        self._waiting: FairQueue[asyncio.Future[bool]] = FairQueue()
        self._queued = self._waiting.waiting
        self._timer: asyncio.Task[None] | None = None
        self._is_guarded = limit.requests is not None  # something besides breaker and concurrency must be asked
        self._paused_until = 0.0
        self._ledger = Ledger()
        self._used_up_until = 0.0
        self._throttled_since: dt.datetime | None = None
        self._tokens = float(limit.requests or 0)
        self._filled_at = clock.monotonic()
        self._told_limit = limit.concurrent
        self.metrics = observer.metrics.system(system)
        self.troubles = Troubles()

    def set_share(self, fraction: float) -> None:
        """This engine may use so much (0 to 1) of the declared rate and concurrency, the others the rest; one request at least."""
        self._share = self._ledger.share = max(SHARE_MIN, fraction)
        self.limiter.set_max(max(1, int(self._limit.concurrent * fraction)))
        self._admit()

    @property
    def is_paused(self) -> bool:
        """By an operator."""
        return self._is_paused

    @is_paused.setter
    def is_paused(self, value: bool) -> None:
        self._is_paused = value
        self._is_guarded = True
        self._admit()

    def told(self, budget: Budget) -> None:
        """The system said, in an answer that is under way here, how much it still takes."""
        self._ledger.told(budget, self._in_flight, self.now_s())
        if not self._is_guarded and self._ledger.is_tight(self._limit.concurrent):
            self._is_guarded = True

    def budget_wait_s(self, lane: Lane) -> float:
        """Seconds until what the system told it takes has room for a request of this lane."""
        return self._ledger.wait_s(lane, self._in_flight, self.now_s())

    async def budget_waited(self, lane: Lane) -> bool:
        """Waits for room in the budget, or a while. False at once when that is not what is missing."""
        wait_s = self.budget_wait_s(lane)
        if not wait_s or self.is_paused or self.pause_s() or not self.breaker.is_closed:
            return False
        await self._clock.sleep(min(wait_s, BUDGET_LOOK_S_MAX))
        return True

    def _hold_s(self) -> float:
        """Seconds that are too long to wait in memory, by a pause or a budget; else 0."""
        wait_s = max(self.pause_s(), self.budget_wait_s(ANY_LANE))
        return wait_s if wait_s > PAUSE_IN_MEMORY_S_MAX else 0.0

    def pause_s(self) -> float:
        return max(0.0, self._paused_until - self._clock.monotonic())

    def may_try(self) -> bool:
        """False: put the message on hold instead of trying."""
        if not self._is_guarded and self.breaker.is_closed:
            return True
        return not self._is_paused and self.breaker.can_probe() and self._hold_s() == 0.0

    @property
    def why_not(self) -> str:
        """Why a message is put on hold."""
        return f"{self.system} is paused" if self.is_paused else f"{self.system} is not available"

    def wait_s(self) -> float:
        """Seconds until held messages may be released; 0 when now."""
        return max(self.breaker.wait_s(), self._hold_s())

    def release_limit(self, limit: int) -> int:
        """How many held messages may be released now: one probe while the system is sick."""
        if self.is_paused or self.wait_s() > 0.0:
            return 0
        if self.breaker.is_closed:
            return int(min(limit, self._ledger.requests_left(self.now_s()) + self._limit.concurrent))
        return 1 if self.breaker.can_probe() else 0

    def view(self) -> GateView:
        pause_s = self.pause_s()
        return GateView(
            concurrency_limit=self.limiter.limit,
            concurrency_max=self._limit.concurrent,
            in_flight=self._in_flight,
            waiting=len(self._waiting),
            pause_s=round(pause_s, 3),
            throttled_since=self._throttled_since if pause_s else None,
            budgets=self._ledger.view(self.now_s()),
        )

    def enter_now(self) -> bool:
        """True when the call may go at once: then call ``leave``. False: ``enter`` tells whether and when."""
        in_flight = self._in_flight
        if in_flight < self.limiter.limit and self.breaker.is_closed and not self._is_guarded and not self._queued:
            self._in_flight = in_flight + 1
            return True
        return False

    async def enter(self, lane: Lane = ANY_LANE) -> bool:
        """Waits for its turn. False (and nothing is held) when the system may not be tried now; else call ``leave``."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.push(lane, future)
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                self.leave(None)
            raise

    def leave(self, outcome: Outcome | None, began_s: float | None = None) -> None:
        """``outcome`` None: the call was cancelled. ``began_s``: when it went, if its latency tells something about the system."""
        self.metrics.requests[_OUTCOMES.get(type(outcome), "other")] += 1
        limiter = self.limiter
        limit = limiter.limit
        in_flight = self._in_flight
        self._in_flight = in_flight - 1
        if type(outcome) is not Done or self.breaker.is_troubled:
            self._learn(outcome, began_s)
        elif began_s is not None:
            limiter.answered(began_s, self.now_s(), in_flight)
        if limiter.limit != limit:
            self._tell_limit()
        if self._queued:
            self._admit()

    def _learn(self, outcome: Outcome | None, began_s: float | None) -> None:
        if isinstance(outcome, Partial):
            outcome = worst(outcome)
        if isinstance(outcome, Retry | Reconnect | Reject):
            self.troubles.add(outcome)
        if outcome is None:
            self.breaker.unknown()
        elif isinstance(outcome, Reconnect | Retry):
            self._learn_failure(outcome, began_s)
        elif self.breaker.success():
            self.limiter.restart()
            self._observer.emit(SystemWell(system=self.system))

    def _learn_failure(self, outcome: Reconnect | Retry, began_s: float | None) -> None:
        is_hard = isinstance(outcome, Reconnect)
        if isinstance(outcome, Retry) and outcome.throttled:
            self._pause(outcome.after_s if outcome.after_s is not None else 1.0)
            self.breaker.unknown()
        elif self.breaker.failure(outcome.reason, outcome.after_s if is_hard else None, is_hard=is_hard):
            self._observer.emit(SystemSick(system=self.system, reason=outcome.reason, retry_in_s=self.breaker.wait_s()))
        if isinstance(outcome, Reconnect) or outcome.throttled or outcome.timed_out:
            now_s = self._clock.monotonic()
            self.limiter.overloaded(now_s if began_s is None else began_s, now_s)

    def _tell_limit(self) -> None:
        limit = self.limiter.limit
        if self.limiter.is_starting or self._told_limit < limit * 2 <= self._told_limit * 4:
            return
        self._observer.emit(SystemConcurrency(system=self.system, limit=limit, was=self._told_limit))
        self._told_limit = limit

    def _pause(self, for_s: float) -> None:
        until = self._clock.monotonic() + for_s
        if until > self._paused_until:
            if not self.pause_s():
                self._throttled_since = self._clock.now()
            self._paused_until = until
            self._is_guarded = True
            self._observer.emit(SystemThrottled(system=self.system, for_s=for_s))

    def _admit(self) -> None:
        """Lets in who may come in now, and tells those who must not wait that they must not."""
        while self._queued and self._in_flight < self.limiter.limit:
            lane, future = self._waiting.peek()
            if not future.done() and self._is_guarded and self.breaker.can_probe():
                wait_s = self._guard_s(lane)
                if wait_s == math.inf:
                    self._waiting.pop().set_result(False)
                    continue
                if wait_s > 0.0:
                    self._admit_in(wait_s)
                    return
            self._waiting.pop()
            if future.done():
                continue  # cancelled while it waited
            is_let_in = self.breaker.allow()
            if is_let_in:
                self._in_flight += 1
                self._tokens -= 1.0
                self._ledger.take()
            future.set_result(is_let_in)

    def _admit_in(self, wait_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().create_task(self._admit_after(wait_s))

    async def _admit_after(self, wait_s: float) -> None:
        await self._clock.sleep(max(SLEEP_S_MIN, wait_s))
        self._timer = None
        self._admit()

    def _guard_s(self, lane: Lane) -> float:
        """Seconds until pause, budgets and declared rate let another request go; infinite when that is too long to wait here."""
        if self._is_paused:
            return math.inf
        pause_s = self.pause_s()
        budget_s = self.budget_wait_s(lane)
        if max(pause_s, budget_s) > PAUSE_IN_MEMORY_S_MAX:
            if budget_s > PAUSE_IN_MEMORY_S_MAX:
                self._tell_used_up(lane, budget_s)
            return math.inf
        rate_s = self._rate_s() if self._limit.requests is not None else 0.0
        if self._limit.requests is None and not pause_s and not self._ledger.is_tight(self._limit.concurrent):
            self._is_guarded = False
        return max(pause_s, budget_s, rate_s)

    def _tell_used_up(self, lane: Lane, for_s: float) -> None:
        if not lane.is_backfill and self.now_s() >= self._used_up_until:
            self._used_up_until = self.now_s() + for_s
            self._observer.emit(SystemBudgetUsedUp(system=self.system, for_s=round(for_s, 1)))

    def _rate_s(self) -> float:
        """Seconds until the declared rate lets another request go."""
        assert self._limit.requests is not None
        burst = max(1.0, self._limit.requests * self._share)
        rate = self._limit.requests * self._share / self._limit.per_s
        now = self._clock.monotonic()
        self._tokens = min(burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        return 0.0 if self._tokens >= 1.0 - ROUNDING else (1.0 - self._tokens) / rate


def worst(outcome: Partial) -> Outcome:
    """The outcome of a group that says most about the system itself."""
    for kind in (Reconnect, Retry):
        for one in outcome.outcomes:
            if isinstance(one, kind):
                return one
    return Done()
