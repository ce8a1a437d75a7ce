"""An API read in batches gives what its pages give, with several pages on their way, in order, from any position."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from accord.connectors.http import CONNECTOR
from accord.connectors.http.bulk import PAGES_AT_ONCE, Pace
from accord.connectors.http.settings import HttpEntity, HttpSettings, RateLimitSettings
from accord.engine.http import PooledHttpClient
from accord.errors import Faults
from accord.record import Entity
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import Connection, Context, ReadFailed
from accord.sdk.http import HttpResponse, InboundRequest, decode_json, encode_json
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.node import Node
from accord.testing.http_server import TestServer, json_answer, serve

FIELDS = {
    "id": "integer",
    "name": "string",
    "total": "decimal?",
    "at": "datetime",
    "lines": {"list": {"sku": "string"}},
    "more": "json?",
}
PAGINGS: dict[str, dict[str, Any]] = {
    "page": {"type": "page", "size": 10, "size_param": "size"},
    "pages_at": {"type": "page", "size": 10, "size_param": "size", "pages_at": "pages"},
    "offset": {"type": "offset", "size": 10, "size_param": "size"},
    "cursor": {"type": "cursor", "at": "next"},
    "next": {"type": "next", "at": "url"},
    "link": {"type": "link"},
}


def order(number: int) -> dict[str, Any]:
    wrong: dict[int, dict[str, Any]] = {
        7: {"total": "much"},
        23: {"id": "x"},
        40: {"at": "2026-01-31"},
        41: {"lines": [{"sku": 1}]},
    }
    return {
        "id": number, "name": f"Näme {number}", "total": Decimal(f"{number}.10"), "at": "2026-01-31T09:00:00Z", "other": 1,
        "lines": [{"sku": f"s{number}"}], "more": {"n": number}, **wrong.get(number, {}),
    }  # fmt: skip


class Api:
    def __init__(self, count: int) -> None:
        self.count = count
        self.most_at_once = self.now = 0

    async def __call__(self, request: InboundRequest) -> HttpResponse:
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1
        first = int(query.get("offset") or query.get("cursor") or 10 * (int(query.get("page", 1)) - 1))
        records = [order(n) for n in range(first, min(first + 10, self.count)) if n >= int(query.get("since", 0))]
        after = first + 10 if first + 10 < self.count else None
        url = f"/orders?cursor={after}"
        body = {
            "data": {"orders": records},
            "pages": -(-self.count // 10),
            "next": after,
            "url": url if after else None,
        }
        answer = json_answer(body)
        if after is None:
            return answer
        return HttpResponse(status=200, headers={**answer.headers, "link": f'<{url}>; rel="next"'}, body=answer.body)


@asynccontextmanager
async def opened(
    server: TestServer, paging: str, folder: Path, **more: Any
) -> AsyncIterator[tuple[Connection, Entity]]:
    faults = Faults()
    settings = decode(Node.of({"address": server.address, "paging": PAGINGS[paging], **more}), HttpSettings, faults)
    declared = {
        "key": "id", "path": "/orders", "list": "data.orders", "fields": FIELDS,
        "read": {"cursor": "id", "param": "since", "format": "number"},
    }  # fmt: skip
    entity = read_entity("shop", "orders", Node.of(declared), HttpEntity, faults)
    assert settings is not None and entity is not None, faults.found
    http = PooledHttpClient()
    connection = CONNECTOR.connect(
        settings, {"orders": entity}, Context(system="shop", http=http, folder=folder, state_folder=folder)
    )
    await connection.open()
    try:
        yield connection, entity
    finally:
        await connection.close()
        await http.close()


async def bulk(connection: Any, entity: Entity, **how: Any) -> list[Batch]:
    return [batch async for batch in connection.read_bulk(entity, BulkRead(**how))]


def flat(batches: list[Batch]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for batch in batches:
        assert batch.numbers is not None
        found |= dict(zip(batch.numbers, batch.frame.iter_rows(named=True), strict=True))
        found |= {odd.number: odd.record for odd in batch.odd}
    return found


@pytest.mark.parametrize("paging", PAGINGS)
@pytest.mark.parametrize("count", [0, 5, 40, 97])
def test_batches_hold_what_pages_hold(tmp_path: Path, paging: str, count: int) -> None:
    api = Api(count)

    async def scene() -> None:
        async with serve(api) as server, opened(server, paging, tmp_path) as (connection, entity):
            batches = await bulk(connection, entity, rows=25)
            assert [b.is_last for b in batches] == [False] * (len(batches) - 1) + [True]
            found = flat(batches)
            assert list(found) == list(range(1, count + 1)) or sorted(found) == list(range(1, count + 1))
            wrong = [n for n in (7, 23, 40, 41) if n < count]
            assert [odd.number - 1 for b in batches for odd in b.odd] == wrong
            for number, row in found.items():
                wanted = order(number - 1)
                if number - 1 in wrong:
                    assert row == decode_json(encode_json(wanted))
                    continue
                assert decode_json(row.pop("more").encode()) == wanted["more"]
                assert row == {
                    "id": wanted["id"], "name": wanted["name"], "total": wanted["total"], "lines": wanted["lines"],
                    "at": dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC),
                }  # fmt: skip
            for at, batch in enumerate(batches[:-1]):
                rest = await bulk(connection, entity, rows=25, position=decode_json(encode_json(batch.position)))
                assert [(b.position, b.odd) for b in rest] == [(b.position, b.odd) for b in batches[at + 1 :]]
                assert all(a.frame.equals(b.frame) for a, b in zip(rest, batches[at + 1 :], strict=True))
            (nothing,) = await bulk(connection, entity, rows=25, position=batches[-1].position)
            assert nothing.is_last and nothing.frame.height == 0
            counted = paging in ("page", "pages_at", "offset")
            assert 1 < api.most_at_once <= PAGES_AT_ONCE if counted else api.most_at_once == 1

    asyncio.run(scene())


def test_only_changes_are_asked_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serve(Api(60)) as server, opened(server, "cursor", tmp_path) as (connection, entity):
            found = flat(await bulk(connection, entity, cursor="id", since=55))
            assert [row["id"] for row in found.values()] == [55, 56, 57, 58, 59]
            with pytest.raises(ReadFailed, match="no way to ask for records since a 'at'"):
                await bulk(connection, entity, cursor="at", since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))

    asyncio.run(scene())


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    async def broken(request: InboundRequest) -> HttpResponse:
        return json_answer({"data": {"orders": "none"}})

    async def failing(request: InboundRequest) -> HttpResponse:
        return (
            HttpResponse(status=503)
            if "page=2" in request.query
            else json_answer({"data": {"orders": [order(1)] * 10}})
        )

    async def scene() -> None:
        async with serve(broken) as server, opened(server, "page", tmp_path) as (connection, entity):
            with pytest.raises(ReadFailed, match="no list of records"):
                await bulk(connection, entity)
        async with serve(failing) as server, opened(server, "page", tmp_path) as (connection, entity):
            with pytest.raises(ReadFailed):
                await bulk(connection, entity)

    asyncio.run(scene())


def test_the_rate_is_kept() -> None:
    settings = HttpSettings(address="http://x", rate_limit=RateLimitSettings(requests=100, concurrent=3))
    times = [0.0]

    async def scene() -> None:
        pace = Pace(settings, clock=lambda: times[0])
        assert pace.at_once == 3
        for _ in range(3):
            await pace.wait()
        assert pace._next == pytest.approx(0.03)

    asyncio.run(scene())
