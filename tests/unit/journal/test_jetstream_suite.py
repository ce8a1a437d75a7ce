"""The JetStream store passes the public suite against a real server. Every second crash takes the machine's own state with it."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.servers import NatsCluster

from accord.journal.stores.jetstream import JetStreamStore
from accord.journal.stores.jetstream_keep import KeepSettings
from accord.journal.stores.jetstream_log import LogSettings
from accord.journal.stores.sqlite_replica import SqliteReplica
from accord.journal.stores.sqlite_verify import verify
from accord.testing.journal_suite import Blocking, JournalSuite

pytestmark = pytest.mark.server


class JetStreamHarness:
    """A crash ends the connection without a word; then the same state folder goes on, or an empty one in its place."""

    def __init__(self, cluster: NatsCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.prefix = f"suite_{uuid.uuid4().hex[:8]}"
        self.numbers = itertools.count()
        self.crashes = itertools.count()

    def create(self, now: Callable[[], dt.datetime]) -> Any:
        number = next(self.numbers)
        return self._open(f"{self.prefix}_{number}", self.folder / f"{number}.db", now)

    def _open(self, stream: str, path: Path, now: Callable[[], dt.datetime]) -> Any:
        settings = LogSettings(servers=self.cluster.urls, stream=stream, replicas=len(self.cluster.servers))
        store = Blocking(
            JetStreamStore(
                settings, SqliteReplica(path), now=now, lease_s=0.0, keep=KeepSettings(entries=5, size_bytes=0)
            )
        )
        store.open()
        return store

    def crash(self, store: Any, now: Callable[[], dt.datetime]) -> Any:
        old = store.store
        store.abandon()
        store.close()
        path = old._replica.path
        if next(self.crashes) % 2:
            path = path.with_name(f"{path.stem}-again.db")
        return self._open(old.settings.stream, path, now)

    def violations(self, store: Any) -> list[str]:
        return verify(store.store._replica.path)


class TestJetStream(JournalSuite):
    model_examples = 8

    @pytest.fixture
    def harness(self, nats_server: NatsCluster, tmp_path: Path) -> JetStreamHarness:
        return JetStreamHarness(nats_server, tmp_path)
