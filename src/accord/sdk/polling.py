"""How often a system is asked how far its own work is."""

from __future__ import annotations

POLL_FIRST_S = 0.5
POLL_GROWS = 1.6


def poll_s(asked: int, most_s: float) -> float:
    """How long to wait after having asked so many times."""
    return float(min(POLL_FIRST_S * POLL_GROWS**asked, most_s))
