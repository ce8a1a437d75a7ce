"""Flow files into specs: the shape of a flow, before anything is looked up."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

import msgspec

from accord.errors import NOWHERE, Faults, Place
from accord.flow.commands import ErrorPolicy
from accord.flow.policy import read_policy
from accord.flow.trigger import Trigger, read_triggers
from accord.settings.decode import decode
from accord.settings.node import Node

RESPONSE_TIMEOUT_S = 25.0
Priority = Literal["high", "normal", "low"]
NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as written. ``steps`` is the node of the list; ``node`` the whole file."""

    name: str
    summary: str
    triggers: tuple[Trigger, ...]
    key: Node | None
    steps: Node
    policy: ErrorPolicy
    response_timeout_s: float
    tests: tuple[Node, ...]
    node: Node
    priority: Priority = "normal"
    place: Place = NOWHERE


class FlowFile(msgspec.Struct, frozen=True):
    """A flow: a trigger and steps."""

    flow: str
    on: Node
    steps: Node
    summary: str = ""
    key: Node | None = None
    on_error: Node | None = None
    response_timeout: dt.timedelta = dt.timedelta(seconds=RESPONSE_TIMEOUT_S)
    priority: Annotated[
        Priority,
        msgspec.Meta(
            description="The flow's share where several wait for one system: high four times that of normal, low a quarter."
        ),
    ] = "normal"
    tests: tuple[Node, ...] = ()


def read_flow(node: Node, faults: Faults, *, policy: ErrorPolicy | None = None, zone: str = "UTC") -> FlowSpec | None:
    """Reads a flow file. Faults carry their lines; a file with faults still gives a spec when it has ``on`` and ``steps``, so
    that these are checked as well.

    ``policy`` and ``zone`` are the project's defaults, for what the file leaves out.
    """
    file = decode(node, FlowFile, faults, what="this flow") or _what_there_is(node)
    if file is None:
        return None
    if not NAME.match(file.flow):
        faults.add(
            "flow.bad-name",
            node.place_of("flow"),
            f"'{file.flow}' cannot be a flow's name.",
            "Use small letters, digits, - and _, beginning with a letter.",
        )
    policy = policy or ErrorPolicy()
    if file.on_error is not None:
        policy = read_policy(file.on_error, policy, faults, is_flow=True)
    return FlowSpec(
        name=file.flow,
        summary=file.summary,
        triggers=read_triggers(file.on, faults, zone),
        key=file.key,
        steps=file.steps,
        policy=policy,
        response_timeout_s=file.response_timeout.total_seconds(),
        tests=file.tests,
        node=node,
        priority=file.priority,
        place=node.place_of("flow"),
    )


def _what_there_is(node: Node) -> FlowFile | None:
    """The parts of a faulty file that can be checked further."""
    on, steps, name = node.get("on"), node.get("steps"), node.get("flow")
    if on is None or steps is None:
        return None
    is_named = name is not None and isinstance(name.value, str)
    return FlowFile(
        str(name.value) if name and is_named else "unnamed",
        on,
        steps,
        key=node.get("key"),
        on_error=node.get("on_error"),
    )
