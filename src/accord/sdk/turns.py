"""Batches of writes in which no record stands twice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def turns(named: Sequence[tuple[Hashable, T]]) -> list[list[T]]:
    """A record may stand in one call only once: what is written to it again goes in the call after, so its order is kept."""
    found: list[list[T]] = []
    last: dict[Hashable, int] = {}
    for name, one in named:
        turn = last[name] = last.get(name, -1) + 1
        if turn == len(found):
            found.append([])
        found[turn].append(one)
    return found
