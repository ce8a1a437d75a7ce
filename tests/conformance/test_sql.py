"""The sql connector passes the connector suite on every database it claims."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.connectors.sql.databases import TestDatabase, fresh, operations
from tests.servers import Server, free_port

from accord.connectors.sql import CONNECTOR
from accord.sdk.connector import WriteMode
from accord.testing.connector_suite import CallCase, EntityCase, Status, Subject, check_names, run_check


def _case(database: TestDatabase) -> EntityCase:
    versions = iter(range(100, 10_000))

    async def stored() -> list[dict[str, Any]]:
        names = ("sku", "name", "on_hand", "version")
        return [dict(zip(names, row, strict=True)) for row in database.rows(f"SELECT {', '.join(names)} FROM products")]

    async def seed(records: Sequence[dict[str, Any]]) -> None:
        for r in records:
            row = f"'{r['sku']}', '{r['name']}', {r['on_hand']}, {next(versions)}"
            database.execute(
                f"DELETE FROM products WHERE sku = '{r['sku']}'",
                f"INSERT INTO products (sku, name, on_hand, version) VALUES ({row})",
            )

    async def touch(record: dict[str, Any]) -> None:
        database.execute(f"UPDATE products SET version = {next(versions)} WHERE sku = '{record['sku']}'")

    def changed(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "name": record["name"] + "!", "on_hand": record["on_hand"] + 1}

    records = [
        {
            "sku": f"S{i}",
            "name": f"name {i}",
            "price": Decimal("1.2500"),
            "on_hand": i,
            "is_active": True,
            "tags": ["x"],
            "changed_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            "launched": dt.date(2026, 1, 1),
            "version": i,
        }
        for i in range(5)
    ]
    refused = {**records[4], "sku": "BAD", "on_hand": -1}
    return EntityCase(
        entity="products",
        records=records,
        stored=stored,
        seed=seed,
        touch=touch,
        changed=changed,
        refused=refused,
        modes=list(WriteMode),
    )


@asynccontextmanager
async def subject(name: str, folder: Path, server: Server | None) -> AsyncIterator[Subject]:
    database = fresh(name, folder, server)
    database.execute("INSERT INTO products (sku, name, on_hand, version) VALUES ('STOCK', 'n', 9, 1)")
    settings = database.settings(operations=operations())
    away = f"sqlite:///{folder}/no/such/folder/x.db" if server is None else f"{name}://accord@127.0.0.1:{free_port()}/x"
    (folder / "garbage.db").write_bytes(b"this is no database at all " * 100)

    async def taken() -> Any:
        return database.rows("SELECT on_hand FROM products WHERE sku = 'STOCK'")

    async with _nonsense() as port:
        garbage = f"sqlite:///{folder}/garbage.db" if server is None else f"{name}://accord@127.0.0.1:{port}/x"
        yield Subject(
            kind=CONNECTOR,
            settings=settings,
            entities={"products": database.entity("products")},
            folder=folder,
            cases=[_case(database)],
            calls=[
                CallCase(
                    operation="decrease_stock",
                    arguments={"sku": "STOCK", "by": 2},
                    effects=taken,
                    refused={"sku": "STOCK", "by": 100},
                ),
                CallCase(operation="stock_of", arguments={"sku": "STOCK"}, effects=taken),
            ],
            unreachable=msgspec.structs.replace(settings, url=away),
            garbage=msgspec.structs.replace(settings, url=garbage),
        )


@asynccontextmanager
async def _nonsense() -> AsyncIterator[int]:
    """A server that greets everyone with nonsense and hangs up."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is not a database\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("name", check_names())
@pytest.mark.parametrize(
    "kind",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.server), pytest.param("mariadb", marks=pytest.mark.server)],
)
def test_conformance(kind: str, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fixture = {"postgresql": "postgres", "mariadb": "mariadb"}.get(kind)
    server = request.getfixturevalue(fixture) if fixture else None
    result = asyncio.run(run_check(name, lambda: subject(kind, tmp_path, server)))
    assert result.status is not Status.FAILED, result.why
