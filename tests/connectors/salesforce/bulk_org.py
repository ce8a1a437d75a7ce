"""An org whose bulk jobs are watched, and ways to read from it and load into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import requests

from accord.connectors.salesforce import CONNECTOR
from accord.connectors.salesforce.settings import BulkUse
from accord.engine.http import PooledHttpClient
from accord.record import Entity
from accord.record.batch import Batch
from accord.record.columns import schema_of
from accord.sdk.bulk import BulkRead, Chunk, LoadMode, LoadSpec, Written
from accord.sdk.connector import Context
from accord.sdk.http import HttpRequest, HttpResponse, decode_json, encode_json


class Watching(PooledHttpClient):
    """Remembers what was asked."""

    def __init__(self) -> None:
        super().__init__(timeout_s=5.0)
        self.asked: list[tuple[str, str]] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append((request.method, request.url.partition("/data/v65.0")[2].partition("?")[0]))
        return await super().send(request)

    def made(self, kind: str) -> int:
        return self.asked.count(("POST", f"/jobs/{kind}"))


def entity(org: Any, name: str = "Account", bulk: BulkUse = BulkUse.ALWAYS, **changed: Any) -> Entity:
    found = org.entities[name]
    return msgspec.structs.replace(found, extra=msgspec.structs.replace(found.extra, bulk=bulk), **changed)


@asynccontextmanager
async def connected(org: Any, folder: Path, **settings: Any) -> AsyncIterator[tuple[Any, Watching]]:
    http = Watching()
    context = Context(system="crm", http=http, folder=folder, state_folder=folder)
    connection = CONNECTOR.connect(org.settings(page_size=200, **settings), org.entities, context)
    try:
        await connection.open()
        yield connection, http
    finally:
        await connection.close()
        await http.close()


async def put(org: Any, records: Sequence[dict[str, Any]], object_: str = "Account") -> None:
    """Behind the connector's back, 200 in a call."""
    for start in range(0, len(records), 200):
        body = [{"attributes": {"type": object_}, **one} for one in records[start : start + 200]]
        answer = await org.ask("POST", "/composite/sobjects", {"allOrNone": True, "records": body})
        assert all(one["success"] for one in answer.json()), answer.body


async def read(connection: Any, entity: Entity, **asked: Any) -> list[Batch]:
    """All batches with rows in them, or the last."""
    source = connection.read_bulk(entity, BulkRead(**asked))
    return [batch async for batch in source if not batch.after_s]


def values(batches: Sequence[Batch], name: str = "Shop_Id__c") -> list[Any]:
    return [value for batch in batches for value in batch.frame[name].to_list()]


def again(position: Any) -> Any:
    """As the journal gives it back."""
    return decode_json(encode_json(position))


def owner(org: Any, path: str, body: Any) -> None:
    answer = requests.post(f"{org.sandbox.systems['crm'].control}/_sandbox/{path}", json=body, timeout=5)
    assert answer.ok, answer.text


@asynccontextmanager
async def load(connection: Any, entity: Entity, mode: LoadMode, id: str = "run-0") -> AsyncIterator[Any]:
    made = connection.load(entity, LoadSpec(id=id, mode=mode, key=entity.key, fields=tuple(entity.fields)))
    try:
        await made.begin()
        yield made
    finally:
        await made.leave()


def chunk(entity: Entity, number: int, records: Sequence[dict[str, Any]]) -> Chunk:
    import polars as pl

    given = {name: field for name, field in entity.fields.items() if name != "Id"}
    rows = [{name: one.get(name) for name in given} for one in records]
    return Chunk(number, pl.DataFrame(rows, schema=schema_of(given)))


def refused(written: Written) -> dict[int, str]:
    return {one.row: one.reason.split(":")[0] for one in written.rejects}
