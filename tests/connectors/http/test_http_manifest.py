"""What a manifest can say: authentication, paging under change, rules, hooks, files of their own; and what the check finds."""

from __future__ import annotations

import asyncio
import hmac
import json
import textwrap
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from accord.connectors.http import CONNECTOR
from accord.connectors.http.settings import HttpSettings
from accord.engine.http import PooledHttpClient
from accord.errors import ConnectorError, Faults
from accord.record import Done, Entity, Reconnect, Reject
from accord.sdk.budget import Budget
from accord.sdk.connector import CallItem, Connection, Context, ReadFailed, WriteItem, WriteMode
from accord.sdk.http import HttpResponse, InboundRequest
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.manifest import with_manifest
from accord.settings.node import Node, parse_yaml
from accord.settings.secret import Secret
from accord.settings.system_file import SystemFile
from accord.testing.http_server import Answer, json_answer, serve

FIELDS = (
    "key: id\n    fields: {id: integer, name: string, at: datetime?, customer: {object: {id: integer}, nullable: true}}"
)


def read(text: str, faults: Faults) -> tuple[Any, dict[str, Entity], Node]:
    root = parse_yaml(textwrap.dedent(text), "systems/x.yaml", faults)
    assert root is not None
    node = _with_secrets(root.get("settings") or Node({}))
    settings = decode(node, HttpSettings, faults, what="settings")
    read_ = {
        name: read_entity("x", name, child, CONNECTOR.entity_settings, faults)
        for name, child in (root.get("entities") or Node({})).items()
    }
    return settings, {name: entity for name, entity in read_.items() if entity}, node


def _with_secrets(node: Node) -> Node:
    """``${secret:value}`` becomes the secret 'value', as the engine's resolver does with real providers."""
    if isinstance(node.value, dict):
        return Node({k: _with_secrets(v) for k, v in node.value.items()}, node.place, node.key_places)
    if isinstance(node.value, list):
        return Node([_with_secrets(v) for v in node.value], node.place)
    if isinstance(node.value, str) and node.value.startswith("${secret:"):
        return Node(Secret(node.value[9:-1]), node.place)
    return node


def run(
    text: str, handler: Callable[[InboundRequest], Awaitable[Answer]], work: Callable[..., Awaitable[Any]], folder: Path
) -> Any:
    async def go() -> Any:
        async with serve(handler) as server:
            faults = Faults()
            settings, entities, node = read(text.replace("ADDRESS", server.address), faults)
            faults.raise_if_any()
            CONNECTOR.check(settings, entities, node, faults)
            faults.raise_if_any()
            http = PooledHttpClient(timeout_s=5.0)
            context = Context(system="x", http=http, folder=folder, state_folder=folder)
            connection = CONNECTOR.connect(settings, entities, context)
            await connection.open()
            try:
                return await work(connection, entities, server)
            finally:
                await connection.close()
                await http.close()

    return asyncio.run(go())


AUTHS = {
    "{type: none}": {},
    '{type: basic, user: u, password: "${secret:pw}"}': {"authorization": "Basic dTpwdw=="},
    '{type: header, name: X-Key, value: "${secret:k}"}': {"x-key": "k"},
    '{type: bearer, token: "${secret:tok}"}': {"authorization": "Bearer tok"},
    '{type: hmac, secret: "${secret:s}", header: X-Sig, signs: "{method}{target}"}': {
        "x-sig": hmac.new(b"s", b"GET/ping", "sha256").hexdigest()
    },
}


@pytest.mark.parametrize("auth", AUTHS)
def test_requests_carry_credentials(auth: str, tmp_path: Path) -> None:
    async def up(request: InboundRequest) -> Answer:
        return json_answer({})

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        assert await connection.check() == Done()
        return server.requests[0].headers

    headers = run(f"settings: {{address: ADDRESS, check_path: /ping, auth: {auth}}}", up, work, tmp_path)
    assert {name: headers.get(name) for name in AUTHS[auth]} == AUTHS[auth]


def test_a_key_in_the_query_goes_with_every_page(tmp_path: Path) -> None:
    async def listed(request: InboundRequest) -> Answer:
        query = dict(parse_qsl(request.query))
        assert query["key"] == "k"
        last = query.get("cursor") == "c2"
        return json_answer({"items": [{"id": 2 if last else 1}], "next": None if last else "/items?cursor=c2"})

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        return [r["id"] async for page in connection.read(entities["items"]) for r in page.records]

    text = f"""
settings:
  address: ADDRESS
  auth: {{type: query, name: key, value: "${{secret:k}}"}}
  paging: {{type: next, at: next}}
entities:
  items:
    path: /items
    list: items
    {FIELDS}
"""
    assert run(text, listed, work, tmp_path) == [1, 2]


