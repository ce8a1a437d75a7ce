"""The gate before one system: breaker, pause (Retry-After), rate (token bucket) and concurrency, for all flows together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from accord.engine.breaker import Breaker
from accord.engine.clock import Clock
from accord.observe import Observer
from accord.observe.events import SystemSick, SystemThrottled, SystemWell
from accord.record import Done, Outcome, Partial, Reconnect, Retry
from accord.sdk.connector import RateLimit

PAUSE_IN_MEMORY_S_MAX = 1.0  # longer waits are held in the journal, where they cost no memory
ROUNDING = 1e-6  # tokens
SLEEP_S_MIN = 0.001  # shorter ones may not move a clock of large numbers at all
SHARE_MIN = 1 / 64  # of a declared rate: what an engine may use that owns next to nothing


class Slots:
    """A semaphore whose size may change while it is in use; who waits is served in turn."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if self._taken < self._size and not self._waiting:
            self._taken += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future  # whoever wakes it has taken the slot for it
        except BaseException:
            if not future.cancelled():
                self.release()
            with contextlib.suppress(ValueError):
                self._waiting.remove(future)
            raise

    def release(self) -> None:
        self._taken -= 1
        self._wake()

    def resize(self, size: int) -> None:
        """What is taken beyond a smaller size stays so until it is released."""
        self._size = size
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._taken < self._size:
            future = self._waiting.popleft()
            if not future.done():
                self._taken += 1
                future.set_result(None)


class Gate:
    """``is_open`` tells whether a message should try at all; ``enter`` waits for rate and concurrency; ``leave`` learns."""

    def __init__(self, system: str, limit: RateLimit, clock: Clock, observer: Observer) -> None:
        self.system = system
        self.breaker = Breaker(clock)
        self.is_paused = False  # by an operator
        self._clock = clock
        self._observer = observer
        self._limit = limit
        self._slots = Slots(limit.concurrent)
        self._share = 1.0
        self._paused_until = 0.0
        self._tokens = float(limit.requests or 0)
        self._filled_at = clock.monotonic()

    def set_share(self, fraction: float) -> None:
        """This engine may use so much (0 to 1) of the declared rate and concurrency, the others the rest; one request at least."""
        self._share = max(SHARE_MIN, fraction)
        self._slots.resize(max(1, int(self._limit.concurrent * fraction)))

    def pause_s(self) -> float:
        return max(0.0, self._paused_until - self._clock.monotonic())

    def may_try(self) -> bool:
        """False: put the message on hold instead of trying."""
        return not self.is_paused and self.breaker.can_probe() and self.pause_s() <= PAUSE_IN_MEMORY_S_MAX

    @property
    def why_not(self) -> str:
        """Why a message is put on hold."""
        return f"{self.system} is paused" if self.is_paused else f"{self.system} is not available"

    def wait_s(self) -> float:
        """Seconds until held messages may be released; 0 when now."""
        pause_s = self.pause_s()
        return max(self.breaker.wait_s(), pause_s if pause_s > PAUSE_IN_MEMORY_S_MAX else 0.0)

    def release_limit(self, limit: int) -> int:
        """How many held messages may be released now: one probe while the system is sick."""
        if self.is_paused or self.wait_s() > 0.0:
            return 0
        if self.breaker.is_closed:
            return limit
        return 1 if self.breaker.can_probe() else 0

    async def enter(self) -> bool:
        """Waits for a slot and a token. False (and nothing is held) when the system fell sick meanwhile; else call ``leave``."""
        await self._slots.acquire()
        try:
            if self._paused_until:
                await self._sleep_pause()
            if self._limit.requests is not None:
                await self._take_token(self._limit.requests * self._share)
            if not self.is_paused and self.breaker.allow():
                return True
        except BaseException:
            self._slots.release()
            raise
        self._slots.release()
        return False

    def leave(self, outcome: Outcome | None) -> None:
        """``outcome`` None: the call was cancelled."""
        self._slots.release()
        if outcome is None:
            self.breaker.unknown()
        elif isinstance(outcome, Partial):
            self._learn(worst(outcome))
        else:
            self._learn(outcome)

    def _learn(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retry) and outcome.throttled:
            self._pause(outcome.after_s if outcome.after_s is not None else 1.0)
            self.breaker.unknown()
        elif isinstance(outcome, Reconnect | Retry):
            is_hard = isinstance(outcome, Reconnect)
            if self.breaker.failure(outcome.reason, outcome.after_s if is_hard else None, is_hard=is_hard):
                self._observer.emit(
                    SystemSick(system=self.system, reason=outcome.reason, retry_in_s=self.breaker.wait_s())
                )
        elif self.breaker.success():
            self._observer.emit(SystemWell(system=self.system))

    def _pause(self, for_s: float) -> None:
        until = self._clock.monotonic() + for_s
        if until > self._paused_until:
            self._paused_until = until
            self._observer.emit(SystemThrottled(system=self.system, for_s=for_s))

    async def _sleep_pause(self) -> None:
        while (pause_s := self.pause_s()) > 0.0:
            await self._clock.sleep(pause_s)

    async def _take_token(self, requests: float) -> None:
        rate = requests / self._limit.per_s
        while True:
            now = self._clock.monotonic()
            self._tokens = min(max(1.0, requests), self._tokens + (now - self._filled_at) * rate)
            self._filled_at = now
            if self._tokens >= 1.0 - ROUNDING:
                self._tokens -= 1.0
                return
            await self._clock.sleep(max(SLEEP_S_MIN, (1.0 - self._tokens) / rate))


def worst(outcome: Partial) -> Outcome:
    """The outcome of a group that says most about the system itself."""
    for kind in (Reconnect, Retry):
        for one in outcome.outcomes:
            if isinstance(one, kind):
                return one
    return Done()
