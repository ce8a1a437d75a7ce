"""Loads into tables with constraints, children and slow triggers."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import polars as pl
import pytest
from tests.connectors.sql.databases import TestDatabase

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.bulk.load import SqlLoad
from accord.connectors.sql.spec import SqlEntity
from accord.record import Entity, Field, Reject
from accord.record import types as t
from accord.record.columns import schema_of
from accord.sdk.bulk import Chunk, Loaded, LoadMode, LoadSpec, Written
from accord.sdk.connector import LoadFailed

FIELDS = {
    "id": Field(type=t.Integer()),
    "n": Field(type=t.Integer(), nullable=True),
    "extra": Field(type=t.Json(), nullable=True),
}


class Target:
    """A table ``(id, n, extra)`` as ``ddl`` makes it, ``{name}`` being its name."""

    def __init__(self, database: TestDatabase, *ddl: str) -> None:
        self.database = database
        self.name = f"load_{uuid.uuid4().hex[:8]}"
        database.execute(*(each.format(name=self.name) for each in ddl))

    @asynccontextmanager
    async def load(self, mode: LoadMode, *, key: bool = True, **settings: Any) -> AsyncIterator[SqlLoad]:
        entity = Entity(name="erp.rows", fields=FIELDS, key=("id",) if key else (), extra=SqlEntity(table=self.name))
        connection = CONNECTOR.connect(self.database.settings(**settings), {"rows": entity}, self.database.context())
        await connection.open()
        spec = LoadSpec(id=uuid.uuid4().hex, mode=mode, key=entity.key, fields=tuple(FIELDS), deleted_share_max=1.0)
        made: SqlLoad = connection.load(entity, spec)  # type: ignore[attr-defined]
        try:
            await made.begin()
            yield made
        finally:
            await connection.close()

    def run(self, mode: LoadMode, rows: Sequence[tuple[Any, ...]], **more: Any) -> tuple[Written, Loaded]:
        async def whole() -> tuple[Written, Loaded]:
            async with self.load(mode, **more) as made:
                frame = pl.DataFrame(list(rows), schema=schema_of(FIELDS), orient="row")
                return await made.write(Chunk(0, frame)), await made.finish()

        return asyncio.run(whole())

    def rows(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.database.rows(f"SELECT id, n FROM {self.name} ORDER BY id")]


PLAIN = "CREATE TABLE {name} (id BIGINT NOT NULL PRIMARY KEY, n BIGINT, extra TEXT)"
STRICT = "CREATE TABLE {name} (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL CHECK (n > 0), extra TEXT, UNIQUE (n))"


def test_replace_keeps_rows_that_others_refer_to(database: TestDatabase) -> None:
    child = "CREATE TABLE {name}_of (parent BIGINT, FOREIGN KEY (parent) REFERENCES {name} (id) ON DELETE CASCADE)"
    target = Target(
        database,
        PLAIN,
        child,
        "INSERT INTO {name} (id, n) VALUES (1, 1), (2, 2)",
        "INSERT INTO {name}_of VALUES (1), (2)",
    )
    _, told = target.run(LoadMode.REPLACE, [(2, 20, None), (3, 30, None)])
    assert target.rows() == [(2, 20), (3, 30)]
    assert [row[0] for row in database.rows(f"SELECT parent FROM {target.name}_of")] == [2]
    assert told.deleted == 1
    with pytest.raises(LoadFailed) as caught:
        target.run(LoadMode.REPLACE, [(9, 9, None)], key=False)
    assert isinstance(caught.value.outcome, Reject)
    assert f"{target.name}_of refer to rows" in caught.value.outcome.reason
    assert target.rows() == [(2, 20), (3, 30)]


@pytest.mark.parametrize("mode", [LoadMode.APPEND, LoadMode.UPSERT, LoadMode.REPLACE, LoadMode.DELETE_MISSING])
def test_rows_that_a_constraint_refuses_stand_alone_in_every_mode(database: TestDatabase, mode: LoadMode) -> None:
    target = Target(database, STRICT)
    written, _ = target.run(mode, [(1, 1, None), (2, -1, None), (3, None, None), (4, 4, None), (5, 4, None)])
    assert [reject.row for reject in written.rejects] == [1, 2, 4], written
    assert target.rows() == [(1, 1), (4, 4)]


PARENT = "CREATE TABLE {name}_parent (id BIGINT NOT NULL PRIMARY KEY)"
CHILD = """CREATE TABLE {{name}} (
  id BIGINT NOT NULL, n BIGINT NOT NULL CHECK (n > 0), extra VARCHAR(9) CHECK (LENGTH(extra) < 9){more},
  FOREIGN KEY (n) REFERENCES {{name}}_parent (id))"""
VERSIONS = ", valid_from TIMESTAMP NOT NULL, valid_to TIMESTAMP NULL, is_current BOOLEAN NOT NULL"
LONG = '"123456789"'
MADE = [(1, 1, None), (2, -1, None), (3, None, None), (4, 4, LONG), (5, 7, None), (6, 4, '"1"')]


@pytest.mark.parametrize("mode", LoadMode)
@pytest.mark.parametrize("key", [True, False])
def test_rows_that_only_the_target_refuses_are_told_with_why_in_every_mode(
    database: TestDatabase, mode: LoadMode, key: bool
) -> None:
    if not key and mode not in (LoadMode.APPEND, LoadMode.REPLACE):
        return
    is_history = mode is LoadMode.HISTORY
    unique = ", PRIMARY KEY (id, valid_from)" if is_history else ", PRIMARY KEY (id)"
    child = CHILD.format(more=(VERSIONS if is_history else "") + unique * key)
    target = Target(database, PARENT, child, "INSERT INTO {name}_parent (id) VALUES (1), (4)")
    written, told = target.run(mode, MADE, key=key)
    assert {r.row: (r.path, r.code) for r in written.rejects if r.row == 2} == {2: ("n", "connector.sql-null")}
    assert {r.row: r.code for r in written.rejects if r.row != 2} == {
        1: "connector.sql-value",
        3: "connector.sql-value",
        4: "connector.sql-reference",
    }
    assert target.rows() == [(1, 1), (6, 4)]
    assert (written.rows, told.inserted) == (2, 2)


def test_a_table_without_a_key_is_replaced_whole(database: TestDatabase) -> None:
    target = Target(
        database, "CREATE TABLE {name} (id BIGINT, n BIGINT, extra TEXT)", "INSERT INTO {name} (id, n) VALUES (1, 1)"
    )
    target.run(LoadMode.REPLACE, [(5, 5, None), (5, 5, None)], key=False)
    assert target.rows() == [(5, 5), (5, 5)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_columns_of_json_can_be_compared(database: TestDatabase) -> None:
    target = Target(database, "CREATE TABLE {name} (id BIGINT PRIMARY KEY, n BIGINT, extra JSON)")
    target.run(LoadMode.UPSERT, [(1, 1, '{"a":1}'), (2, 2, None)])
    _, told = target.run(LoadMode.UPSERT, [(1, 1, '{"a":2}'), (2, 2, None)])
    assert (told.inserted, told.updated, told.unchanged) == (0, 1, 1)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_the_limit_of_single_statements_is_not_that_of_a_load(database: TestDatabase) -> None:
    slow = [
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger AS 'BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END' LANGUAGE plpgsql",
        "CREATE TRIGGER slow BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION slow()",
    ]
    if database.name == "mariadb":
        slow = ["CREATE TRIGGER slow_{name} BEFORE INSERT ON {name} FOR EACH ROW DO SLEEP(0.04)"]
    target = Target(database, PLAIN, *slow)
    target.run(LoadMode.REPLACE, [(n, n, None) for n in range(50)], statement_timeout=dt.timedelta(seconds=1))
    assert len(target.rows()) == 50