OAUTH = """
settings:
  address: ADDRESS
  check_path: /ping
  auth: {type: oauth2_client_credentials, token_address: ADDRESS/token, client_id: me, client_secret: "${secret:s3cret}"}
"""


def test_an_expired_token_is_renewed_once(tmp_path: Path) -> None:
    tokens = []

    async def api(request: InboundRequest) -> Answer:
        if request.path == "/token":
            tokens.append(f"t{len(tokens) + 1}")
            return json_answer({"access_token": tokens[-1], "expires_in": 3600})
        return json_answer({}, 200 if request.headers["authorization"] == "Bearer t2" else 401)

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        return await asyncio.gather(*(connection.check() for _ in range(10)))

    assert set(map(type, run(OAUTH, api, work, tmp_path))) == {Done}
    assert tokens == ["t1", "t2"]


def test_refused_credentials_are_told_by_a_check_and_waited_for_by_a_read(tmp_path: Path) -> None:
    async def api(request: InboundRequest) -> Answer:
        return json_answer({"error": "invalid_client"}, 401)

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        with pytest.raises(ReadFailed) as failed:
            async for _ in connection.read(entities["items"]):
                raise AssertionError
        return await connection.check(), failed.value.outcome

    checked, read_ = run(OAUTH + f"entities:\n  items:\n    path: /items\n    {FIELDS}\n", api, work, tmp_path)
    assert checked == Reject("no access token: 401: invalid_client", code="connector.unauthorized")
    assert isinstance(read_, Reconnect)


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_counted_pages_lose_nothing_while_records_change(paging: str, tmp_path: Path) -> None:
    """After the first page one of its records changes and moves to the end: the second page must not skip its first."""
    items = [{"id": n, "name": "x", "at": f"2026-01-01T00:00:{n:02}Z"} for n in range(1, 8)]

    async def listed(request: InboundRequest) -> Answer:
        query = dict(parse_qsl(request.query))
        found = sorted((i for i in items if i["at"] >= query.get("since", "")), key=lambda i: str(i["at"]))
        start = (int(query["page"]) - 1) * 2 if paging == "page" else int(query["offset"])
        return json_answer(found[start : start + 2])

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        seen = []
        async for page in connection.read(entities["items"]):
            if not seen:
                items[0]["at"] = "2026-01-01T00:00:30Z"
            seen += [r["id"] for r in page.records]
            position = page.position
        rest = [r["id"] async for page in connection.read(entities["items"], position) for r in page.records]
        return seen, rest

    text = f"""
settings: {{address: ADDRESS, paging: {{type: {paging}, size: 2}}}}
entities:
  items:
    path: /items
    read: {{cursor: at, param: since, sorted: true}}
    {FIELDS}
"""
    seen, rest = run(text, listed, work, tmp_path)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 1]
    assert rest == []


def test_many_records_of_one_instant_are_all_read(tmp_path: Path) -> None:
    items = [{"id": n, "name": "x", "at": "2026-01-01T00:00:00Z"} for n in range(9)]

    async def listed(request: InboundRequest) -> Answer:
        query = dict(parse_qsl(request.query))
        start = (int(query["page"]) - 1) * 2
        return json_answer(items[start : start + 2])

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        return [r["id"] async for page in connection.read(entities["items"]) for r in page.records]

    text = f"""
settings: {{address: ADDRESS, paging: {{type: page, size: 2}}}}
entities:
  items:
    path: /items
    read: {{cursor: at, param: since, sorted: true}}
    {FIELDS}
"""
    assert run(text, listed, work, tmp_path) == list(range(9))


@pytest.mark.parametrize("status", [200, 429])
def test_what_is_left_is_told_also_by_a_refusal(status: int, tmp_path: Path) -> None:
    async def api(request: InboundRequest) -> Answer:
        return json_answer({}, status, headers={"x-left": "3", "x-ratelimit-remaining": "0"})

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        told: list[Budget] = []
        connection._transport._tell = told.append  # type: ignore[attr-defined]
        await connection.check()
        return told

    limit = "rate_limit: {headers: [standard, {remaining: X-Left, per: 10s}]}"
    told = run(f"settings: {{address: ADDRESS, check_path: /ping, {limit}}}", api, work, tmp_path)
    assert told == [Budget(name="x-left", left=3, resets_in_s=10)]


