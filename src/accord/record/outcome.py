"""What came of an attempt on a system: a closed set of values that instruct the engine."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It happened. ``result`` is what the system answered (JSON-like, decimals exact) or None; ``was_there`` says that the
    system had already done it before this attempt (idempotent repeat or look-up)."""

    result: Any = None
    was_there: bool = False


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """It failed this time; another attempt may succeed. Spends one attempt of the message unless ``throttled``.

    ``after_s``: wait at least so long (Retry-After); None leaves it to the policy. ``in_doubt``: the system may have done
    the work although we did not hear so. ``throttled``: the system asked everyone to slow down (429, cost bucket): the
    whole system pauses for ``after_s`` and no attempt is spent. ``timed_out``: no answer came in time, which may be overload.
    """

    reason: str
    after_s: float | None = None
    in_doubt: bool = False
    throttled: bool = False
    timed_out: bool = False


class Reconnect(msgspec.Struct, frozen=True, tag="reconnect"):
    """The system itself is not there (refused, unreachable, 502/503/504, closed session). Spends no attempt, trips the breaker."""

    reason: str
    after_s: float | None = None
    in_doubt: bool = False


class Reject(msgspec.Struct, frozen=True, tag="reject"):
    """The system refuses this record for good; repeating cannot help. ``path``: the field at fault if known."""

    reason: str
    path: str = ""
    code: str = "connector.rejected"


class End(msgspec.Struct, frozen=True, tag="end"):
    """Nothing more to come (a read is exhausted; a source has closed for good)."""


class Partial(msgspec.Struct, frozen=True, tag="partial"):
    """One outcome per record of the request, in the request's order. Never nested."""

    outcomes: tuple[Done | Retry | Reconnect | Reject, ...]


Outcome: TypeAlias = Done | Retry | Reconnect | Reject | End | Partial
