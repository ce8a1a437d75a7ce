"""map: the record becomes a record of the mapping's target entity."""

from __future__ import annotations

import msgspec

from accord.flow.running import Asking, Frame, resolved
from accord.flow.step import RunStep, StepContext, StepKind


class Map(msgspec.Struct, frozen=True):
    map: str


def compile_map(spec: Map, at: StepContext) -> RunStep | None:
    mapping = at.mapping(spec.map, key="map")
    if mapping is None:
        at.state.is_unknown = True
        return None
    entity = mapping.target
    if at.is_conditional:
        at.fault(
            "flow.type-changes",
            "'map' makes the record another one, so it cannot be passed over ('when', 'then: continue').",
            "Put it into a branch of 'route' together with the steps that need its result.",
        )
    is_right = at.can_apply(mapping, key="map")
    at.plan.entities.add(entity.name)
    at.state.entity, at.state.fields = entity.name, dict(entity.fields)
    at.state.is_unknown = False
    if not is_right:
        return None

    def run(frame: Frame) -> Asking:
        frame.record = yield from resolved(mapping.apply, frame)

    return run


STEP = StepKind(key="map", settings=Map, compile=compile_map, summary="The record becomes the mapping's target.")