WRITES = f"""
settings:
  address: ADDRESS
  decimals: string
  errors:
    - {{status: 409, at: code, equals: exists, then: done}}
  operations:
    ship:
      path: /orders/{{order}}/ship
      query: {{dry: false}}
      headers: {{X-Reference: "{{effect_id}}"}}
      body: {{who: "{{who}}", at: "order {{order}}", fixed: 1}}
      takes: {{order: integer, who: "string?"}}
      find: {{path: /shipments, query: {{reference: "{{effect_id}}"}}, list: found}}
entities:
  items:
    write:
      create: {{path: /items, wrap: item, omit: [name], id: made.id}}
      update: {{path: "/customers/{{customer.id}}/items/{{id}}", method: PUT, answer: data}}
    {FIELDS}
"""


def test_bodies_and_answers(tmp_path: Path) -> None:
    async def api(request: InboundRequest) -> Answer:
        if request.path.startswith("/customers"):
            return json_answer({"data": {"id": 5, "name": "stored"}})
        if request.path == "/shipments":
            return json_answer({"found": [{"id": 77}] if "e2" in request.query else []})
        if request.headers.get("x-reference") == "e3":
            return HttpResponse(status=200, headers={"content-type": "text/plain"}, body=b"OK")
        if b"99" in request.body:
            return json_answer({"code": "exists"}, 409)
        return json_answer({"made": {"id": 42}}, 201)

    async def work(connection: Connection, entities: Any, server: Any) -> None:
        items = entities["items"]
        record = {"id": 1, "name": "n", "price": Decimal("1.10")}
        made = await connection.write(items, WriteMode.CREATE, [WriteItem("e", record)])
        assert made == Done({"id": 42})
        assert json.loads(server.requests[-1].body) == {"item": {"id": 1, "price": "1.10"}}
        there = await connection.write(items, WriteMode.CREATE, [WriteItem("e", {"id": 99})])
        assert there == Done({"code": "exists"}, was_there=True)
        updated = await connection.write(items, WriteMode.UPDATE, [WriteItem("e", {"id": 5, "customer": {"id": 7}})])
        assert updated == Done({"id": 5, "name": "stored"})
        assert server.requests[-1].path == "/customers/7/items/5"
        lacking = await connection.write(items, WriteMode.UPDATE, [WriteItem("e", {"id": 5})])
        assert lacking == Reject(lacking.reason, path="customer.id")

        assert await connection.call("ship", CallItem("e1", {"order": 9, "who": None})) == Done({"made": {"id": 42}})
        sent = server.requests[-1]
        assert (sent.path, sent.query, sent.headers["x-reference"]) == ("/orders/9/ship", "dry=false", "e1")
        assert json.loads(sent.body) == {"who": None, "at": "order 9", "fixed": 1}
        again = await connection.call("ship", CallItem("e2", {"order": 9, "who": None}, True))
        assert again == Done({"id": 77}, was_there=True)
        assert await connection.call("ship", CallItem("e3", {"order": 9}, True)) == Done("OK")
        unknown = await connection.call("sink", CallItem("e4", {}))
        assert isinstance(unknown, Reject)

    run(WRITES, api, work, tmp_path)


def test_hooks_sign_and_unwrap(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "odd_api.py").write_text(
        "import msgspec\n"
        "def sign(request):\n"
        "    return msgspec.structs.replace(request, headers={**request.headers, 'x-odd': str(len(request.url))})\n"
        "def answer(response):\n"
        "    return msgspec.structs.replace(response, status=int(response.headers['x-real-status']))\n"
    )

    async def api(request: InboundRequest) -> Answer:
        assert int(request.headers["x-odd"]) > 10
        return json_answer({"message": "odd"}, 200, {"x-real-status": "422"})

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        return await connection.call("go", CallItem("e", {}))

    text = "settings: {address: ADDRESS, hooks: functions/odd_api.py, operations: {go: {path: /go}}}"
    assert run(text, api, work, tmp_path) == Reject("422: odd")
    for wrong in ("functions/none.py", "../outside.py"):
        with pytest.raises(ConnectorError, match="no file of the project"):
            run(text.replace("functions/odd_api.py", wrong), api, work, tmp_path)


def test_a_rotated_refresh_token_survives_a_restart(tmp_path: Path) -> None:
    given: list[str] = []

    async def api(request: InboundRequest) -> Answer:
        if request.path == "/token":
            given.append(dict(parse_qsl(request.body.decode()))["refresh_token"])
            return json_answer({"access_token": "t", "refresh_token": f"r{len(given) + 1}"})
        return json_answer({})

    async def work(connection: Connection, entities: Any, server: Any) -> Any:
        return await connection.check()

    text = """
settings:
  address: ADDRESS
  check_path: /ping
  auth: {type: oauth2_refresh_token, token_address: ADDRESS/token, client_id: me, refresh_token: "${secret:r1}"}
"""
    for _ in range(2):
        assert run(text, api, work, tmp_path) == Done()
    assert given == ["r1", "r2"]
    assert (tmp_path / "x.refresh-token").stat().st_mode & 0o077 == 0


