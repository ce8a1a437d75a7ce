"""The query-cost bucket of the Admin API: how long until a query fits again. Pure.

Source: Shopify, "GraphQL Admin API rate limits": ``extensions.cost`` tells the requested cost and the bucket's
``throttleStatus`` (currentlyAvailable, maximumAvailable, restoreRate in points per second).
"""

from __future__ import annotations

from typing import Any

from accord.sdk.budget import Budget

SMOOTHING = 0.2
WAIT_S_MIN = 0.1
WAIT_S_MAX = 60.0
WAIT_S_UNKNOWN = 1.0


class CostBucket:
    """What is known of the bucket from the last answer. ``now_s`` is a monotonic clock's time in seconds."""

    def __init__(self) -> None:
        self._available = 0.0
        self._rate = 0.0
        self._seen_at_s = 0.0
        self._limit: float | None = None
        self._cost = 0.0  # of a query, on average
        self._costs: dict[str, float] = {}

    def learn(self, document: str, body: Any, now_s: float) -> None:
        """Takes ``extensions.cost`` of an answer into account; anything else is ignored."""
        cost = _cost(body)
        status = cost.get("throttleStatus")
        if isinstance(status, dict):
            available, rate = _number(status.get("currentlyAvailable")), _number(status.get("restoreRate"))
            if available is not None and rate:
                self._available, self._rate, self._seen_at_s = available, rate, now_s
                self._limit = _number(status.get("maximumAvailable"))
        requested = _number(cost.get("requestedQueryCost"))
        if requested is not None:
            self._costs[document] = requested
            self._cost = self._cost + (requested - self._cost) * SMOOTHING if self._cost else requested

    def budget(self) -> Budget | None:
        """What the last answer told, for all who use the shop; None before any did."""
        if not self._rate or not self._cost:
            return None
        return Budget(
            name="query cost", left=self._available, limit=self._limit, refill_per_s=self._rate, cost=self._cost
        )

    def wait_s(self, document: str, now_s: float) -> float:
        """How long until a document of known cost fits; 0 when it fits now or nothing is known."""
        needed = self._costs.get(document)
        if needed is None or not self._rate:
            return 0.0
        available = self._available + self._rate * (now_s - self._seen_at_s)
        return min((needed - available) / self._rate, WAIT_S_MAX) if available < needed else 0.0


def throttled_s(body: Any) -> float:
    """Seconds until a query that was just throttled fits."""
    cost = _cost(body)
    status = cost.get("throttleStatus")
    if not isinstance(status, dict):
        return WAIT_S_UNKNOWN
    requested, available = _number(cost.get("requestedQueryCost")), _number(status.get("currentlyAvailable"))
    rate = _number(status.get("restoreRate"))
    if requested is None or available is None or not rate:
        return WAIT_S_UNKNOWN
    return min(max((requested - available) / rate, WAIT_S_MIN), WAIT_S_MAX)


def _cost(body: Any) -> dict[str, Any]:
    extensions = body.get("extensions") if isinstance(body, dict) else None
    cost = extensions.get("cost") if isinstance(extensions, dict) else None
    return cost if isinstance(cost, dict) else {}


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
