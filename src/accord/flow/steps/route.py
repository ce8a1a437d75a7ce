"""route: the first branch whose condition is true runs. What a branch changes stays in it."""

from __future__ import annotations

import msgspec

from accord.flow.running import Asking, Frame, Step, evaluate, run_steps
from accord.flow.step import RunStep, StepContext, StepKind
from accord.mapping.expression import Expression
from accord.record import Field
from accord.record.types import Boolean
from accord.settings.decode import decode
from accord.settings.node import Node


class Route(msgspec.Struct, frozen=True):
    route: Node


class When(msgspec.Struct, frozen=True):
    when: Node
    steps: Node


class Otherwise(msgspec.Struct, frozen=True):
    otherwise: Node


class Branch(msgspec.Struct, frozen=True):
    condition: Expression | None
    prefix: str
    steps: tuple[Step, ...]


def compile_route(spec: Route, at: StepContext) -> RunStep | None:
    nodes = spec.route.elements()
    if not nodes:
        at.fault(
            "flow.bad-route",
            f"'route' is a list of branches, and this is {spec.route.describe()}.",
            "Write - when: <expression> with steps: under it, and - otherwise: with its steps.",
        )
        return None
    branches = tuple(b for b in (_branch(node, i, len(nodes), at) for i, node in enumerate(nodes)) if b is not None)

    def run(frame: Frame) -> Asking:
        for branch in branches:
            if branch.condition is None or (yield from evaluate(branch.condition, frame)) is True:
                yield from run_steps(branch.steps, frame.child(frame.prefix + branch.prefix))
                return

    return run


def _branch(node: Node, index: int, count: int, at: StepContext) -> Branch | None:
    prefix = f"{at.path}[{index}]."
    if node.get("otherwise") is not None:
        otherwise = decode(node, Otherwise, at.faults, what="this branch")
        if index < count - 1:
            at.faults.add(
                "flow.unreachable",
                node.place,
                "'otherwise' takes everything, so the branches after it never run.",
                "Move it to the end.",
            )
        if otherwise is None:
            return None
        return Branch(None, prefix, at.body(otherwise.otherwise, at.state.copy(), f"[{index}]"))
    when = decode(node, When, at.faults, what="this branch")
    if when is None:
        return None
    condition = at.expression(when.when, Field(type=Boolean(), nullable=True))
    steps = at.body(when.steps, at.state.copy(), f"[{index}]")
    return Branch(condition, prefix, steps) if condition is not None else None


STEP = StepKind(key="route", settings=Route, compile=compile_route, summary="The first branch that fits runs.")
