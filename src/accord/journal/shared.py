"""What several engines that share one journal agree on: who is a member, and whose each part is.

Every message has a part, the hash of its flow and key. A part has at most one owner, and only its owner accepts, runs and settles
its messages: so order per key stays a matter of one process. Two stores share: PostgreSQL (members on several machines) and the
hub of ``accord up --workers`` (members are the worker processes of one machine, in front of any other store).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol
from zlib import crc32

import msgspec

from accord.journal.store import AsyncStore

PARTS = 64  # the most members one journal can have; a key never changes its part
LEASE_S = 5.0  # a member that was not heard of for so long has lost its parts
BEAT_S = 1.0  # how often a member renews its lease and looks at the others


class Member(msgspec.Struct, frozen=True):
    """``id`` grows with every joining and is never given twice. ``name`` is for people. ``address``: where other members reach it
    (``host:port``, or ``unix:/path``). ``is_leaving``: it takes no parts and gives away those it has."""

    id: int
    name: str
    address: str
    is_leaving: bool = False


class Census(msgspec.Struct, frozen=True):
    """Members whose lease runs, by id, and the owner's id of every part that has one."""

    members: Mapping[int, Member]
    owners: Mapping[int, int]


class SharedStore(AsyncStore, Protocol):
    """An AsyncStore of one member. It commits and reads for the parts that this member owns.

    - ``commit`` is fenced: when a lease was lost (``census`` of another member found this one silent for ``LEASE_S``), nothing of
      any later group is kept and JournalError ``journal.fenced`` is raised; the process must end and join anew.
    - ``lease``, ``next_of_keys``, ``next_due``, ``held`` and ``open_counts`` answer for own parts only; ``counts``, ``messages``,
      ``dead_letters``, ``references`` and ``cursor`` for the whole journal.
    - An Accept of a message whose part is not owned raises JournalError ``journal.not-owner`` (the group commit writes the others of
      its group without it); a Settle, Replay or Discard of such a message answers False; Prune deletes of own parts.
    - Sequence numbers grow within a part, also when it changes its owner; across parts they say nothing.
    """

    is_shared: ClassVar[Literal[True]] = True

    async def join(self, name: str, address: str) -> Member:
        """After ``open``; owns nothing yet."""
        ...

    async def census(self) -> Census:
        """Renews this member's lease, ends those of members that are gone (at once when their process is known to be dead) and
        tells who is left. Raises JournalError ``journal.fenced`` when this member's own has ended."""
        ...

    async def take(self, parts: Sequence[int]) -> frozenset[int]:
        """Makes those of the parts that have no living owner this member's; returns them. Their open messages count as recovered
        (any unsettled effect may be in doubt), unless their last owner gave them away itself."""
        ...

    async def give(self, parts: Sequence[int], to: int) -> None:
        """Hands own parts to a member (0: to nobody, for whoever takes them). None of their messages may be running. They are the
        member's from the moment when its next ``census`` shows it as their owner."""
        ...

    async def leave(self) -> None:
        """From the next census on nobody counts on this member for parts; it still owns what it has."""
        ...

    async def open_counts(self, parts: Sequence[int]) -> dict[str, int]:
        """Flow → open messages in these own parts."""
        ...


def part_of(flow: str, key: str) -> int:
    """0 to PARTS - 1, the same in every release."""
    return crc32(f"{flow}/{key}".encode()) % PARTS
