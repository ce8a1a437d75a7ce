"""log: a line in the log, for people. Personal data does not get there."""

from __future__ import annotations

from typing import Literal

import msgspec

from accord.flow.commands import Note
from accord.flow.running import Asking, Frame, ask, evaluate
from accord.flow.step import RunStep, StepContext, StepKind
from accord.settings.node import Node

MASK = "***"


class Log(msgspec.Struct, frozen=True):
    log: Node
    level: Literal["debug", "info", "warning", "error"] = "info"


def compile_log(spec: Log, at: StepContext) -> RunStep | None:
    expression = at.expression(spec.log)
    if expression is None:
        return None
    is_personal = bool(expression.field.personal)
    if is_personal:
        at.warn(
            "flow.personal-log",
            "The line would hold personal data, so it shows masked.",
            "Log keys and states instead, or hash the value.",
        )
    path, level = at.path, spec.level

    def run(frame: Frame) -> Asking:
        value = yield from evaluate(expression, frame)
        text = MASK if is_personal else str(value)
        yield from ask(frame, Note(path=frame.prefix + path, level=level, text=text))

    return run


STEP = StepKind(key="log", settings=Log, compile=compile_log, summary="A line in the log.")
