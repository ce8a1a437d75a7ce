"""set: fields of the record get new values; all are computed from the record as it was before the step."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.objects import Maker, compile_value
from accord.flow.running import Asking, Frame, resolved
from accord.flow.step import RunStep, StepContext, StepKind
from accord.mapping.environment import Environment
from accord.record import Field
from accord.record.types import Json
from accord.settings.node import Node


class Set(msgspec.Struct, frozen=True):
    set: Node


def compile_set(spec: Set, at: StepContext) -> RunStep | None:
    if not spec.set.is_map or not any(True for _ in spec.set.items()):
        shown = "an empty mapping" if spec.set.is_map else spec.set.describe()
        mend = "Write set: {field: expression}."
        at.fault("flow.bad-set", f"'set' names fields and their expressions, and this is {shown}.", mend)
        return None
    makers: dict[str, Maker] = {}
    fields: dict[str, Field] = {}
    is_good = True
    for name, node in spec.set.items():
        if node.is_map or node.is_list:
            maker, field = compile_value(node, Field(type=Json()), at, name), Field(type=Json())
        else:
            expression = at.expression(node)
            maker = expression.evaluate if expression else None
            field = expression.field if expression else Field(type=Json(), nullable=True)
        fields[name] = field
        if maker is None:
            is_good = False
        else:
            makers[name] = maker
    at.change(fields)
    if not is_good:
        return None
    pairs = tuple(makers.items())

    def change(record: Any, names: dict[str, Any], environment: Environment) -> dict[str, Any]:
        changed = dict(record)
        problems: list[Problem] = []
        for name, maker in pairs:
            try:
                changed[name] = maker(record, names, environment)
            except RecordError as error:
                problems.extend(Problem(p.code, name, p.reason, p.value) for p in error.problems)
        if problems:
            raise RecordError(problems)
        return changed

    def run(frame: Frame) -> Asking:
        frame.record = yield from resolved(change, frame)

    return run


STEP = StepKind(key="set", settings=Set, compile=compile_set, summary="Fields of the record get new values.")
