"""Bulk loads of the sql connector pass the bulk suite on every database it claims."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.connectors.sql.databases import TestDatabase, database
from tests.servers import mariadb, postgres

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.spec import SqlEntity
from accord.errors import Faults
from accord.mapping.contract import compile_contract
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import Connection
from accord.sdk.http import encode_json
from accord.testing.bulk_suite import CHECKS, FIELDS, is_for

__all__ = ["database", "mariadb", "postgres"]  # fixtures

TYPES = {
    "sqlite": {"money": "TEXT", "instant": "TEXT", "json": "TEXT", "bool": "BOOLEAN"},
    "postgresql": {"money": "NUMERIC", "instant": "TIMESTAMPTZ", "json": "JSONB", "bool": "BOOLEAN"},
    "mariadb": {"money": "DECIMAL(38,10)", "instant": "DATETIME(6)", "json": "JSON", "bool": "BOOLEAN"},
}
COLUMNS = "name TEXT, amount {money}, day DATE, at {instant}, ok {bool}, extra {json}"
VERSIONS = ", valid_from {instant} NOT NULL, valid_to {instant} NULL, is_current {bool} NOT NULL"
VERSION_FIELDS = {
    "valid_from": Field(type=t.DateTime()),
    "valid_to": Field(type=t.DateTime(), nullable=True),
    "is_current": Field(type=t.Boolean()),
}


class TableSubject:
    modes = frozenset(LoadMode)
    is_strict = True

    def __init__(self, database: TestDatabase, *, is_history: bool) -> None:
        self._database = database
        self.run = uuid.uuid4().hex[:10]
        self._table = f"bulk_{self.run}"
        key = "id BIGINT NOT NULL" if is_history else "id BIGINT NOT NULL PRIMARY KEY"
        ddl = f"CREATE TABLE {self._table} ({key}, {COLUMNS}{VERSIONS if is_history else ''})"
        database.execute(ddl.format(**TYPES[database.name]))
        self.entity = Entity(name="erp.bulk", fields=FIELDS, key=("id",), extra=SqlEntity(table=self._table))
        read = {**FIELDS, **VERSION_FIELDS} if is_history else FIELDS
        self._read = Entity(name="erp.shown", fields=read, extra=SqlEntity(table=self._table))
        contract = compile_contract(self._read, None, Faults(), types_only=True)
        self._typed = contract.check

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        entities = {"bulk": self.entity}
        connection = CONNECTOR.connect(self._database.settings(), entities, self._database.context())
        try:
            await connection.open()
            yield connection
        finally:
            await connection.close()

    async def shown(self) -> list[dict[str, Any]]:
        async with self.connection() as connection:
            records = [record async for page in connection.read(self._read) for record in page.records]
        for record in records:
            if record["extra"] is not None:
                record["extra"] = encode_json(record["extra"]).decode()
        return sorted((self._typed(record) for record in records), key=lambda record: record["id"])


@pytest.mark.parametrize("name", [name for name in CHECKS if is_for(name, TableSubject.modes, is_strict=True)])
def test_bulk_suite(database: TestDatabase, name: str) -> None:
    asyncio.run(CHECKS[name](TableSubject(database, is_history="history" in name)))
