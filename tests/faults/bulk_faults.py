"""Databases and projects for tests of loads under faults."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.servers import (
    Server,
)
from tests.unit.engine.bulk.nightly import NIGHTLY, Ran, run

from accord.engine.bulk.run import BulkRun

PATIENT = "on_error: {attempts: 200, first: 20ms, longest: 100ms}\n"
BRIEF = "on_error: {attempts: 2, first: 10ms}\n"
WAREHOUSE = """
system: warehouse
connector: sql
settings: {{url: "{url}"}}
entities:
  orders: {{key: number, fields: {{number: string, total: decimal}}}}
  log: {{key: number, fields: {{number: string, total: decimal}}}}
"""
APPENDS = NIGHTLY.replace(
    "warehouse.orders, mapping: order", "warehouse.log, with: {number: name, total: total}, mode: append"
)


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why runs have paused."""
    found: list[str] = []
    pause = BulkRun._pause

    async def noted(self: BulkRun, outcome: Any, failures: int) -> None:
        found.append(outcome.reason)
        await pause(self, outcome, failures)

    monkeypatch.setattr(BulkRun, "_pause", noted)
    return found


def driver_url(server: Server, database: str = "") -> str:
    drivers = {"postgresql:": "postgresql+psycopg:", "mariadb:": "mariadb+pymysql:"}
    url = server.url
    for plain, driver in drivers.items():
        url = url.replace(plain, driver)
    return url.rpartition("/")[0] + f"/{database}" if database else url


class Db:
    """A database of a test's own on a server."""

    def __init__(self, server: Server, name: str) -> None:
        admin = sa.create_engine(driver_url(server), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with admin.connect() as db:
            db.exec_driver_sql(f"CREATE DATABASE {name}")
        admin.dispose()
        self.url = driver_url(server, name)
        self.engine = sa.create_engine(self.url, poolclass=sa.NullPool)

    def do(self, *statements: str) -> None:
        with self.engine.begin() as db:
            for statement in statements:
                db.exec_driver_sql(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as db:
            return [tuple(row) for row in db.exec_driver_sql(query)]

    def count(self, table: str) -> int:
        """0 as well while the server is away."""
        try:
            return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])
        except sa.exc.DBAPIError:
            return 0


@pytest.fixture
def aside() -> Iterator[Callable[[Path], concurrent.futures.Future[Ran]]]:
    """Runs the flow on another thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield lambda folder: pool.submit(run, folder)


SHOP = """
system: shop
connector: sql
settings: {{url: "{url}"}}
entities:
  orders: {{key: id, fields: {{id: integer, name: string, total: {{type: decimal, min: 0}}}}}}
"""
