"""Batches of records: every row is written once or refused with its reason, whatever the API and the network do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from accord.connectors.http import CONNECTOR
from accord.connectors.http.settings import HttpEntity, HttpSettings
from accord.engine.http import PooledHttpClient
from accord.errors import Faults
from accord.record import Entity, Reconnect, Reject
from accord.record.columns import schema_of
from accord.sdk.bulk import Chunk, Load, LoadMode, LoadSpec, Written
from accord.sdk.connector import Context, LoadFailed
from accord.sdk.http import HttpResponse, InboundRequest, decode_json
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.node import Node
from accord.testing.http_server import Answer, json_answer, serve

FIELDS = {"id": "integer", "name": "string", "total": "decimal?", "lines": {"list": {"sku": "string"}}, "more": "json?"}
ANSWERS = {"at": "results", "ok": {"at": "status", "below": 300}, "reason": "error.message", "path": "error.field"}
BATCH = {"path": "/orders/batch", "size": 10, "wrap": "orders", "answers": ANSWERS}
ROWS = 25


def record(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "total": Decimal("1.50"), "lines": [{"sku": "s"}], "more": {"a": 1}}


class Api:
    """Writes what it is sent, once for each key; ``fault`` may answer first, ``lose`` says which answers are lost."""

    def __init__(self, bad: frozenset[int] = frozenset()) -> None:
        self.bad = bad
        self.written: Counter[int] = Counter()
        self.answers: dict[str, HttpResponse] = {}
        self.keys: list[str] = []
        self.sizes: list[int] = []
        self.fault: Callable[[list[Any]], Answer] = lambda _: None
        self.lose: set[int] = set()
        self.is_whole = False

    async def __call__(self, request: InboundRequest) -> Answer:
        orders = decode_json(request.body)["orders"]
        key = request.headers.get("idempotency-key", "")
        self.keys.append(key)
        self.sizes.append(len(orders))
        if (answer := self.fault(orders)) is not None:
            return answer
        if key not in self.answers or not key:
            self.answers[key] = self.write(orders)
        return None if len(self.keys) in self.lose else self.answers[key]

    def write(self, orders: list[Any]) -> HttpResponse:
        wrong = [one["id"] for one in orders if one["id"] in self.bad]
        if self.is_whole and wrong:
            return json_answer({"message": "one of them is wrong", "field": "total"}, 400)
        self.written.update(one["id"] for one in orders if one["id"] not in wrong)
        said = {"status": 422, "code": "E7", "error": {"message": "too much", "field": "total"}}
        return json_answer({"results": [said if one["id"] in wrong else {"status": 201} for one in orders]}, 207)


@asynccontextmanager
async def loading(
    address: str, folder: Path, batch: dict[str, Any], mode: LoadMode = LoadMode.APPEND, **more: Any
) -> AsyncIterator[tuple[Load, Entity]]:
    faults = Faults()
    given = {"address": address, "idempotency_header": "Idempotency-Key", **more}
    settings = decode(Node.of(given), HttpSettings, faults)
    declared = {"key": "id", "fields": FIELDS, "bulk": {mode.value: batch}}
    entity = read_entity("shop", "orders", Node.of(declared), HttpEntity, faults)
    assert settings is not None and entity is not None, faults.found
    http = PooledHttpClient()
    context = Context(system="shop", http=http, folder=folder, state_folder=folder)
    connection: Any = CONNECTOR.connect(settings, {"orders": entity}, context)
    await connection.open()
    load = connection.load(entity, LoadSpec(id="run-0", mode=mode, key=("id",)))
    try:
        await load.begin()
        yield load, entity
    finally:
        await load.leave()
        await connection.close()
        await http.close()


def chunk(entity: Entity, numbers: list[int], number: int = 0) -> Chunk:
    rows = [{**record(n), "more": '{"a":1}'} for n in numbers]
    return Chunk(number, pl.DataFrame(rows, schema=schema_of(entity.fields)))


async def written(api: Any, folder: Path, batch: dict[str, Any] = BATCH, rows: int = ROWS, **more: Any) -> Written:
    async with serve(api) as server, loading(server.address, folder, batch, **more) as (load, entity):
        return await load.write(chunk(entity, list(range(rows))))


def refused(found: Written) -> dict[int, str]:
    return {one.row: one.reason for one in found.rejects}


def test_records_that_are_refused_become_rejects(tmp_path: Path) -> None:
    api = Api(frozenset({3, 12}))
    found = asyncio.run(written(api, tmp_path))
    assert found.rows == 23 and refused(found) == {3: "E7: too much", 12: "E7: too much"}
    assert {one.path for one in found.rejects} == {"total"}
    assert api.written == Counter(n for n in range(ROWS) if n not in (3, 12)) and sorted(api.sizes) == [5, 10, 10]


def test_the_records_are_sent_whole_and_exact(tmp_path: Path) -> None:
    seen: list[InboundRequest] = []

    async def api(request: InboundRequest) -> Answer:
        seen.append(request)
        return json_answer(None, 204)

    asyncio.run(written(api, tmp_path, {"path": "/lines", "body": "jsonl", "omit": ["name"]}, 2))
    sent = {name: value for name, value in record(1).items() if name != "name"}
    assert [decode_json(line) for line in seen[0].body.splitlines()][1] == sent
    assert b'"total":1.5' in seen[0].body and seen[0].headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize("cut", [None, b'HTTP/1.1 207 Multi-Status\r\ncontent-length: 400\r\n\r\n{"results": [{'])
def test_a_lost_answer_is_asked_for_again_by_the_same_key(tmp_path: Path, cut: bytes | None) -> None:
    """Written, but the answer is lost or cut short; the next attempt is another process with what lies in the state folder."""
    api = Api(frozenset({3}))

    async def lossy(request: InboundRequest) -> Answer:
        answer = await api(request)
        return cut if len(api.keys) == 2 else answer

    async def scene() -> None:
        async with serve(lossy) as server:
            async with loading(server.address, tmp_path, BATCH) as (load, entity):
                with pytest.raises(LoadFailed) as failed:
                    await load.write(chunk(entity, list(range(ROWS))))
                assert failed.value.outcome.in_doubt  # type: ignore[union-attr]
            async with loading(server.address, tmp_path, BATCH) as (load, entity):
                found = await load.write(chunk(entity, list(range(ROWS))))
                assert found.rows == 24 and list(refused(found)) == [3] and not found.was_there
                assert len(api.keys) == 4 and len(set(api.keys)) == 3 and api.keys[1] == api.keys[3]
            async with loading(server.address, tmp_path, BATCH) as (load, entity):
                again = await load.write(chunk(entity, list(range(ROWS))))
                assert again.was_there and again.rejects == found.rejects and len(api.keys) == 4
                assert (await load.write(chunk(entity, list(range(100, 105)), 1))).rows == 5
                await load.finish()
        assert list(tmp_path.iterdir()) == [] and set(api.written.values()) == {1} and len(api.written) == 29

    asyncio.run(scene())


def test_a_key_still_at_work_is_waited_for(tmp_path: Path) -> None:
    """409 for a batch whose answer was lost: halving it would write its records twice."""
    api = Api()
    api.lose = {1}

    async def scene() -> None:
        async with serve(api) as server:
            for fault in (None, json_answer({"message": "in progress"}, 409)):
                api.fault = lambda _, fault=fault: fault  # type: ignore[misc]
                async with loading(server.address, tmp_path, BATCH) as (load, entity):
                    with pytest.raises(LoadFailed) as failed:
                        await load.write(chunk(entity, list(range(10))))
                    assert not isinstance(failed.value.outcome, Reject)
        assert len(set(api.keys)) == 1 and set(api.written.values()) == {1}

    asyncio.run(scene())


def test_a_batch_that_is_too_large_is_halved(tmp_path: Path) -> None:
    api = Api(frozenset({3}))
    api.fault = lambda orders: (
        json_answer({}, 413) if len(orders) > 3 or any(one["id"] == 24 for one in orders) else None
    )
    found = asyncio.run(written(api, tmp_path))
    assert set(refused(found)) == {3, 24} and set(api.written) == set(range(ROWS)) - {3, 24}
    assert set(api.written.values()) == {1} and min(size for size in api.sizes if size > 3) == 5


def test_a_batch_refused_as_a_whole_is_searched_by_halves(tmp_path: Path) -> None:
    api = Api(frozenset({3, 17}))
    api.is_whole = True
    found = asyncio.run(written(api, tmp_path))
    assert refused(found) == dict.fromkeys((3, 17), "400: one of them is wrong")
    assert set(api.written) == set(range(ROWS)) - {3, 17} and set(api.written.values()) == {1}
    assert len(api.sizes) < ROWS


@pytest.mark.parametrize("lost", range(2, 8))
def test_a_search_that_is_cut_off_goes_on_where_it_was(tmp_path: Path, lost: int) -> None:
    """The same halves under the same keys, though what is left of the batch would now be accepted in one."""
    api = Api(frozenset({1}))
    api.is_whole, api.lose = True, {lost}

    async def scene() -> None:
        async with serve(api) as server:
            for _ in range(2):
                async with loading(server.address, tmp_path, BATCH) as (load, entity):
                    with contextlib.suppress(LoadFailed):
                        found = await load.write(chunk(entity, list(range(10))))
            assert list(refused(found)) == [1] and found.rows == 9
            assert set(api.written.values()) == {1} and len(api.written) == 9
            assert len(api.keys) == len(set(api.keys)) + 1

    asyncio.run(scene())


def test_the_search_is_bounded(tmp_path: Path) -> None:
    api = Api(frozenset(range(10)))
    api.is_whole = True
    found = asyncio.run(written(api, tmp_path, {**BATCH, "splits_max": 4}))
    assert set(refused(found)) == set(range(10)) and len(api.sizes) == 3 + 4
    assert {one.code for one in found.rejects} == {"connector.rejected", "connector.batch-refused"}


def test_all_or_nothing_sends_the_good_ones_again(tmp_path: Path) -> None:
    class Whole(Api):
        def write(self, orders: list[Any]) -> HttpResponse:
            told = [{"index": n, "message": "no"} for n, one in enumerate(orders) if one["id"] in self.bad]
            if not told:
                self.written.update(one["id"] for one in orders)
            return json_answer({"errors": told}, 422 if told else 200)

    api = Whole(frozenset({3, 8, 12}))
    answers = {"at": "errors", "by": "index", "only_refused": True}
    found = asyncio.run(written(api, tmp_path, {**BATCH, "answers": answers}))
    assert set(refused(found)) == {3, 8, 12} and sorted(api.sizes) == [5, 8, 9, 10, 10]
    assert set(api.written) == set(range(ROWS)) - {3, 8, 12} and set(api.written.values()) == {1}


def test_throttled_batches_wait_as_long_as_they_are_told(tmp_path: Path) -> None:
    api = Api()
    throttled = [json_answer({}, 429, {"retry-after": "0"})] * 3
    api.fault = lambda _: throttled.pop() if throttled else None
    assert asyncio.run(written(api, tmp_path)).rows == ROWS and len(api.sizes) == 6


def test_a_system_that_is_away_is_left_to_the_engine(tmp_path: Path) -> None:
    api = Api()
    api.fault = lambda _: json_answer({"message": "later"}, 503, {"retry-after": "7"})
    with pytest.raises(LoadFailed) as failed:
        asyncio.run(written(api, tmp_path))
    assert isinstance(failed.value.outcome, Reconnect) and failed.value.outcome.after_s == 7


def test_what_may_be_written_later_is_sent_alone(tmp_path: Path) -> None:
    api = Api()
    busy = {4}

    async def answer(request: InboundRequest) -> Answer:
        orders = decode_json(request.body)["orders"]
        results = [{"id": one["id"], "ok": one["id"] not in busy, "error": "locked"} for one in reversed(orders)]
        api.written.update(one["id"] for one in results if one["ok"])
        return json_answer({"results": results})

    test = {"at": "ok", "equals": True}
    answers = {"at": "results", "by": "key", "ok": test, "again": {"at": "error", "equals": "locked"}}
    batch = {**BATCH, "answers": answers}

    async def scene() -> None:
        async with serve(answer) as server:
            async with loading(server.address, tmp_path, batch, LoadMode.UPSERT) as (load, entity):
                with pytest.raises(LoadFailed):
                    await load.write(chunk(entity, list(range(10))))
            busy.clear()
            async with loading(server.address, tmp_path, batch, LoadMode.UPSERT) as (load, entity):
                assert (await load.write(chunk(entity, list(range(10))))).rows == 10
            assert len(decode_json(server.requests[-1].body)["orders"]) == 1
        assert set(api.written.values()) == {1} and len(api.written) == 10

    asyncio.run(scene())


def test_a_record_stands_in_a_batch_once(tmp_path: Path) -> None:
    async def scene() -> list[list[int]]:
        async with serve(Api()) as server:
            async with loading(server.address, tmp_path, BATCH, LoadMode.UPSERT) as (load, entity):
                assert (await load.write(chunk(entity, [1, 2, 1, 3, 1]))).rows == 5
            return [[one["id"] for one in decode_json(r.body)["orders"]] for r in server.requests]

    assert asyncio.run(scene()) == [[1, 2, 3], [1], [1]]


@pytest.mark.parametrize("status", [403, 404, 405, 415])
def test_a_refusal_that_is_not_of_records_ends_the_load(tmp_path: Path, status: int) -> None:
    api = Api()
    api.fault = lambda _: json_answer({"message": "no"}, status)
    with pytest.raises(LoadFailed) as failed:
        asyncio.run(written(api, tmp_path, rows=10))
    assert isinstance(failed.value.outcome, Reject) and len(api.sizes) == 1


@pytest.mark.parametrize("answer", [{"results": [{"status": 201}]}, {"data": []}])
def test_answers_that_do_not_fit_end_the_load(tmp_path: Path, answer: Any) -> None:
    async def api(_: InboundRequest) -> Answer:
        return json_answer(answer)

    with pytest.raises(LoadFailed) as failed:
        asyncio.run(written(api, tmp_path))
    assert isinstance(failed.value.outcome, Reject) and failed.value.outcome.code == "connector.batch-answers"


def test_a_request_that_cannot_be_made_is_no_fault_of_records(tmp_path: Path) -> None:
    api = Api()
    batch = {**BATCH, "headers": {"X-Shop": "a\nb"}}
    with pytest.raises(LoadFailed) as failed:
        asyncio.run(written(api, tmp_path, batch))
    assert isinstance(failed.value.outcome, Reject) and failed.value.outcome.code == "connector.bad-request"
    assert api.sizes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body": "jsonl"}, "JSON lines stand under no name"),
        ({"answers": {"at": "results"}}, "only_refused: true"),
        ({"answers": {"at": "results", "only_refused": True}}, "by: index"),
        ({"answers": {"ok": {"at": "status", "below": 300, "equals": 1}}}, "exactly one of"),
        ({"size": 0}, "size"),
    ],
)
def test_what_cannot_be_meant_is_a_fault(change: dict[str, Any], message: str) -> None:
    faults = Faults()
    read_entity("shop", "orders", declared({**BATCH, **change}), HttpEntity, faults)
    assert any(message in f"{fault.what} {fault.mend}" for fault in faults.found), faults.found


def test_the_check_knows_what_a_batch_names() -> None:
    faults = Faults()
    settings = decode(Node.of({"address": "http://127.0.0.1:9"}), HttpSettings, faults)
    answers = {"by": "key", "ok": {"at": "error", "absent": True}}
    batch = {**BATCH, "path": "/{id}/batch", "omit": ["nane"], "answers": answers}
    entity = read_entity("shop", "orders", declared(batch, ["id", "name"]), HttpEntity, faults)
    assert settings is not None and entity is not None
    CONNECTOR.check(settings, {"orders": entity}, Node.of({}), faults)
    assert sorted(fault.code for fault in faults.found) == ["connector.batch-key"] + ["connector.placeholder"] * 2


def declared(batch: dict[str, Any], key: Any = "id") -> Node:
    return Node.of({"key": key, "fields": FIELDS, "bulk": {"append": batch}})
