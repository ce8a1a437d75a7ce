"""Error policies as they are written: ``on_error: {attempts: 8, first: 1s, factor: 2, longest: 10m, then: dead-letter}``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from accord.errors import Faults
from accord.flow.commands import ErrorPolicy
from accord.settings.decode import decode
from accord.settings.node import Node

ATTEMPTS_MAX = 1000


class PolicySpec(msgspec.Struct, frozen=True):
    """What may stand under ``on_error``; a key left out keeps the flow's value."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=ATTEMPTS_MAX)] | None = None
    first: dt.timedelta | None = None
    factor: Annotated[float, msgspec.Meta(ge=1)] | None = None
    longest: dt.timedelta | None = None
    then: Literal["dead-letter", "continue", "stop"] | None = None


def read_policy(node: Node, base: ErrorPolicy, faults: Faults, *, is_flow: bool) -> ErrorPolicy:
    """The policy of ``node`` over ``base``; ``base`` and faults for what cannot be read."""
    spec = decode(node, PolicySpec, faults, what="`on_error`")
    if spec is None:
        return base
    if is_flow and spec.then == "continue":
        faults.add(
            "flow.bad-policy",
            (node.get("then") or node).place,
            "'then: continue' stands at the flow, so every failing step would be passed over.",
            "Put it on the one step that may fail; at the flow use dead-letter or stop.",
        )
    policy = ErrorPolicy(
        attempts=spec.attempts or base.attempts,
        first_s=base.first_s if spec.first is None else spec.first.total_seconds(),
        factor=spec.factor or base.factor,
        longest_s=base.longest_s if spec.longest is None else spec.longest.total_seconds(),
        then=spec.then or base.then,
    )
    if policy.longest_s < policy.first_s:
        faults.add(
            "flow.bad-policy",
            node.place,
            f"In 'on_error' the longest wait ({policy.longest_s:g} s) is shorter than the first ({policy.first_s:g} s).",
            "Raise 'longest' or lower 'first'.",
        )
    return policy
