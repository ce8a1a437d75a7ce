"""Members of a hub pass the suite of every shared store, each over a socket pair of its own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from accord.journal.hub.hub import Hub
from accord.journal.hub.store import HubStore
from accord.journal.parts import PartedStore
from accord.journal.shared import BEAT_S, Member, SharedStore
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify
from accord.testing.shared_suite import SharedSuite


class LocalMember(HubStore):
    """Attaches itself to a hub of this process when it is opened."""

    def __init__(self, hub: Hub) -> None:
        own, self._other = socket.socketpair()
        super().__init__(own)
        self.hub = hub
        self.id = 0

    async def open(self) -> None:
        await self.hub.attach(self._other)
        await super().open()

    async def join(self, name: str, address: str) -> Member:
        member = await super().join(name, address)
        self.id = member.id
        return member


class HubHarness:
    """All members of a test and their hub are on one event loop."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.number = 0

    async def start(self) -> None:
        self.number += 1
        store: PartedStore = SqliteStore(self.path) if self.folder else MemoryStore()
        self.hub = Hub(store)
        await self.hub.open()

    @property
    def path(self) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.number}.db"

    def member(self) -> LocalMember:
        return LocalMember(self.hub)

    async def kill(self, store: SharedStore) -> None:
        assert isinstance(store, LocalMember)
        await store.close()
        while store.id in self.hub.roll.look().members:
            await asyncio.sleep(0)

    async def silence(self, store: SharedStore, seconds: float) -> None:
        assert isinstance(store, LocalMember)
        self.hub.roll.seat(store.id).beats = int(seconds / BEAT_S)

    def violations(self) -> list[str]:
        return verify(self.path) if self.folder else []

    async def stop(self) -> None:
        await self.hub.close()


class TestHubOverSqlite(SharedSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> HubHarness:
        return HubHarness(tmp_path)


class TestHubOverMemory(SharedSuite):
    machine_examples = 5

    @pytest.fixture
    def harness(self) -> HubHarness:
        return HubHarness(None)
