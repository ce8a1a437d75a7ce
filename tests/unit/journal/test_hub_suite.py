"""A journal behind a hub passes the suite of every store: what goes through the socket means the same on the other side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.journal.stores.memory import MemoryStore
from accord.testing.journal_suite import Blocking, JournalSuite
from unit.journal.hubs import OneMember
from unit.journal.test_stores import MemoryHarness, SqliteHarness


class HubHarness:
    """Each store is a hub with one member, over a store of another harness, whose crashes and checks are its own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def _over(self, store: Any) -> Any:
        store.close()  # the hub opens it
        hubbed = Blocking(OneMember(store))
        hubbed.open()
        return hubbed

    def create(self, now: Callable[[], dt.datetime]) -> Any:
        return self._over(self.inner.create(now))

    def crash(self, store: Any, now: Callable[[], dt.datetime]) -> Any:
        hub = store.store.hub
        inner = hub.store
        crashed = self.inner.crash(inner, now)
        hub.store = MemoryStore()  # what the old hub closes at its end is not the store that goes on
        store.close()
        hub.store = inner
        return self._over(crashed)

    def violations(self, store: Any) -> list[str]:
        found: list[str] = self.inner.violations(store.store.hub.store)
        return found


class TestHubOverSqlite(JournalSuite):
    model_examples = 10

    @pytest.fixture
    def harness(self, tmp_path: Path) -> HubHarness:
        return HubHarness(SqliteHarness(tmp_path))


class TestHubOverMemory(JournalSuite):
    model_examples = 3

    @pytest.fixture
    def harness(self) -> HubHarness:
        return HubHarness(MemoryHarness())
