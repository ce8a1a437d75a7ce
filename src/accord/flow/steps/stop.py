"""stop: the message ends here quietly (in a split: the item), with the reason."""

from __future__ import annotations

import msgspec

from accord.flow.running import Asking, Frame, StopFlow
from accord.flow.step import RunStep, StepContext, StepKind


class Stop(msgspec.Struct, frozen=True):
    stop: str | None = None


def compile_stop(spec: Stop, at: StepContext) -> RunStep | None:
    reason = spec.stop or "stop"

    def run(frame: Frame) -> Asking:
        yield from ()
        raise StopFlow(reason)

    return run


STEP = StepKind(key="stop", settings=Stop, compile=compile_stop, ends=True, summary="The message ends here quietly.")
