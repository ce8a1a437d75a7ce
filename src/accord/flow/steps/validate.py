"""validate: the record satisfies its entity's contract, or the message becomes a dead letter with every fault.

As the first step of a flow it costs nothing: the message is then decoded by the full contract in one pass.
"""

from __future__ import annotations

import msgspec

from accord.flow.running import Asking, Frame
from accord.flow.step import RunStep, StepContext, StepKind
from accord.mapping.contract import compile_contract
from accord.record import name_of


class Validate(msgspec.Struct, frozen=True):
    validate: str


def compile_validate(spec: Validate, at: StepContext) -> RunStep | None:
    found = at.entity(spec.validate)
    if found is None:
        return None
    _, entity = found
    state = at.state
    if state.entity != entity.name:
        for name, field in entity.fields.items():
            known = state.fields.get(name)
            if (
                state.entity
                or (known is None and not field.nullable)
                or (known is not None and known.type != field.type)
            ):
                shown = f"a record of {state.entity}" if state.entity else _shape(known.type if known else None, name)
                at.fault(
                    "flow.wrong-record",
                    f"Here flows {shown}, and '{entity.name}' is asked for.",
                    "Validate the entity that flows here, or map to it first.",
                )
                return None
    contract = compile_contract(entity, at.parts.functions, at.faults)
    is_first = at.path == "0.validate" and not at.static_prefix and at.node.get("when") is None and at.policy is None
    state.entity, state.fields = entity.name, dict(entity.fields)
    if is_first and at.plan.source is not None and at.plan.source.name == entity.name:
        at.plan.is_validated = True
        return _nothing

    def run(frame: Frame) -> Asking:
        frame.record = contract.check(frame.record)
        yield from ()

    return run


def _shape(type_: object, name: str) -> str:
    return f"a record whose '{name}' is {name_of(type_)}" if type_ is not None else f"a record without '{name}'"  # type: ignore[arg-type]


def _nothing(frame: Frame) -> Asking:
    yield from ()


STEP = StepKind(
    key="validate", settings=Validate, compile=compile_validate, summary="The record satisfies its entity's contract."
)
