"""Who is a member and whose each part is, in the hub's memory: a hub that begins anew finds nobody and owes nothing.

Silence is counted in the hub's own beats, not by the clock: a hub that was itself held up must not take its members for dead before
it has read what they sent meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from accord.errors import JournalError
from accord.journal.parts import is_in, mask_of
from accord.journal.shared import BEAT_S, LEASE_S, PARTS, Census, Member

BEATS_MAX = round(LEASE_S / BEAT_S)  # of silence


class Seat(msgspec.Struct):
    """A member's place. ``mask``: the parts it owns and knows of. ``beats``: since its last census."""

    member: Member
    pid: int
    mask: int = 0
    beats: int = 0


class Roll:
    """``on_silent`` is called with the seat of a member whose lease has ended for silence."""

    def __init__(self, on_silent: Callable[[Seat], None] = lambda _seat: None) -> None:
        self._on_silent = on_silent
        self._seats: dict[int, Seat] = {}
        self._owners: dict[int, int] = {}
        self._orphans: set[int] = set()  # their owner died, and its messages may be in doubt
        self._last_id = 0

    def join(self, name: str, address: str, pid: int) -> Seat:
        self._last_id += 1
        seat = Seat(Member(self._last_id, name, address), pid)
        self._seats[self._last_id] = seat
        return seat

    def seat(self, id: int) -> Seat:
        return self._seats[id]

    def is_seated(self, id: int) -> bool:
        return id in self._seats

    def beat(self) -> None:
        """One beat has passed."""
        for seat in self._seats.values():
            seat.beats += 1
        self._end_silent()

    def _end_silent(self) -> None:
        for seat in list(self._seats.values()):
            if seat.beats > BEATS_MAX:
                self.drop(seat.member.id)
                self._on_silent(seat)

    def drop(self, id: int) -> None:
        """A member's lease has ended, or its process has. Harmless when it had ended before."""
        if self._seats.pop(id, None) is None:
            return
        for part in [part for part, owner in self._owners.items() if owner == id]:
            del self._owners[part]
            self._orphans.add(part)

    def census(self, id: int) -> Census:
        """Renews this member's lease; what it was given is its own from now on."""
        self._seats[id].beats = 0
        self._end_silent()
        self._seats[id].mask = self._mask_of(id)
        return self.look()

    def look(self) -> Census:
        return Census({id: seat.member for id, seat in self._seats.items()}, dict(self._owners))

    def free(self, parts: Iterable[int]) -> frozenset[int]:
        """Those of the parts that have no owner."""
        return frozenset(part for part in parts if 0 <= part < PARTS and part not in self._owners)

    def orphans(self, parts: Iterable[int]) -> frozenset[int]:
        return frozenset(self._orphans.intersection(parts))

    def take(self, id: int, parts: Iterable[int]) -> None:
        """Free parts become this member's."""
        for part in parts:
            self._owners[part] = id
            self._orphans.discard(part)
        self._seats[id].mask |= mask_of(parts)

    def give(self, id: int, parts: Sequence[int], to: int) -> None:
        """Raises JournalError when one of the parts is not this member's, or ``to`` is no member."""
        mask = self._seats[id].mask
        if any(not is_in(mask, part) for part in parts) or (to and to not in self._seats):
            raise JournalError(
                f"Member {id} cannot give parts {sorted(parts)} to {to or 'nobody'}.",
                mend="Take a census: the parts are not its own any more, or the other has gone.",
                code="journal.not-owner",
            )
        for part in parts:
            if to:
                self._owners[part] = to
            else:
                del self._owners[part]
        self._seats[id].mask = mask & ~mask_of(parts)

    def leave(self, id: int) -> None:
        seat = self._seats[id]
        seat.member = msgspec.structs.replace(seat.member, is_leaving=True)

    def _mask_of(self, id: int) -> int:
        return mask_of(part for part, owner in self._owners.items() if owner == id)
