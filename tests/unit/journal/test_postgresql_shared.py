"""The PostgreSQL store of several members passes the public suite, against a real server, with a schema per test."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest
from tests.servers import PostgresServer

from accord.journal.shared import SharedStore
from accord.journal.stores.postgresql_member import PostgresqlMember
from accord.journal.stores.postgresql_verify import verify
from accord.testing.shared_suite import SharedSuite

pytestmark = pytest.mark.server


class PostgresHarness:
    def __init__(self, url: str) -> None:
        self.url = url
        self.schema = ""

    async def start(self) -> None:
        self.schema = f"shared_{uuid.uuid4().hex[:12]}"

    def member(self) -> PostgresqlMember:
        return PostgresqlMember(self.url, self.schema, gone_s=0.0)

    async def kill(self, store: SharedStore) -> None:
        """The system closes the connections of a killed process; the server notices a moment later."""
        assert isinstance(store, PostgresqlMember)
        session, store._session, store._is_open = store._session, None, False
        if session is None:
            return
        pids = [connection.info.backend_pid for connection in session._connections]
        await session.close()
        with psycopg.connect(self.url, autocommit=True) as db:
            while db.execute("SELECT FROM pg_stat_activity WHERE pid = ANY (%s)", (pids,)).fetchone() is not None:
                await asyncio.sleep(0.001)

    async def silence(self, store: SharedStore, seconds: float) -> None:
        assert isinstance(store, PostgresqlMember)
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("SELECT set_config('search_path', %s, false)", (self.schema,))
            db.execute(
                "UPDATE beats SET at = clock_timestamp() - %s * interval '1 second' WHERE member = %s",
                (seconds, store._id),
            )

    def violations(self) -> list[str]:
        return verify(self.url, self.schema)

    async def stop(self) -> None:
        pass


class TestPostgresql(SharedSuite):
    @pytest.fixture
    def harness(self, postgres: PostgresServer) -> PostgresHarness:
        return PostgresHarness(postgres.url)
