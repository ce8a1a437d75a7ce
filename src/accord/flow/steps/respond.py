"""respond: the caller who waits (of a webhook) gets an answer the flow computed."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from accord.flow.commands import Respond
from accord.flow.objects import Maker, compile_value
from accord.flow.running import Asking, Frame, ask, resolved
from accord.flow.step import RunStep, StepContext, StepKind
from accord.flow.trigger import ManualTrigger, WebhookTrigger
from accord.record import Field
from accord.record.types import Json, String
from accord.sdk.http import encode_json
from accord.settings.decode import decode
from accord.settings.node import Node

JSON_TYPE = "application/json"


class RespondSpec(msgspec.Struct, frozen=True):
    respond: Node


class Answer(msgspec.Struct, frozen=True):
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    body: Node | None = None
    mapping: str = ""
    content_type: str = JSON_TYPE


def compile_respond(spec: RespondSpec, at: StepContext) -> RunStep | None:
    at.plan.has_respond = True
    if not any(isinstance(t, WebhookTrigger | ManualTrigger) for t in at.plan.triggers):
        at.fault(
            "flow.nobody-waits",
            "'respond' answers a caller, and this flow has no webhook or manual trigger.",
            "Remove the step, or add such a trigger.",
        )
    if at.state.is_item:
        at.fault("flow.not-in-split", "'respond' cannot stand inside a split.", "Gather the items, then answer once.")
    answer = decode(spec.respond, Answer, at.faults, what="`respond`")
    maker = _maker(answer, at) if answer is not None else None
    if answer is None or maker is None:
        return None
    is_json = answer.content_type == JSON_TYPE or answer.content_type.endswith("+json")
    has_body = bool(answer.body is not None or answer.mapping)
    path, status, content_type = at.path, answer.status, answer.content_type

    def run(frame: Frame) -> Asking:
        value: Any = yield from resolved(maker, frame)
        body = encode_json(value) if is_json else str(value).encode()
        command = Respond(
            path=frame.prefix + path, status=status, body=body if has_body else b"", content_type=content_type
        )
        yield from ask(frame, command)

    return run


def _maker(answer: Answer, at: StepContext) -> Maker | None:
    if answer.mapping and answer.body is not None:
        at.faults.add(
            "flow.two-records", answer.body.place, "'mapping' and 'body' both say what to answer.", "Keep one of them."
        )
    if answer.mapping:
        mapping = at.mapping(answer.mapping, key="respond")
        return mapping.apply if mapping is not None and at.can_apply(mapping, key="respond") else None
    if answer.body is None:
        return lambda record, names, environment: None
    is_json = answer.content_type == JSON_TYPE or answer.content_type.endswith("+json")
    return compile_value(answer.body, Field(type=Json() if is_json else String(), nullable=is_json), at, "body")


STEP = StepKind(key="respond", settings=RespondSpec, compile=compile_respond, summary="Answers the caller who waits.")
