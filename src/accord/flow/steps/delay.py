"""delay: the message waits; it costs no memory meanwhile and survives restarts.

Lengths count from the time the message was accepted, one after another: two delays of 1h end two hours after it.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.commands import Wait
from accord.flow.running import Asking, Frame, ask, evaluate
from accord.flow.step import RunStep, StepContext, StepKind
from accord.record import Field
from accord.record.types import DateTime
from accord.settings.decode import decode
from accord.settings.node import Node


class Delay(msgspec.Struct, frozen=True):
    delay: Node


class Until(msgspec.Struct, frozen=True):
    until: Node


def compile_delay(spec: Delay, at: StepContext) -> RunStep | None:
    if at.state.is_item:
        at.fault("flow.not-in-split", "'delay' cannot stand inside a split.", "Put it before or after the split.")
    if spec.delay.is_map:
        return _until(spec.delay, at)
    length = decode(spec.delay, dt.timedelta, at.faults, what="`delay`")
    if length is None:
        return None
    path = at.path

    def run(frame: Frame) -> Asking:
        frame.run.clock += length
        yield from ask(frame, Wait(path=frame.prefix + path, until=frame.run.clock))

    return run


def _until(node: Node, at: StepContext) -> RunStep | None:
    until = decode(node, Until, at.faults, what="`delay`")
    expression = at.expression(until.until, Field(type=DateTime(), nullable=True)) if until is not None else None
    if expression is None:
        return None
    path = at.path

    def run(frame: Frame) -> Asking:
        instant = yield from evaluate(expression, frame)
        if instant is None:
            raise RecordError([Problem("flow.null-time", "delay.until", "the time to wait for is null")])
        frame.run.clock = max(frame.run.clock, instant.astimezone(dt.UTC))
        yield from ask(frame, Wait(path=frame.prefix + path, until=instant.astimezone(dt.UTC)))

    return run


STEP = StepKind(key="delay", settings=Delay, compile=compile_delay, summary="The message waits.")
