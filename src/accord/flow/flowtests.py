"""The tests beside a flow (``tests:``): given a record and declared answers, what is written where, answered or refused."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from accord.errors import Faults, Place
from accord.flow.answers import Answers, NoAnswer
from accord.flow.commands import Call, Write
from accord.flow.difference import Difference, compare
from accord.flow.flow import Flow
from accord.flow.trial import Trial
from accord.record import Message
from accord.record.message import TOPIC_HEADER
from accord.sdk.http import decode_json, encode_json
from accord.settings.decode import decode
from accord.settings.node import Node

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class FlowTestResult(msgspec.Struct, frozen=True, kw_only=True):
    """One test. It passed when there are no ``differences`` and no ``problem`` (why it could not be judged)."""

    flow: str
    name: str
    place: Place
    differences: tuple[Difference, ...] = ()
    problem: str = ""

    @property
    def is_passed(self) -> bool:
        return not self.differences and not self.problem


class _Reference(msgspec.Struct, frozen=True):
    entity: str
    key: str
    to: str
    is_: str


class DeclaredTest(msgspec.Struct, frozen=True):
    """One of a flow's ``tests``. ``at``: when the message is accepted; ``seen``: ids met before; ``answers``: what systems answer."""

    given: Node
    expect: Node
    name: str = ""
    topic: str = ""
    headers: dict[str, str] = {}
    at: dt.datetime = EPOCH
    seen: tuple[str, ...] = ()
    references: tuple[_Reference, ...] = ()
    answers: Node | None = None


class DeclaredExpect(msgspec.Struct, frozen=True):
    """What a test expects; what it does not name is not judged, but for a refusal or a stop nobody expected."""

    writes: Node | None = None
    calls: Node | None = None
    sends: Node | None = None
    undone: Node | None = None
    response: Node | None = None
    rejects: Node | None = None
    stopped: Node | None = None
    record: Node | None = None
    links: Node | None = None
    logs: Node | None = None


ReadFile: TypeAlias = Callable[[str], bytes]


def run_flow_tests(flow: Flow, read: ReadFile | None = None) -> list[FlowTestResult]:
    """Runs a flow's declared tests, in order. ``read`` gives the bytes of a file named by ``given`` (raising OSError)."""
    return [run_flow_test(flow, node, index, read) for index, node in enumerate(flow.tests)]


def check_tests(tests: tuple[Node, ...], faults: Faults) -> None:
    """Faults of the tests' own shape; what they expect is judged when they run."""
    for node in tests:
        test = decode(node, DeclaredTest, faults, what="this test")
        if test is not None:
            decode(test.expect, DeclaredExpect, faults, what="`expect`")
            Answers(test.answers, faults)


def run_flow_test(flow: Flow, node: Node, index: int = 0, read: ReadFile | None = None) -> FlowTestResult:
    """Runs one test; what is wrong with the test itself becomes its ``problem``."""
    faults = Faults()
    test = decode(node, DeclaredTest, faults, what="this test")
    expect = decode(test.expect, DeclaredExpect, faults, what="`expect`") if test is not None else None
    name = (test.name if test else "") or f"test {index + 1}"
    body = _body(test.given, read, faults) if test is not None else None
    answers = Answers(test.answers if test else None, faults, flow.names)
    if test is None or expect is None or body is None or faults.errors:
        return _result(flow, name, node, problem="; ".join(str(fault) for fault in faults.errors))
    trial = Trial(flow, answers, {(r.entity, r.key, r.to): r.is_ for r in test.references})
    for id in test.seen:
        trial.mark_seen(flow.name, id)
    headers = {**test.headers, **({TOPIC_HEADER: test.topic} if test.topic else {})}
    message = Message(
        id=f"test-{index + 1}",
        flow=flow.name,
        key=flow.key_of(body, ""),
        source=flow.source,
        body=body,
        time=test.at,
        headers=headers,
    )
    try:
        trial.run(message)
    except NoAnswer as error:
        return _result(flow, name, node, problem=str(error))
    differences = tuple(_judge(expect, trial))
    unused = answers.unused
    problem = "" if differences or not unused else f"Nothing asked for the answers of {', '.join(unused)}."
    return _result(flow, name, node, differences=differences, problem=problem)


