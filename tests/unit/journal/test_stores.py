"""Both stores pass the public suite."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from accord.journal.store import Store
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify
from accord.testing.journal_suite import JournalSuite


class SqliteHarness:
    """A crash copies the file and its log as a power cut would leave them, then opens the copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()

    def _next_path(self) -> Path:
        return self.folder / f"{next(self.numbers)}.db"

    def create(self, now: Callable[[], dt.datetime]) -> Store:
        store = SqliteStore(self._next_path(), now=now)
        store.open()
        return store

    def crash(self, store: Store, now: Callable[[], dt.datetime]) -> Store:
        assert isinstance(store, SqliteStore)
        path = self._next_path()
        for suffix in ("", "-wal"):
            source = store.path.with_name(store.path.name + suffix)
            if source.exists():
                shutil.copy(source, path.with_name(path.name + suffix))
        store.close()
        again = SqliteStore(path, now=now)
        again.open()
        return again

    def violations(self, store: Store) -> list[str]:
        assert isinstance(store, SqliteStore)
        return verify(store.path)


class MemoryHarness:
    def create(self, now: Callable[[], dt.datetime]) -> Store:
        store = MemoryStore(now=now)
        store.open()
        return store

    def crash(self, store: Store, now: Callable[[], dt.datetime]) -> Store:
        store.open()
        return store

    def violations(self, store: Store) -> list[str]:
        return []


class TestSqlite(JournalSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> SqliteHarness:
        return SqliteHarness(tmp_path)


class TestMemory(JournalSuite):
    model_examples = 3

    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()
