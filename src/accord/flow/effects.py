"""The guarantee of every effect of a flow, computed from what its target can do and never guessed."""

from __future__ import annotations

import msgspec

from accord.errors import NOWHERE, Place
from accord.sdk.connector import Idempotency

_BY = {
    Idempotency.TRANSACTION: "transaction",
    Idempotency.KEY: "idempotency key",
    Idempotency.UPSERT: "upsert",
    Idempotency.LOOKUP: "look-up",
}
EXACTLY_ONCE = "exactly-once by "
AT_LEAST_ONCE = "at-least-once: "


class EffectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One effect a flow can have. ``path`` as in commands, with ``[]`` for the index of a split; ``target`` is an entity or an
    operation (full name); ``mode`` is the write mode, or ``call`` or ``send``; ``guarantee`` begins with EXACTLY_ONCE or
    AT_LEAST_ONCE and ends with the means or the reason."""

    path: str
    step: str
    system: str
    target: str
    mode: str
    guarantee: str
    place: Place = NOWHERE

    @property
    def is_exactly_once(self) -> bool:
        return self.guarantee.startswith(EXACTLY_ONCE)


def guarantee_of(idempotency: Idempotency, reason: str, target: str) -> str:
    """``exactly-once by upsert``; ``at-least-once: the reason`` where the target gives no means."""
    if idempotency is not Idempotency.NONE:
        return EXACTLY_ONCE + _BY[idempotency]
    return AT_LEAST_ONCE + (reason or f"{target} takes no idempotency key and cannot be looked up")
