"""How an attempt at a message can end before its flow does, and what is kept of it."""

from __future__ import annotations

import datetime as dt

import msgspec

from accord.flow.commands import ErrorPolicy
from accord.flow.running import StepRejected
from accord.journal.operations import DeadLetter, State
from accord.record import Done, Reject
from accord.sdk.http import decode_json, encode_json

REASON_LENGTH_MAX = 1000
PROBLEMS_KEPT_MAX = 100
HELD_BY_OPERATOR = "~operator"  # no name of a system begins so
CANCEL_PATH = (
    "~cancel"  # the journaled wish to cancel a message and to undo what it did; survives a crash in the middle of it
)


CANCELLED_CODE = "flow.cancelled"


class Stop(msgspec.Struct, frozen=True):
    """An operator's word to a message: ``kind`` is pause or cancel."""

    kind: str
    reason: str = ""
    undo: bool = False


class Cancelled(Exception):
    """The message is to end; ``undo``: after taking back what it did."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop


def paused(reason: str) -> str:
    """What a paused message shows as its reason."""
    return f"paused: {reason}" if reason else "paused"


def cancelled(reason: str) -> str:
    """What a cancelled message keeps as its reason."""
    return f"cancelled: {reason}" if reason else "cancelled"


class Parked(Exception):
    """The message has to wait: until ``due``, or until system ``held_by`` is well."""

    def __init__(self, state: State, *, due: dt.datetime | None = None, held_by: str = "", reason: str = "") -> None:
        self.state = state
        self.due = due
        self.held_by = held_by
        self.reason = reason


class GivenUp(Exception):
    """The effect at ``path`` is refused for good; ``then`` is the policy's word on the message."""

    def __init__(self, path: str, reject: Reject, then: str) -> None:
        self.path = path
        self.reject = reject
        self.then = then


def dead_letter_of(end: GivenUp | StepRejected) -> DeadLetter:
    if isinstance(end, GivenUp):
        reject = end.reject
        return DeadLetter(step=end.path, code=reject.code, reason=reject.reason[:REASON_LENGTH_MAX], path=reject.path)
    first = end.problems[0] if end.problems else None
    return DeadLetter(
        step=end.step,
        code=first.code if first else end.code,
        reason=str(end)[:REASON_LENGTH_MAX],
        path=first.path if first else "",
        details=encode_json(end.problems[:PROBLEMS_KEPT_MAX]),
    )


def shown(end: GivenUp | StepRejected) -> str:
    return f"{end.path}: {end.reject.reason}" if isinstance(end, GivenUp) else str(end)


def decode_result(raw: bytes) -> Done | Reject:
    """A stored result; numbers stay exact."""
    tagged = decode_json(raw)
    if tagged["type"] == "done":
        return Done(tagged.get("result"), tagged.get("was_there", False))
    return Reject(tagged["reason"], tagged.get("path", ""), tagged.get("code", "connector.rejected"))


def backoff_s(policy: ErrorPolicy, attempt: int, chance: float) -> float:
    """Exponential back-off with full jitter: ``chance`` in [0, 1) of min(longest, first * factor ** (attempt - 1))."""
    exponent = min(attempt - 1, 64)
    return float(chance * min(policy.longest_s, policy.first_s * policy.factor**exponent))
