"""send: gives a message to a system that delivers it to people or machines (mail, chat)."""

from __future__ import annotations

import msgspec

from accord.flow.operations import compile_operation
from accord.flow.step import RunStep, StepContext, StepKind
from accord.settings.node import Node


class Send(msgspec.Struct, frozen=True):
    send: str
    with_: Node | None = None


def compile_send(spec: Send, at: StepContext) -> RunStep | None:
    return compile_operation(spec.send, spec.with_, at, "send")


STEP = StepKind(
    key="send", settings=Send, compile=compile_send, gives=True, is_effect=True, summary="Sends a mail or the like."
)
