"""The connector, found by its entry point, against a real store, by Accord's conformance suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from accord.sdk.http import InboundRequest
from accord.settings.secret import Secret
from accord.testing.connector_suite import CallCase, EntityCase, Gap, Subject, run_suite
from accord.testing.http_server import Answer, closed_address, json_answer, nonsense, serve

RECORDS = [{"key": f"k{n}", "value": {"n": n, "text": "é🎈"}} for n in range(1, 6)]


class Store:
    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.revision = 0
        self.loses_answers = False

    def put(self, key: str, value: Any) -> dict[str, Any]:
        self.revision += 1
        self.entries.pop(key, None)
        self.entries[key] = {"key": key, "value": value, "revision": self.revision}
        return self.entries[key]

    async def __call__(self, request: InboundRequest) -> Answer:
        if request.headers.get("authorization") != "Bearer flags":
            return json_answer({"message": "who are you?"}, 401)
        answer = self.answer(request)
        return None if self.loses_answers and request.method != "GET" else answer

    def answer(self, request: InboundRequest) -> Answer:
        query = {name: int(values[0]) for name, values in parse_qs(request.query).items()}
        match request.method, [unquote(part) for part in request.path.strip("/").split("/")]:
            case "GET", ["count"]:
                return json_answer({"entries": len(self.entries)})
            case "GET", ["entries"]:
                found = [e for e in self.entries.values() if e["revision"] > query.get("after", 0)]
                return json_answer({"entries": found[: query.get("limit", 100)]})
            case "GET", ["entries", key] if key in self.entries:
                return json_answer(self.entries[key])
            case "PUT", ["entries", key] if len(key) <= 100:
                return json_answer(self.put(key, json.loads(request.body)["value"]))
            case "PUT", ["entries", _]:
                return json_answer({"message": "the key is too long", "field": "key"}, 422)
            case "DELETE", ["entries", key] if self.entries.pop(key, None):
                return json_answer({}, 204)
        return json_answer({"message": "nothing here"}, 404)


@asynccontextmanager
async def subject(folder: Path) -> AsyncIterator[Subject]:
    kind = entry_points(group="accord.connectors")["keyvalue"].load()
    store = Store()
    async with serve(store) as server, serve(nonsense) as liar:
        settings = kind.settings(address=server.address, token=Secret("flags"))

        async def stored() -> list[dict[str, Any]]:
            return list(store.entries.values())

        async def seed(records: Any) -> None:
            for record in records:
                store.put(record["key"], record["value"])

        async def touch(record: dict[str, Any]) -> None:
            store.put(record["key"], "touched")

        @asynccontextmanager
        async def lose_answers() -> AsyncIterator[None]:
            store.loses_answers = True
            yield
            store.loses_answers = False

        yield Subject(
            kind=kind,
            settings=settings,
            entities=kind.entities(settings),
            folder=folder,
            cases=[
                EntityCase(
                    entity="entries",
                    records=RECORDS,
                    stored=stored,
                    seed=seed,
                    touch=touch,
                    changed=lambda record: {**record, "value": "changed"},
                    refused={"key": "k" * 200, "value": 1},
                )
            ],
            calls=[CallCase(operation="count", arguments={})],
            unreachable=msgspec.structs.replace(settings, address=closed_address()),
            garbage=msgspec.structs.replace(settings, address=liar.address),
            lose_answers=lose_answers,
            gaps=[Gap(check="genuine_webhooks_are_received", whose="theirs", why="the store has no webhooks")],
        )


def test_it_conforms(tmp_path: Path) -> None:
    report = asyncio.run(run_suite(lambda: subject(tmp_path)))
    assert not report.failures, "\n" + report.table()
    assert len(report.passed) >= 18, "\n" + report.table()
