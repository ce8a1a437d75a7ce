"""call: runs an operation of a system."""

from __future__ import annotations

import msgspec

from accord.flow.operations import compile_operation
from accord.flow.step import RunStep, StepContext, StepKind
from accord.settings.node import Node


class CallSpec(msgspec.Struct, frozen=True):
    call: str
    with_: Node | None = None


def compile_call(spec: CallSpec, at: StepContext) -> RunStep | None:
    return compile_operation(spec.call, spec.with_, at, "call")


STEP = StepKind(
    key="call",
    settings=CallSpec,
    compile=compile_call,
    gives=True,
    is_effect=True,
    summary="Runs an operation of a system.",
)
