"""What one member knows: the others, whose each part is, and what it does with its own parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from accord.journal.shared import LEASE_S, Census, Member

MARGIN_S = 1.0  # before a lease could have ended, no new effect begins: time for one to leave this machine
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


class PartTable:
    """``running``: own parts whose messages run here. ``accepting``: own parts whose messages are accepted here; the larger set, since
    a part that is given away goes on accepting until what runs of it has settled. ``held``: all own parts."""

    def __init__(self) -> None:
        self.me = 0
        self.members: Mapping[int, Member] = {}
        self.owners: dict[int, int] = {}
        self.running: set[int] = set()
        self.accepting: set[int] = set()
        self.held: set[int] = set()
        self._changed = asyncio.Event()

    def update(self, census: Census) -> None:
        owners = dict(census.owners)
        if owners != self.owners or census.members.keys() != self.members.keys():
            self.changed()
        self.members = census.members
        self.owners = owners

    def learn(self, part: int, owner: int) -> None:
        """What another member says; a census may know better later."""
        if self.owners.get(part, 0) != owner:
            self.owners[part] = owner
            self.changed()

    def owner(self, part: int) -> Member | None:
        return self.members.get(self.owners.get(part, 0))

    def others(self) -> list[Member]:
        return [member for id, member in sorted(self.members.items()) if id != self.me]

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_change(self, within_s: float) -> None:
        """Returns at the next change of owners, or of what is accepted here; at the latest after ``within_s``."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return


class Validity:
    """Until when this member may be sure of its parts. Others take them ``LEASE_S`` after its last beat at the earliest."""

    def __init__(self) -> None:
        self._until_s = 0.0
        self._renewed = asyncio.Event()

    def renew(self, began_s: float) -> None:
        """By a beat that began at ``began_s`` (of ``now_s``)."""
        self._until_s = began_s + LEASE_S - MARGIN_S
        self._renewed.set()
        self._renewed = asyncio.Event()

    def is_valid(self) -> bool:
        return now_s() < self._until_s

    async def wait_valid(self) -> None:
        """For ever when the lease has ended: then the engine is cut off."""
        while not self.is_valid():
            await self._renewed.wait()


def now_s() -> float:
    return time.clock_gettime(CLOCK)
