"""filter: a message for which the expression is not true ends here quietly (in a split: the item)."""

from __future__ import annotations

import msgspec

from accord.flow.running import Asking, Frame, StopFlow, evaluate
from accord.flow.step import RunStep, StepContext, StepKind
from accord.record import Field
from accord.record.types import Boolean
from accord.settings.node import Node


class Filter(msgspec.Struct, frozen=True):
    filter: Node
    reason: str = ""


def compile_filter(spec: Filter, at: StepContext) -> RunStep | None:
    expression = at.expression(spec.filter, Field(type=Boolean(), nullable=True))
    if expression is None:
        return None
    reason = spec.reason or f"filter: {spec.filter.value}"

    def run(frame: Frame) -> Asking:
        if (yield from evaluate(expression, frame)) is not True:
            raise StopFlow(reason)

    return run


STEP = StepKind(
    key="filter", settings=Filter, compile=compile_filter, summary="Goes on only where the expression is true."
)
