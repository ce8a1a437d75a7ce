"""The http connector against a small real API, by the public conformance suite."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import pytest

from accord.connectors.http import CONNECTOR
from accord.connectors.http.settings import HttpSettings
from accord.errors import Faults
from accord.record import Entity
from accord.sdk.connector import Idempotency
from accord.sdk.http import InboundRequest
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.node import Node, parse_yaml
from accord.settings.secret import Secret
from accord.testing.connector_suite import CallCase, EntityCase, Status, Subject, WebhookCase, check_names, run_check
from accord.testing.http_server import Answer, closed_address, json_answer, nonsense, serve

SECRET = "whsec-1234"

MANIFEST = """
settings:
  address: ADDRESS
  auth: {type: bearer}
  timeout: 2s
  idempotency_header: Idempotency-Key
  check_path: /health
  paging: {type: page, param: page, size_param: per_page, size: 2}
  errors:
    - {status: 409, at: error.code, equals: in_progress, then: retry, after: 1s}
  operations:
    decrease_stock:
      path: /items/{sku}/decrease
      takes: {sku: string, by: integer}
      gives: {sku: string, on_hand: integer}
      answer: data
    item:
      method: GET
      path: /items/{sku}
      takes: {sku: string}
      answer: data
  webhooks:
    signature: {type: hmac, header: X-Signature, prefix: "sha256="}
    topic: {header: X-Topic}
    event_id: {header: X-Event-Id}
    record: item
    topics: {item.changed: items}
    subscribe:
      path: /hooks
      body: {url: "{address}", topic: "{topic}"}
      find: {path: /hooks, list: data, match: {url: "{address}", topic: "{topic}"}}
entities:
  items:
    key: sku
    path: /items
    list: data
    read: {cursor: updated_at, param: updated_since, sorted: true}
    get: {path: "/items/{sku}", answer: data}
    find: {path: /items, query: {reference: "{reference}"}, list: data}
    write:
      create: {path: /items, wrap: item, answer: data}
      update: {path: "/items/{sku}", wrap: item, answer: data}
      upsert: {path: "/items/{sku}", wrap: item, answer: data}
      delete: {path: "/items/{sku}"}
    fields:
      sku: string
      name: string
      price: decimal
      reference: string?
