"""The PostgreSQL store passes the public suite, against a real server, with a schema per store."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from tests.servers import PostgresServer

from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_verify import verify
from accord.testing.journal_suite import Blocking, JournalSuite

pytestmark = pytest.mark.server


class PostgresHarness:
    """A crash ends the connections; what the server had committed is there when the next one opens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"suite_{uuid.uuid4().hex[:8]}"
        self.numbers = itertools.count()

    def create(self, now: Callable[[], dt.datetime]) -> Any:
        store = Blocking(PostgresqlStore(self.url, f"{self.prefix}_{next(self.numbers)}", now=now))
        store.open()
        return store

    def crash(self, store: Any, now: Callable[[], dt.datetime]) -> Any:
        store.close()
        again = Blocking(PostgresqlStore(self.url, store.store.schema, now=now))
        again.open()
        return again

    def violations(self, store: Any) -> list[str]:
        return verify(self.url, store.store.schema)


class TestPostgresql(JournalSuite):
    model_examples = 15

    @pytest.fixture
    def harness(self, postgres: PostgresServer) -> PostgresHarness:
        return PostgresHarness(postgres.url)
