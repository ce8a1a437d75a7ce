"""Dead letters by cause: the same flow, step, code and field, and a reason of the same shape. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable

import msgspec

from accord.engine.control_views import DeadLetterView

_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|#?\b[\w-]*\d[\w.-]*\b")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is the same for the same cause. ``reason``: of the first letter; ``seqs``: of all, in their order."""

    id: str
    flow: str
    step: str
    code: str
    path: str
    reason: str
    seqs: tuple[int, ...]
    first_at: dt.datetime
    last_at: dt.datetime


def shape_of(reason: str) -> str:
    """The reason without what differs from letter to letter: quoted values, numbers, names with digits."""
    return _VARIES.sub("…", reason)


def causes_of(letters: Iterable[DeadLetterView]) -> list[Cause]:
    """The largest first."""
    found: dict[str, list[DeadLetterView]] = {}
    for letter in letters:
        parts = (letter.flow, letter.step, letter.code, letter.path, shape_of(letter.reason))
        found.setdefault(hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16], []).append(letter)
    causes = [
        Cause(
            id=id_,
            flow=ones[0].flow,
            step=ones[0].step,
            code=ones[0].code,
            path=ones[0].path,
            reason=ones[0].reason,
            seqs=tuple(one.seq for one in ones),
            first_at=min(one.at for one in ones),
            last_at=max(one.at for one in ones),
        )
        for id_, ones in found.items()
    ]
    return sorted(causes, key=lambda cause: (-len(cause.seqs), cause.seqs))