def test_a_manifest_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "inventory.yaml").write_text(
        "settings:\n  address: https://default.example\n  headers: {accept-language: en}\n  check_path: /up\n"
        "entities:\n  items: {path: /items, fields: {id: integer}}\n"
    )
    faults = Faults()
    text = "system: inv\nconnector: http\nsettings:\n  manifest: manifests/inventory.yaml\n  address: https://own.example\n"
    system = with_manifest(decode(parse_yaml(text, "s.yaml", faults), SystemFile, faults), tmp_path, faults)
    settings = decode(system.settings, HttpSettings, faults)
    faults.raise_if_any()
    assert (settings.address, settings.check_path, settings.manifest) == ("https://own.example", "/up", "")
    assert system.entities is not None and list(system.entities) == ["items"]
    missing = decode(parse_yaml(text.replace("inventory", "none"), "s.yaml", faults), SystemFile, faults)
    with_manifest(missing, tmp_path, faults)
    assert [f.code for f in faults.found] == ["settings.unreadable"]


WRONG = {
    "connector.bad-address": "settings: {address: api.example.com}",
    "connector.bad-address ": "settings: {address: 'https://me:pw@api.example.com'}",
    "connector.plain-http": "settings: {address: 'http://api.example.com', auth: {type: bearer, token: '${secret:t}'}}",
    "connector.placeholder": "entities: {items: {get: '/items/{sku}', FIELDS}}",
    "connector.placeholder ": "entities: {items: {write: {create: {path: '/c/{customer.nr}'}}, FIELDS}}",
    "connector.placeholder  ": "entities: {items: {write: {create: {path: /c, omit: [nam]}}, FIELDS}}",
    "connector.placeholder   ": "settings: {OK, operations: {go: {path: '/go/{sku}', takes: {sk: string}}}}",
    "connector.placeholder    ": "settings: {OK, operations: {go: {path: '/go/{sku}', takes: {sku: 'string?'}}}}",
    "connector.placeholder     ": "entities: {items: {path: /i, read: {cursor: at, param: s, value: '{sinc}'}, FIELDS}}",
    "connector.find": "entities: {items: {find: {path: /items}, FIELDS}}",
    "connector.no-path": "entities: {items: {read: {cursor: at, param: since}, FIELDS}}",
    "connector.drifting-pages": "entities: {items: {path: /i, paging: {type: page}, read: {cursor: at, param: s}, FIELDS}}",
    "connector.unknown-entity": "settings: {OK, webhooks: {SCHEME, topics: {made: itms}}}",
    "connector.fetch": "settings: {OK, webhooks: {SCHEME, topics: {made: items}, fetch: {body: id}}}",
    "connector.unsigned-webhooks": "settings: {OK, webhooks: {signature: {type: none}, topic: {value: a}, topics: {a: items}}}",
    "connector.manifest": "settings: {OK, manifest: manifests/x.yaml}",
    "settings.bad-type": "settings: {OK, operations: {go: {path: /go, takes: {sku: strin}}}}",
    "settings.unknown-key": "settings: {OK, timout: 3s}",
    "settings.invalid": "settings: {OK, errors: [{status: 42, then: done}]}",
}


@pytest.mark.parametrize("code", WRONG)
def test_faults_of_manifests_are_found_with_their_line(code: str) -> None:
    text = WRONG[code].replace(
        "FIELDS", "key: id, fields: {id: integer, name: string, at: datetime?, customer: {id: integer}}"
    )
    text = text.replace("OK", "address: 'https://a.example'")
    text = text.replace("SCHEME", "topic: {header: t}, signature: {type: hmac, header: s, secret: '${secret:s}'}")
    if "settings" not in text:
        text += "\nsettings: {address: 'https://a.example'}"
    if "entities" not in text:
        text += "\nentities: {items: {key: id, fields: {id: integer}}}"
    faults = Faults()
    settings, entities, node = read(text, faults)
    if settings is not None:
        CONNECTOR.check(settings, entities, node, faults)
    assert code.strip() in [f.code for f in faults.found], faults.found
    for fault in faults.found:
        assert fault.place.file == "systems/x.yaml" and fault.place.line >= 1
        assert fault.what.endswith(".")
