"""Answers of the engine's web side, as values; errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

RETRY_AFTER_S = 2
RETRY_AFTER = ((b"retry-after", str(RETRY_AFTER_S).encode()),)


class Answer(msgspec.Struct, frozen=True):
    """``headers``: lower-case names; content type and length are not among them."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Reply: TypeAlias = Callable[[Answer], None]  # called exactly once, now or later


def problem(status: int, code: str, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    body = msgspec.json.encode({"status": status, "code": code, "detail": reason})
    return Answer(status, body, "application/problem+json", headers)


def busy(reason: str) -> Answer:
    return problem(503, "intake.busy", reason, RETRY_AFTER)
