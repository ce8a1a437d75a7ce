"""How an attempt at a message can end before its flow does, and what is kept of it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence

import msgspec

from accord.flow.commands import ErrorPolicy
from accord.flow.effects import EffectInfo
from accord.flow.running import StepRejected
from accord.journal.operations import DeadLetter, State
from accord.record import Done, Reject
from accord.sdk.http import decode_json, encode_json

REASON_LENGTH_MAX = 1000
_INDEX = re.compile(r"\[[^]]*\]")
PROBLEMS_KEPT_MAX = 100
HELD_BY_OPERATOR = "~operator"  # no name of a system begins so
UNDONE = "undone/"  # + generation: everything of it was taken back
GIVE_UP_PATH = "undo"  # the stored reason why a flow is being undone; survives a crash in the middle of undoing
CANCEL_PATH = (
    "~cancel"  # the journaled wish to cancel a message and to undo what it did; survives a crash in the middle of it
)


VERSION_PATH = "~version"  # the Stamp of a message that has begun
CANCELLED_CODE = "flow.cancelled"


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True):
    """The version of its flow a message began with. ``is_settled``: it is dead; replayed, it begins on today's version. ``done``: then,
    the effects recorded for it, by path, with their target and mode."""

    version: str
    is_settled: bool = False
    done: dict[str, str] = {}


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


def generation_of(results: Iterable[str]) -> tuple[int, str]:
    """How often everything was taken back, and what the paths of results since then begin with."""
    generation = sum(path.startswith(UNDONE) for path in results)
    return generation, f"~{generation}/" if generation else ""


def done_paths(results: Iterable[str]) -> list[str]:
    """Effects recorded since everything was last taken back, without the generation's prefix."""
    prefix = generation_of(results)[1]
    mine = (path for path in results if path.startswith(prefix) and (prefix or path[:1] != "~"))
    return [path for each in mine if (path := each[len(prefix) :]) != GIVE_UP_PATH]


def targets_of(paths: Iterable[str], effects: Sequence[EffectInfo]) -> dict[str, str]:
    """By path of an effect of a message: its target and mode; '?' for what the flow does not declare (an undo)."""
    targets = {effect.path: f"{effect.target} {effect.mode}" for effect in effects}
    return {path: targets.get(_INDEX.sub("[]", path), "?") for path in paths}


def backoff_s(policy: ErrorPolicy, attempt: int, chance: float) -> float:
    """Exponential back-off with full jitter: ``chance`` in [0, 1) of min(longest, first * factor ** (attempt - 1))."""
    exponent = min(attempt - 1, 64)
    return float(chance * min(policy.longest_s, policy.first_s * policy.factor**exponent))
