"""A server that dies and comes back; a user without privileges; a busy SQLite."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.connectors.sql.databases import TestDatabase, fresh, item
from tests.servers import Server, running_mariadb, running_postgres

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.spec import SqlSettings
from accord.errors import ConnectorError
from accord.record import Done, Reconnect, Reject, Retry
from accord.sdk.connector import WriteMode
from accord.settings.secret import Secret

CREATE = WriteMode.CREATE
A = {"text": "a"}


@pytest.fixture(params=["postgresql", "mariadb"])
def own_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    """A server of this test alone, because it is killed."""
    with running_postgres() if request.param == "postgresql" else running_mariadb() as server:
        yield request.param, server


@pytest.mark.server
def test_a_killed_server_is_reconnect_and_then_all_goes_on(own_server: tuple[str, Server], tmp_path: Path) -> None:
    name, server = own_server
    database = fresh(name, tmp_path, server)

    async def scene() -> None:
        events = database.entity("events")
        async with database.open() as connection:
            assert isinstance(await connection.write(events, CREATE, [item(A, "e1")]), Done)
            await asyncio.to_thread(server.kill)
            for _ in range(3):
                down = await connection.write(events, CREATE, [item(A, "e2")])
                assert isinstance(down, Reconnect), down
            assert isinstance(await connection.check(), Reconnect)
            await asyncio.to_thread(server.start)
            for effect in ("e1", "e2", "e3"):
                outcome: object = Reconnect("")
                for _ in range(8):  # each pooled connection notices once that its server died
                    outcome = await connection.write(events, CREATE, [item(A, effect, in_doubt=True)])
                    if not isinstance(outcome, Reconnect):
                        break
                assert isinstance(outcome, Done), outcome
                assert outcome.was_there is (effect == "e1")
        assert database.rows("SELECT count(*) FROM events") == [(3,)]

    asyncio.run(scene())


@pytest.mark.server
def test_a_server_that_is_away_at_the_start_is_no_error(own_server: tuple[str, Server], tmp_path: Path) -> None:
    name, server = own_server
    database = fresh(name, tmp_path, server)
    server.stop()

    async def scene() -> None:
        async with database.open() as connection:
            assert isinstance(await connection.check(), Reconnect)
            await asyncio.to_thread(server.start)
            done = await connection.write(database.entity("events"), CREATE, [item(A, "e1")])
            assert isinstance(done, Done), done

    asyncio.run(scene())


@pytest.mark.server
def test_without_the_privilege_the_ddl_is_told(postgres: Server, tmp_path: Path) -> None:
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO reader",
    )
    settings = SqlSettings(url=Secret(postgres.url.replace("accord@", "reader@")), password=Secret("pässword"))

    async def scene() -> None:
        connection = CONNECTOR.connect(settings, database.entities(), database.context())
        with pytest.raises(ConnectorError, match="CREATE TABLE accord_effects") as error:
            await connection.open()
        await connection.close()
        assert error.value.code == "connector.sql-effects-table"
        assert "pässword" not in str(error.value)

    try:
        asyncio.run(scene())
    finally:
        database.execute("DROP OWNED BY reader", "DROP ROLE reader")


def test_a_busy_sqlite_is_retry(tmp_path: Path) -> None:
    database = fresh("sqlite", tmp_path, None)

    async def scene() -> None:
        async with database.open(statement_timeout=dt.timedelta(milliseconds=50)) as connection:
            with sqlite3.connect(tmp_path / "erp.db", isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                busy = await connection.write(database.entity("events"), CREATE, [item(A, "e1")])
                other.execute("ROLLBACK")
            other.close()
            free = await connection.write(database.entity("events"), CREATE, [item(A, "e1")])
        assert isinstance(busy, Retry) and not busy.in_doubt
        assert isinstance(free, Done) and not free.was_there

    asyncio.run(scene())


@pytest.mark.server
def test_a_statement_that_takes_too_long_is_retry(postgres: Server, tmp_path: Path) -> None:
    database: TestDatabase = fresh("postgresql", tmp_path, postgres)
    database.execute("INSERT INTO products (sku, name, version) VALUES ('A', 'a', 1)")

    async def scene() -> None:
        engine = sa.create_engine(postgres.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
        async with database.open(statement_timeout=dt.timedelta(milliseconds=200)) as connection:
            with engine.connect() as other:
                other.exec_driver_sql("UPDATE products SET name = 'x'")
                locked = await connection.write(
                    database.entity("products"), WriteMode.UPDATE, [item({"sku": "A", "name": "y"}, "e")]
                )
                other.rollback()
        engine.dispose()
        assert isinstance(locked, Retry) and "timeout" in locked.reason

    asyncio.run(scene())


def test_read_only_systems_write_nothing(tmp_path: Path) -> None:
    database = fresh("sqlite", tmp_path, None)

    async def scene() -> None:
        async with database.open(read_only=True) as connection:
            outcome = await connection.write(database.entity("events"), CREATE, [item(A, "e1")])
        assert isinstance(outcome, Reject)
        assert database.rows("SELECT name FROM sqlite_master WHERE name = 'accord_effects'") == []

    asyncio.run(scene())


def test_sqlite_refuses_decimals_it_would_round(tmp_path: Path) -> None:
    database = fresh("sqlite", tmp_path, None)
    database.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, n DECIMAL(20,2), cents INTEGER, whole INTEGER)")
    declared = {
        "key": "id",
        "scaled": {"cents": 2},
        "fields": {"id": "integer", "n": "decimal?", "cents": "decimal?", "whole": "decimal?"},
    }

    async def scene() -> None:
        numbers = database.entity("numbers", declared)
        async with database.open() as connection:

            async def write(effect: str, **record: object) -> object:
                return await connection.write(numbers, CREATE, [item(record, effect)])

            good = await write("1", id=1, n=Decimal("1234567890123.10"), cents=Decimal("12.34"), whole=Decimal("7"))
            assert isinstance(good, Done), good
            too_fine: dict[str, dict[str, object]] = {
                "2": {"n": Decimal("12345678901234567.10")},
                "3": {"cents": Decimal("0.125")},
                "4": {"whole": Decimal("1.5")},
            }
            for effect, bad in too_fine.items():
                refused = await write(effect, id=2, **bad)
                assert isinstance(refused, Reject) and refused.path == next(iter(bad)), refused
            got = await connection.get(numbers, "1")
        assert isinstance(got, Done)
        assert {k: str(v) for k, v in got.result.items()} == {
            "id": "1",
            "n": "1234567890123.10",
            "cents": "12.34",
            "whole": "7",
        }
        assert database.rows("SELECT cents FROM numbers") == [(1234,)]

    asyncio.run(scene())
