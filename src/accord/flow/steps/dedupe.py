"""dedupe: a message whose id another message has already brought ends here quietly (idempotent receiver).

With ``newest`` it ends only if that other message was as new or newer: late ones never overwrite what came after them.
"""

from __future__ import annotations

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.commands import Mark
from accord.flow.running import Asking, Frame, StopFlow, ask, evaluate
from accord.flow.step import RunStep, StepContext, StepKind
from accord.flow.versions import TYPES, Version, version_text
from accord.mapping.expression import Expression
from accord.settings.node import Node


class Dedupe(msgspec.Struct, frozen=True):
    dedupe: Node
    newest: Node | None = None
    scope: str = ""


def compile_dedupe(spec: Dedupe, at: StepContext) -> RunStep | None:
    expression = at.expression(spec.dedupe)
    newest = _newest(spec.newest, at) if spec.newest is not None else None
    if expression is None or (newest is None and spec.newest is not None):
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
        version = "" if newest is None else _text((yield from evaluate(newest, frame)))
        is_new = yield from ask(frame, Mark(path=frame.prefix + path, scope=scope, id=str(value), version=version))
        if is_new is True:
            return
        if newest is not None:
            raise StopFlow(f"dedupe: older than what was already processed in '{scope}', or the same version")
        raise StopFlow(f"dedupe: '{scope}' has seen this id before")

    return run


def _newest(node: Node, at: StepContext) -> Expression | None:
    """The expression of the version; faults when its values have no order of time or may be missing."""
    expression = at.expression(node, what="the version")
    if expression is None:
        return None
    if not isinstance(expression.field.type, TYPES):
        at.fault(
            "flow.bad-version",
            f"'newest' compares datetimes, dates, integers or strings, and '{node.value}' is none of them.",
            "Name the field that grows with every change, like updated_at or a version number.",
            key="newest",
        )
        return None
    if expression.field.nullable:
        at.fault(
            "flow.nullable",
            f"'{node.value}' may be null, and then nothing says whether the record is newer.",
            "Use coalesce(…) to give it a value, or filter such records before.",
            key="newest",
        )
        return None
    return expression


def _text(value: Version) -> str:
    try:
        return version_text(value)
    except ValueError as error:
        raise RecordError([Problem("flow.bad-version", "dedupe.newest", str(error))]) from error


STEP = StepKind(
    key="dedupe", settings=Dedupe, compile=compile_dedupe, summary="Ends messages whose id was seen before."
)
