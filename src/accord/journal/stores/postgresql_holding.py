"""Which parts an engine owns, what of them was open when it got them, and which sequence numbers it may give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from accord.journal.parts import mask_of
from accord.journal.shared import PARTS

EVERY_PART = range(PARTS)
# A condition on a row `m` of `messages` whose parameter is a mask. Written so that the planner takes it to be nearly always true.
IS_OWN = "(%s::bigint >> m.part::integer) & 1 <> 0"


class Holding(msgspec.Struct, frozen=True):
    """``opening`` and ``border`` by part: messages up to the border were there when the part was last taken from somebody dead,
    and those not replayed in that opening may have effects in doubt."""

    parts: Mapping[int, tuple[int, int]] = {}
    mask: int = 0

    def of(self, part: int) -> bool:
        return part in self.parts

    def opening(self, part: int) -> int:
        return self.parts[part][0]

    def is_recovered(self, part: int, seq: int, replayed_in: int | None) -> bool:
        opening, border = self.parts.get(part, (0, 0))
        return seq <= border and replayed_in != opening

    def with_parts(self, more: Mapping[int, tuple[int, int]]) -> Holding:
        return _holding({**self.parts, **more})

    def without(self, parts: Iterable[int]) -> Holding:
        gone = set(parts)
        return _holding({part: held for part, held in self.parts.items() if part not in gone})


def _holding(parts: Mapping[int, tuple[int, int]]) -> Holding:
    return Holding(parts, mask_of(parts))
