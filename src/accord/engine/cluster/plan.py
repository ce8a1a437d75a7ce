"""Who should own which part. Pure: every member that sees the same census comes to the same plan."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.journal.shared import PARTS, Census


class Plan(msgspec.Struct, frozen=True):
    """What one member does: parts nobody has that it takes, and parts of its own with the member each goes to."""

    take: tuple[int, ...] = ()
    give: Mapping[int, int] = {}


def plan(census: Census, me: int, parts: int = PARTS) -> Plan:
    """Balanced within one over all members that stay, moving as few parts as that allows. A member that leaves takes none and
    gives all; when nobody stays, everybody keeps what there is."""
    wanted = wanted_owners(census, parts)
    owners = census.owners
    take = tuple(part for part, member in wanted.items() if member == me and owners.get(part) not in census.members)
    give = {part: member for part, member in wanted.items() if owners.get(part) == me and member != me}
    return Plan(take, give)


def wanted_owners(census: Census, parts: int = PARTS) -> dict[int, int]:
    """Part to the member that should own it; empty when no member stays."""
    staying = sorted(id for id, member in census.members.items() if not member.is_leaving)
    if not staying:
        return {}
    held: dict[int, list[int]] = {id: [] for id in staying}
    homeless: list[int] = []
    for part in range(parts):
        held.get(census.owners.get(part, 0), homeless).append(part)
    size, rest = divmod(parts, len(staying))
    by_most = sorted(staying, key=lambda id: (-len(held[id]), id))  # one more for those who have most: fewest moves
    sizes = {id: size + (position < rest) for position, id in enumerate(by_most)}
    for id in staying:
        homeless += held[id][sizes[id] :]
        del held[id][sizes[id] :]
    homeless.sort(reverse=True)
    for id in staying:
        while len(held[id]) < sizes[id]:
            held[id].append(homeless.pop())
    return {part: id for id, own in held.items() for part in own}
