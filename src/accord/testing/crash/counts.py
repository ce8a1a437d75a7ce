"""Compares what was sent with what the targets recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Of one target. ``unknown``: effects of messages that nobody sent."""

    sent: int = 0
    recorded: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    unknown: int = 0

    def __add__(self, other: Tally) -> Tally:
        names = self.__struct_fields__
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})


def tally(
    sent: Mapping[str, Sequence[int]],
    seen: Mapping[str, Sequence[int]],
    *,
    repeat_is_same: bool = False,
    is_ordered: bool = True,
) -> Tally:
    """``sent`` and ``seen``: numbers per key, each in its order; numbers of a key grow as they are sent.

    ``repeat_is_same``: the target is written by key, so the same number again directly after itself changes nothing and is no
    duplicate. An effect is out of order when a later one of its key was recorded before it.
    """
    total = Tally(unknown=sum(len(numbers) for key, numbers in seen.items() if key not in sent))
    for key, numbers in sent.items():
        wanted, found = set(numbers), seen.get(key, ())
        if repeat_is_same:
            found = [n for i, n in enumerate(found) if i == 0 or found[i - 1] != n]
        there = set(found)
        total += Tally(
            sent=len(wanted),
            recorded=len(found),
            lost=len(wanted - there),
            duplicated=len(found) - len(there),
            out_of_order=_backward_steps(found) if is_ordered else 0,
            unknown=len(there - wanted),
        )
    return total


def _backward_steps(numbers: Sequence[int]) -> int:
    highest, found = -1, 0
    for number in numbers:
        found += number < highest
        highest = max(highest, number)
    return found
