"""Hubs and members on one event loop, over real socket pairs, and what tests write with them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from accord.journal.hub.hub import Hub
from accord.journal.hub.roll import Seat
from accord.journal.hub.store import HubStore
from accord.journal.operations import Accept
from accord.journal.parts import PartedStore
from accord.journal.shared import PARTS, part_of
from accord.testing.journal_suite import message


class OneMember(HubStore):
    """A store that is a hub with a single member, who owns every part: to be compared with a store without a hub."""

    def __init__(self, store: PartedStore) -> None:
        self.hub = Hub(store)
        own, self._other = socket.socketpair()
        super().__init__(own)

    async def open(self) -> None:
        await self.hub.open()
        await self.hub.attach(self._other)
        await super().open()
        await self.join("one", "")
        assert await self.take(range(PARTS)) == frozenset(range(PARTS))

    async def close(self) -> None:
        await super().close()
        await self.hub.close()


class Hall:
    """A hub and the stores of its members, all closed at the end."""

    def __init__(self, store: PartedStore, on_silent: Callable[[Seat], None] = lambda _seat: None) -> None:
        self.hub = Hub(store, on_silent=on_silent)
        self._members: list[HubStore] = []

    async def __aenter__(self) -> Hall:
        await self.hub.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        for member in self._members:
            await member.close()
        await self.hub.close()

    async def member(self, name: str, on_lost: Callable[[], None] = lambda: None) -> HubStore:
        """A store of its own that has joined and owns nothing."""
        own, other = socket.socketpair()
        store = HubStore(own, on_lost=on_lost)
        self._members.append(store)
        await self.hub.attach(other)
        await store.open()
        await store.join(name, f"address of {name}")
        return store

    @property
    def names(self) -> set[str]:
        return {member.name for member in self.hub.roll.look().members.values()}


async def accept(store: Any, *numbers: int, key: Callable[[int], str] = str) -> list[int]:
    """Messages of flow f in one commit; their sequence numbers."""
    (accepted,) = await store.commit([Accept(tuple(message(n, key=key(n)) for n in numbers))])
    return [one.seq for one in accepted.messages]


def parts_of(*keys: str, flow: str = "f") -> list[int]:
    return sorted({part_of(flow, key) for key in keys})


async def until(holds: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
    """Polls a condition of this process; AssertionError at the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not holds():
        assert loop.time() < deadline, what
        await asyncio.sleep(0.005)
