"""dedupe: a message whose id another message has already brought ends here quietly (idempotent receiver)."""

from __future__ import annotations

import msgspec

from accord.flow.commands import Mark
from accord.flow.running import Asking, Frame, StopFlow, ask, evaluate
from accord.flow.step import RunStep, StepContext, StepKind
from accord.settings.node import Node


class Dedupe(msgspec.Struct, frozen=True):
    dedupe: Node
    scope: str = ""


def compile_dedupe(spec: Dedupe, at: StepContext) -> RunStep | None:
    expression = at.expression(spec.dedupe)
    if expression is None:
        return None
    if expression.field.nullable:
        at.fault(
            "flow.nullable",
            f"'{spec.dedupe.value}' may be null, and all records without it would count as one.",
            "Use coalesce(…) to give them an id, or filter them before.",
        )
        return None
    scope, path = spec.scope or at.plan.flow, at.path

    def run(frame: Frame) -> Asking:
        value = yield from evaluate(expression, frame)
        is_new = yield from ask(frame, Mark(path=frame.prefix + path, scope=scope, id=str(value)))
        if is_new is not True:
            raise StopFlow(f"dedupe: '{scope}' has seen this id before")

    return run


STEP = StepKind(
    key="dedupe", settings=Dedupe, compile=compile_dedupe, summary="Ends messages whose id was seen before."
)