def _result(flow: Flow, name: str, node: Node, **found: Any) -> FlowTestResult:
    return FlowTestResult(flow=flow.name, name=name, place=node.place, **found)


def _body(node: Node, read: ReadFile | None, faults: Faults) -> bytes | None:
    """``given``: a record written out, or the name of a JSON file."""
    if node.is_map:
        return encode_json(node.plain())
    if not isinstance(node.value, str) or read is None:
        wanted = "a record or a file name" if read is not None else "a record (there is no folder to find files in)"
        faults.add("flow.bad-test", node.place, f"'given' is {wanted}, and this is {node.describe()}.")
        return None
    try:
        raw = read(node.value)
        decode_json(raw)
    except (OSError, msgspec.MsgspecError) as error:
        why = getattr(error, "strerror", "") or str(error)
        faults.add("flow.bad-test", node.place, f"The file '{node.value}' cannot be read: {why}.", "Name a JSON file.")
        return None
    return raw


def _judge(expect: DeclaredExpect, trial: Trial) -> list[Difference]:
    found: list[Difference] = []
    sends = {effect.path for effect in trial.flow.effects if effect.mode == "send"}
    is_send = {id(call): re.sub(r"\[[0-9]+\]", "[]", call.path) in sends for call in trial.calls}
    calls = [call for call in trial.calls if not is_send[id(call)]]
    sent = [call for call in trial.calls if is_send[id(call)]]
    if expect.writes is not None:
        found += compare(expect.writes.plain() or [], [_shape(w) for w in trial.writes], "writes")
    if expect.calls is not None:
        found += compare(expect.calls.plain() or [], [_shape(c) for c in calls], "calls")
    if expect.sends is not None:
        found += compare(expect.sends.plain() or [], [_shape(c) for c in sent], "sends")
    if expect.undone is not None:
        found += compare(expect.undone.plain() or [], [_shape(u) for u in trial.undone], "undone")
    if expect.links is not None:
        found += compare(
            expect.links.plain() or [], [{"from": a, "key": k, "to": b} for a, k, b in trial.links], "links"
        )
    if expect.logs is not None:
        found += compare(expect.logs.plain() or [], [note.text for note in trial.notes], "logs")
    if expect.record is not None:
        record = trial.finished.record if trial.finished else None
        found += compare(expect.record.plain(), record, "record")
    found += _judge_end(expect, trial)
    return found


def _judge_end(expect: DeclaredExpect, trial: Trial) -> list[Difference]:
    """How it ended is always judged: a refusal or a stop nobody expected is a difference."""
    found: list[Difference] = []
    rejected = trial.rejected
    shape = None
    if rejected is not None:
        shape = {"step": rejected.step, "code": rejected.code, "reason": rejected.reason, "path": rejected.path}
    if expect.rejects is not None:
        found += compare(expect.rejects.plain(), shape, "rejects")
    elif shape is not None:
        found += compare(None, shape, "rejects")
    stopped = trial.finished.stopped if trial.finished else ""
    wanted = expect.stopped.plain() if expect.stopped is not None else None
    if wanted is True or wanted is False or wanted is None:
        if bool(stopped) is not bool(wanted):
            found.append(Difference("stopped", str(bool(wanted)).lower(), repr(stopped) if stopped else "false"))
    elif wanted != stopped:
        found += compare(wanted, stopped or None, "stopped")
    if expect.response is not None:
        response = trial.response
        body: Any = None
        if response is not None and response.body:
            is_json = "json" in response.content_type
            body = decode_json(response.body) if is_json else response.body.decode("utf-8", "replace")
        actual = None if response is None else {"status": response.status, "body": body}
        found += compare(expect.response.plain(), actual, "response")
    return found


def _shape(effect: Write | Call) -> dict[str, Any]:
    if isinstance(effect, Write):
        return {"to": effect.entity, "mode": effect.mode.value, "record": effect.record, "step": effect.path}
    return {"to": f"{effect.system}.{effect.operation}", "with": effect.arguments, "step": effect.path}
