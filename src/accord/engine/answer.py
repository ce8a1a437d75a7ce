"""Answers of the engine's web side, as values; errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

RETRY_AFTER_S = 2
RETRY_AFTER = ((b"retry-after", str(RETRY_AFTER_S).encode()),)


class Line(Protocol):
    """Where an answer goes on."""

    def write(self, data: bytes) -> bool:
        """False: the client does not read, or has gone; nothing was written."""
        ...

    def close(self) -> None: ...


class Feed(Protocol):
    """Who gives an answer that goes on: told when it begins and, always, when it has ended."""

    def began(self, line: Line) -> None: ...

    def ended(self) -> None: ...


class Answer(msgspec.Struct, frozen=True):
    """``headers``: lower-case names; content type and length are not among them. ``feed``: the answer goes on after ``body``, until
    the connection ends."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    feed: Feed | None = None


Reply: TypeAlias = Callable[[Answer], None]  # called exactly once, now or later


def problem(status: int, code: str, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    body = msgspec.json.encode({"status": status, "code": code, "detail": reason})
    return Answer(status, body, "application/problem+json", headers)


def busy(reason: str) -> Answer:
    return problem(503, "intake.busy", reason, RETRY_AFTER)
