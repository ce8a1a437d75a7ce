"""Roles, and which one a request needs. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

RoleName = Literal["viewer", "operator", "admin"]

ENDING_WORDS = frozenset({"cancel", "discard"})  # what they end does not come back


class Role(enum.IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1  # reads; personal data stays masked
    OPERATOR = 2  # pauses, resumes, mends, replays, sends; sees the record it mends
    ADMIN = 3  # cancels, discards, reads the audit trail

    @classmethod
    def named(cls, name: str) -> Role:
        """Raises KeyError."""
        return cls[name.upper()]


class Actor(msgspec.Struct, frozen=True):
    """Somebody known. ``via``: local (nobody has to sign in), token, password, oidc, command-line."""

    name: str
    role: Role
    via: str


def role_needed(method: str, parts: Sequence[str], query: Mapping[str, str]) -> Role:
    """Of a page or an API path, as parts without the prefix (``messages``, ``7``, ``cancel``)."""
    if method in ("GET", "HEAD"):
        if parts[:1] == ["audit"]:
            return Role.ADMIN
        return Role.OPERATOR if query.get("payload") == "1" or query.get("reveal") == "1" else Role.VIEWER
    return Role.ADMIN if parts and parts[-1] in ENDING_WORDS else Role.OPERATOR
