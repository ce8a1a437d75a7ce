"""What a running flow asks of the engine.

A flow runs as a generator: it yields a command and is sent the answer. It is started again from the beginning on every
attempt and after every crash; the engine answers commands whose results are already journaled from the journal, so a flow
must be deterministic: its only clock is ``message.time``, its only inputs are the message and the answers.

``path`` names a command within its message and never changes between attempts: the step's position and name
(``2.split[3].0.call``), so the effect id ``blake2b(message id + path)`` is the same on every attempt.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Generator
from typing import Any, TypeAlias

import msgspec

from accord.record import Done, Reject
from accord.sdk.connector import WriteMode


class ErrorPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long to try: full jitter over ``min(longest_s, first_s * factor**n)``; ``then``: dead-letter | continue | stop.

    ``continue``: the step's answer is the Reject and the flow goes on; ``stop``: the message ends quietly as done.
    """

    attempts: int = 8
    first_s: float = 1.0
    factor: float = 2.0
    longest_s: float = 600.0
    then: str = "dead-letter"


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """Answer: Done(result) or, under policy ``continue``, Reject. ``link``: journal a cross-reference between the message's
    record (``link_from`` entity, ``link_key``) and the written one (key taken from result, else record)."""

    path: str
    entity: str
    mode: WriteMode
    record: dict[str, Any]
    link_from: str = ""
    link_key: str = ""
    policy: ErrorPolicy | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of a system (steps call, enrich, send). Answer: Done(result) or Reject.
    ``is_read_only``: its answer is not journaled."""

    path: str
    system: str
    operation: str
    arguments: dict[str, Any]
    is_read_only: bool = False
    policy: ErrorPolicy | None = None


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Read one record by key from its system. Answer: Done(record as plain data) or Reject. Not journaled."""

    path: str
    entity: str
    key: str
    policy: ErrorPolicy | None = None


class Resolve(msgspec.Struct, frozen=True):
    """Look up cross-references: (entity, key, wanted entity) each. Answer: list of keys or None, in order. Not journaled."""

    queries: tuple[tuple[str, str, str], ...]


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Go on at ``until`` (UTC). Costs no memory while waiting. Answer: None."""

    path: str
    until: dt.datetime


class Respond(msgspec.Struct, frozen=True, kw_only=True):
    """Answer the caller who is waiting, if one is. Answer: None. Repeats are harmless."""

    path: str
    status: int
    body: bytes
    content_type: str = "application/json"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Idempotent receiver: answer True when (scope, id) was not seen before by another message, or only with a smaller ``version``
    (see ``flow.versions``; '' is smaller than every other)."""

    path: str
    scope: str
    id: str
    version: str = ""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A line for the log, already masked. Answer: None."""

    path: str
    level: str
    text: str


class All(msgspec.Struct, frozen=True, kw_only=True):
    """Commands that do not depend on each other, at most ``parallel`` at once. Answer: list of their answers, in order."""

    commands: tuple[Command, ...]
    parallel: int = 16


Command: TypeAlias = Write | Call | Fetch | Resolve | Wait | Respond | Mark | Note | All
Effect: TypeAlias = Write | Call
Answer: TypeAlias = Done | Reject | list[Any] | bool | None


class Finished(msgspec.Struct, frozen=True):
    """The flow came to its end (or ``stopped`` by a filter or stop step, with why)."""

    record: Any = None
    stopped: str = ""


Running: TypeAlias = Generator[Command, Any, Finished]


def effect_id(message_id: str, path: str) -> str:
    """32 hex digits, the same on every attempt of the same effect."""
    return hashlib.blake2b(f"{message_id}/{path}".encode(), digest_size=16).hexdigest()