"""


class Shelf:
    """A small API with the habits of real ones: keys, pages, Idempotency-Key, 4xx with messages."""

    def __init__(self, *, keeps_keys: bool = True) -> None:
        self.items: list[dict[str, Any]] = []
        self.clock = 0
        self.keys: dict[str, Answer] = {}
        self.keeps_keys = keeps_keys
        self.loses_answers = False
        self.hooks: list[dict[str, Any]] = []
        self.decreases = 0

    def now(self) -> str:
        self.clock += 1
        return f"2026-01-01T{self.clock // 3600:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}Z"

    def put(self, item: dict[str, Any]) -> dict[str, Any]:
        self.items = [i for i in self.items if i["sku"] != item["sku"]]
        stored = {"on_hand": 10, **json.loads(msgspec.json.encode(item)), "updated_at": self.now()}
        self.items.append(stored)
        return stored

    def by_sku(self, sku: str) -> dict[str, Any] | None:
        return next((i for i in self.items if i["sku"] == sku), None)

    async def __call__(self, request: InboundRequest) -> Answer:
        key = request.headers.get("idempotency-key", "")
        if request.headers.get("authorization") != "Bearer t0ken-value":
            return json_answer({"error": {"message": "wrong token"}}, 401)
        if request.method != "GET" and self.keeps_keys and key in self.keys:
            return self.keys[key]
        answer = self.answer(request)
        if request.method != "GET" and self.keeps_keys and key:
            self.keys[key] = answer
        return None if self.loses_answers and request.method != "GET" else answer

    def answer(self, request: InboundRequest) -> Answer:
        parts = [unquote(p) for p in request.path.strip("/").split("/")]
        query = dict(parse_qsl(request.query))
        match request.method, parts:
            case "GET", ["health"]:
                return json_answer({"status": "up"})
            case "GET", ["items"]:
                return self.listed(query)
            case "POST", ["items"]:
                item = json.loads(request.body)["item"]
                if not item.get("name") or self.by_sku(item["sku"]):
                    return json_answer({"errors": [{"field": "name", "message": "must not be empty"}]}, 422)
                return json_answer({"data": self.put(item)}, 201)
            case "PUT" | "PATCH", ["items", sku]:
                item = json.loads(request.body)["item"]
                if not item.get("name"):
                    return json_answer({"errors": [{"field": "name", "message": "must not be empty"}]}, 422)
                return json_answer({"data": self.put({**(self.by_sku(sku) or {}), **item})})
            case "GET", ["items", sku] if (found := self.by_sku(sku)) is not None:
                return json_answer({"data": found})
            case "DELETE", ["items", sku] if self.by_sku(sku) is not None:
                self.items = [i for i in self.items if i["sku"] != sku]
                return json_answer({}, 204)
            case "POST", ["items", sku, "decrease"] if (found := self.by_sku(sku)) is not None:
                by = json.loads(request.body)["by"]
                if by > found["on_hand"]:
                    return json_answer({"message": "not enough stock"}, 422)
                self.decreases += 1
                return json_answer({"data": self.put({**found, "on_hand": found["on_hand"] - by})})
            case "GET", ["hooks"]:
                return json_answer({"data": self.hooks})
            case "POST", ["hooks"]:
                self.hooks.append(json.loads(request.body))
                return json_answer({}, 201)
        return json_answer({"message": "no such thing"}, 404)

    def listed(self, query: dict[str, str]) -> Answer:
        found = sorted(self.items, key=lambda i: i["updated_at"])
        if "updated_since" in query:
            found = [i for i in found if i["updated_at"] >= query["updated_since"]]
        if "reference" in query:
            found = [i for i in found if i.get("reference") == query["reference"]]
        size, page = int(query.get("per_page", 100)), int(query.get("page", 1))
        return json_answer({"data": found[(page - 1) * size : page * size]})


def read_manifest(text: str, **changes: Any) -> tuple[HttpSettings, dict[str, Entity], Node]:
    faults = Faults()
    root = parse_yaml(text, "systems/shelf.yaml", faults)
    assert root is not None
    node = root.get("settings")
    assert node is not None and isinstance(node.value, dict)
    for name, value in changes.items():
        node.value[name] = Node.of(value)
    if isinstance(node.value.get("auth"), Node) and node.value["auth"].plain() == {"type": "bearer"}:
        node.value["auth"] = Node({"type": Node("bearer"), "token": Node(Secret("t0ken-value"))})
    hooks = node.get("webhooks")
    if hooks is not None:
        hooks.value["signature"].value["secret"] = Node(Secret(SECRET))
    settings = decode(node, HttpSettings, faults, what="settings")
    entities = {
        name: read_entity("shelf", name, child, CONNECTOR.entity_settings, faults)
        for name, child in (root.get("entities") or Node({})).items()
    }
    faults.raise_if_any()
    assert settings is not None
    return settings, {name: entity for name, entity in entities.items() if entity is not None}, node


def signed(body: bytes) -> InboundRequest:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-signature": f"sha256={digest}", "x-topic": "item.changed", "x-event-id": "e-1"}
    return InboundRequest(method="POST", path="/hooks/shelf", headers=headers, body=body)


RECORDS = [
    {"sku": f"SKU {n}/é", "name": f"Item {n}", "price": Decimal(f"{n}.10"), "reference": f"r{n}"} for n in range(1, 6)
]


@asynccontextmanager
async def subject(folder: Path, **changes: Any) -> AsyncIterator[Subject]:
    shelf = Shelf(keeps_keys=changes.pop("keeps_keys", True))
    async with serve(shelf) as server, serve(nonsense) as liar:
        settings, entities, _ = read_manifest(MANIFEST, **{"address": server.address, **changes})

        async def stored() -> list[dict[str, Any]]:
            return list(shelf.items)

        async def seed(records: Any) -> None:
            for record in records:
                shelf.put(record)

        async def touch(record: dict[str, Any]) -> None:
            shelf.put({**record, "name": "touched"})

        async def decreases() -> int:
            return shelf.decreases

        @asynccontextmanager
        async def lose_answers() -> AsyncIterator[None]:
            shelf.loses_answers = True
            yield
            shelf.loses_answers = False

        shelf.put({"sku": "A-1", "name": "Widget", "price": "1.00"})
        yield Subject(
            kind=CONNECTOR,
            settings=settings,
            entities=entities,
            folder=folder,
            system="shelf",
            cases=[
                EntityCase(
                    entity="items",
                    records=RECORDS,
                    stored=stored,
                    seed=seed,
                    touch=touch,
                    changed=lambda r: {**r, "name": "Changed"},
                    refused={**RECORDS[4], "name": ""},
                )
            ],
            calls=[
                CallCase(
                    operation="decrease_stock",
                    arguments={"sku": "A-1", "by": 2},
                    effects=decreases,
                    refused={"sku": "A-1", "by": 1000},
                ),
                CallCase(operation="item", arguments={"sku": "A-1"}, refused={"sku": "none"}),
            ],
            webhooks=[
                WebhookCase(
                    request=signed(b'{"item": {"sku": "A-1", "price": 1.50}}'),
                    entity="items",
                    topic="item.changed",
                    event_id="e-1",
                    sign=signed,
                    signature_header="x-signature",
                )
            ],
            unreachable=msgspec.structs.replace(settings, address=closed_address()),
            garbage=msgspec.structs.replace(settings, address=liar.address),
            lose_answers=lose_answers,
        )


@pytest.mark.parametrize("check", check_names())
def test_with_idempotency_key(check: str, tmp_path: Path) -> None:
    result = asyncio.run(run_check(check, lambda: subject(tmp_path)))
    skipped = {"discovers_entities", "many_records_are_told_apart"}
    assert result.status is (Status.NOT_APPLICABLE if check in skipped else Status.PASSED), result.why


@pytest.mark.parametrize("check", check_names())
def test_with_lookup(check: str, tmp_path: Path) -> None:
    result = asyncio.run(run_check(check, lambda: subject(tmp_path, idempotency_header="", keeps_keys=False)))
    assert result.status in (Status.PASSED, Status.NOT_APPLICABLE), result.why


def test_idempotency_is_what_the_manifest_says() -> None:
    settings, entities, _ = read_manifest(MANIFEST)
    by_key = CONNECTOR.capabilities(settings, entities["items"])
    assert set(by_key.idempotency.values()) == {Idempotency.KEY}
    without, entities, _ = read_manifest(MANIFEST, idempotency_header="")
    means = CONNECTOR.capabilities(without, entities["items"]).idempotency
    assert {mode.value: str(m) for mode, m in means.items()} == {
        "create": "lookup",
        "update": "upsert",
        "upsert": "upsert",
        "delete": "upsert",
    }
    assert CONNECTOR.operations(without)["decrease_stock"].idempotency is Idempotency.NONE
    assert "idempotency_header" in CONNECTOR.operations(without)["decrease_stock"].at_least_once_reason


def test_subscribes_once(tmp_path: Path) -> None:
    async def twice() -> list[Any]:
        async with subject(tmp_path) as shelf, shelf.connected() as connection:
            return [await connection.subscribe("https://accord.example/in/shelf", ["item.changed"]) for _ in range(2)]

    first, second = asyncio.run(twice())
    assert first.result == {"subscribed": ["item.changed"]}
    assert second.result == {"subscribed": []}


def test_the_body_of_an_event_keeps_its_digits(tmp_path: Path) -> None:
    async def receive() -> Any:
        async with subject(tmp_path) as shelf, shelf.connected() as connection:
            return connection.receive(signed(b'{"item":  {"sku": "A-1", "price": 1.50}}'))

    received = asyncio.run(receive())
    assert received.events[0].body == b'{"sku": "A-1", "price": 1.50}'
