"""A database to test with: its address, a way to run statements behind the connector's back, and open connections."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.servers import Server

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.spec import SqlEntity, SqlOperation, SqlSettings
from accord.errors import Faults
from accord.record import Entity
from accord.sdk.connector import Connection, Context, WriteItem
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.node import Node

DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}

# one schema, in the words of each database
TYPES = {
    "sqlite": {"auto": "INTEGER PRIMARY KEY", "money": "TEXT", "instant": "TEXT", "json": "TEXT", "bool": "INTEGER"},
    "postgresql": {
        "auto": "SERIAL PRIMARY KEY",
        "money": "NUMERIC(30,4)",
        "instant": "TIMESTAMPTZ",
        "json": "JSONB",
        "bool": "BOOLEAN",
    },
    "mariadb": {
        "auto": "INTEGER AUTO_INCREMENT PRIMARY KEY",
        "money": "DECIMAL(30,4)",
        "instant": "DATETIME(6)",
        "json": "JSON",
        "bool": "BOOLEAN",
    },
}
TABLES = """
CREATE TABLE products (sku VARCHAR(40) PRIMARY KEY, name VARCHAR(60) NOT NULL, price {money}, on_hand INTEGER,
  is_active {bool}, tags {json}, changed_at {instant}, launched DATE, version INTEGER, CHECK (on_hand >= 0));
CREATE TABLE invoices (id {auto}, number VARCHAR(40) NOT NULL UNIQUE, total {money}, issued_at {instant});
CREATE TABLE invoice_lines (invoice_id INTEGER NOT NULL, line_no INTEGER NOT NULL, sku VARCHAR(40) NOT NULL, amount {money},
  PRIMARY KEY (invoice_id, line_no));
CREATE TABLE events (id {auto}, text VARCHAR(60))
"""

ENTITIES: dict[str, Any] = {
    "products": {
        "key": "sku",
        "cursor": "version",
        "page_rows": 3,
        "fields": {
            "sku": "string",
            "name": "string",
            "price": "decimal?",
            "on_hand": "integer?",
            "is_active": "boolean?",
            "tags": "json?",
            "changed_at": "datetime?",
            "launched": "date?",
            "version": "integer",
        },
    },
    "invoices": {
        "key": "id",
        "children": {"lines": {"table": "invoice_lines", "parent_key": "invoice_id", "position": "line_no"}},
        "fields": {
            "id": "integer",
            "number": "string",
            "total": "decimal?",
            "issued_at": "datetime?",
            "lines": {"list": {"sku": "string", "amount": "decimal"}},
        },
    },
    "events": {"fields": {"text": "string"}},
}


@dataclasses.dataclass
class TestDatabase:
    __test__ = False

    name: str
    url: str
    folder: Path
    server: Server | None = None

    def execute(self, *statements: str) -> list[list[Any]]:
        """Runs statements in one transaction of another connection; the rows of each."""
        address = self.url.replace(f"{self.name}://", f"{DRIVERS.get(self.name, self.name)}://")
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        try:
            with engine.begin() as connection:
                results = [connection.exec_driver_sql(statement) for statement in statements]
                return [list(result.all()) if result.returns_rows else [] for result in results]
        finally:
            engine.dispose()

    def rows(self, statement: str) -> list[Any]:
        return self.execute(statement)[0]

    def entity(self, short_name: str, declared: Mapping[str, Any] | None = None) -> Entity:
        faults = Faults()
        node = Node.of(declared or ENTITIES[short_name])
        entity = read_entity("erp", short_name, node, SqlEntity, faults)
        assert entity is not None, faults.found
        return entity

    def entities(self) -> dict[str, Entity]:
        return {name: self.entity(name) for name in ENTITIES}

    def settings(self, **more: Any) -> SqlSettings:
        return SqlSettings(url=self.url, **more)

    def context(self) -> Context:
        return Context(system="erp", http=None, folder=self.folder, state_folder=self.folder)  # type: ignore[arg-type]

    @asynccontextmanager
    async def open(self, **more: Any) -> AsyncIterator[Connection]:
        connection = CONNECTOR.connect(self.settings(**more), self.entities(), self.context())
        try:
            await connection.open()
            yield connection
        finally:
            await connection.close()


def fresh(name: str, folder: Path, server: Server | None) -> TestDatabase:
    """A database with empty tables; servers are shared by the tests of a process, so their tables are made anew."""
    url = server.url if server else f"sqlite:///{folder / 'erp.db'}"
    database = TestDatabase(name, url, folder, server)
    if server and server.is_prepared:  # making tables costs far more than emptying them
        database.execute(
            "DROP TABLE IF EXISTS accord_effects",
            *(f"DELETE FROM {t}" for t in ("invoice_lines", "invoices", "products", "events")),
        )
        return database
    database.execute(*(each.format(**TYPES[name]) for each in TABLES.split(";")))
    if server:
        server.is_prepared = True
    return database


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.server),
        pytest.param("mariadb", marks=pytest.mark.server),
    ]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> TestDatabase:
    fixture = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
    return fresh(request.param, tmp_path, request.getfixturevalue(fixture) if fixture else None)


def operations() -> dict[str, SqlOperation]:
    """Operations as a system file declares them."""
    declared = {
        "decrease_stock": {
            "query": "UPDATE products SET on_hand = on_hand - :by WHERE sku = :sku AND on_hand >= :by",
            "takes": {"sku": "string", "by": "integer"},
            "must_change": True,
        },
        "stock_of": {
            "query": "SELECT sku, on_hand, price FROM products WHERE sku = :sku",
            "takes": {"sku": "string"},
            "read_only": True,
            "rows": "one",
        },
        "note": {"procedure": "note", "takes": {"what": "string"}},
    }
    faults = Faults()
    found = decode(Node.of(declared), dict[str, SqlOperation], faults)
    assert found is not None, faults.found
    return found


def item(record: Mapping[str, Any], effect_id: str, in_doubt: bool = False) -> WriteItem:
    return WriteItem(effect_id, dict(record), in_doubt)


def run(test: Callable[[], Any]) -> Any:
    return asyncio.run(test())
