"""Records their source could not read: marked on the message, so that they become dead letters until someone mends the body."""

from __future__ import annotations

import hashlib

from accord.record import Message

MALFORMED_HEADER = "accord-malformed"


def malformed_mark(body: bytes, reason: str) -> str:
    """The header's value. It holds for this body only: a mended one is read like any other."""
    return f"{_digest(body)} {reason}"


def malformed_reason(message: Message) -> str:
    """Why the source could not read this record; '' when it could, or when the body was mended since."""
    mark = message.headers.get(MALFORMED_HEADER)
    if mark is None:
        return ""
    digest, _, reason = mark.partition(" ")
    return reason if digest and digest == _digest(message.body) else ""


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()
