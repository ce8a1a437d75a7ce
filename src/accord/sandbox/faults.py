"""What goes wrong on purpose: one board per system, set by its owner, drawn from the system's own seeded dice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class FaultRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked for. Every named fault starts now and ends after ``for_s`` seconds (0: until cleared)."""

    clear: bool = False
    down: bool = False  # connections are refused
    unavailable: bool = False  # answered with 503 (SMTP 421)
    slow_s: Seconds | None = None  # every answer waits this long
    rate_limit_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None  # above it: 429 (SMTP 451)
    lose_answers: Share | None = None  # the work is done, the connection is cut
    error: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None  # this status, nothing is done
    share: Share = 1.0  # of the requests that get ``error``
    duplicate_webhooks: bool = False  # every webhook is delivered twice
    reorder_webhooks: bool = False  # webhooks wait a random time, so later ones overtake
    for_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0


KINDS = (
    "down",
    "unavailable",
    "slow_s",
    "rate_limit_per_s",
    "lose_answers",
    "error",
    "duplicate_webhooks",
    "reorder_webhooks",
)


class UnsupportedFaultError(ValueError):
    """This kind of system cannot have this fault; the message names those it can."""


class Bucket:
    """Token bucket: ``rate`` tokens a second, at most one second's worth saved (at least one)."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate, self.clock = rate, clock
        self.size = max(1.0, rate)
        self.tokens, self.at = self.size, clock()

    def take(self) -> float:
        """0 when a token was taken, otherwise the seconds until one is there."""
        now = self.clock()
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


class FaultBoard:
    """The faults in force. Reading a fault that has ended gives its neutral value; ``version`` counts changes."""

    def __init__(
        self, seed: int, supported: tuple[str, ...] = KINDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.supported = supported
        self.clock = clock
        self.dice = random.Random(seed)
        self.version = 0
        self._set: dict[str, tuple[float, float]] = {}  # kind -> (value, end)
        self._share = 1.0
        self._bucket: Bucket | None = None

    def apply(self, request: FaultRequest) -> None:
        """Sets what the request names; raises UnsupportedFaultError and sets nothing when one is not possible here."""
        wanted = {k: float(getattr(request, k)) for k in KINDS if getattr(request, k) not in (None, False)}
        refused = sorted(set(wanted) - set(self.supported))
        if refused:
            raise UnsupportedFaultError(
                f"This system cannot be {', '.join(refused)}; it can: {', '.join(self.supported)}."
            )
        if request.clear:
            self._set.clear()
        end = self.clock() + request.for_s if request.for_s else float("inf")
        for kind, value in wanted.items():
            self._set[kind] = (value, end)
        if "error" in wanted:
            self._share = request.share
        if "rate_limit_per_s" in wanted:
            self._bucket = Bucket(wanted["rate_limit_per_s"], self.clock)
        self.version += 1

    def value(self, kind: str) -> float:
        """The fault's value, 0 when it is not in force."""
        entry = self._set.get(kind)
        if entry is None:
            return 0.0
        if entry[1] <= self.clock():
            del self._set[kind]
            return 0.0
        return entry[0]

    def is_on(self, kind: str) -> bool:
        return self.value(kind) != 0.0

    def seconds_left(self, kind: str) -> float:
        """Until the fault ends; 0 when it is not in force, infinite when it must be cleared."""
        return self._set[kind][1] - self.clock() if self.is_on(kind) else 0.0

    def drawn_error(self) -> int:
        """The status of this request's planned error, or 0."""
        status = int(self.value("error"))
        return status if status and self.dice.random() < self._share else 0

    def is_answer_lost(self) -> bool:
        return self.dice.random() < self.value("lose_answers") if "lose_answers" in self._set else False

    def limited_for_s(self) -> float:
        """0 when the request may pass, otherwise the seconds to wait before the next."""
        if not self.is_on("rate_limit_per_s") or self._bucket is None:
            return 0.0
        return self._bucket.take()

    def in_force(self) -> dict[str, float]:
        return {kind: self.value(kind) for kind in KINDS if self.is_on(kind)}
