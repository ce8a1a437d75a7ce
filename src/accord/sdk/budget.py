"""What a system said about how much more it takes: the value connectors hand to the engine, which waits before the limit is hit."""

from __future__ import annotations

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """``left`` of ``limit`` (None: not told), in the system's own unit: requests, points of query cost. ``cost`` is what one request
    takes of it. It is full again in ``resets_in_s`` (None: nobody knows when), or fills by ``refill_per_s`` all the time.
    ``name`` tells the budgets of one system apart."""

    name: str
    left: float
    limit: float | None = None
    resets_in_s: float | None = None
    refill_per_s: float = 0.0
    cost: float = 1.0


def nobody_asks(budget: Budget) -> None:
    """Where a connection's budgets go when no engine runs it."""
