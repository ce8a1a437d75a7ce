"""Marked secrets and personal values come in by every door; everything that can be seen from outside is searched for them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest

pytest.importorskip("opentelemetry.proto")

from journeys.live import SECRET, TOKEN, Live, desk
from journeys.test_traces import Collector
from servers import wait_until
from unit.engine.alerts.receivers import http_receiver

PERSON = "marked.person@planted.example"
PHONE = "+49-555-MARKED-77"
BOARD_SECRET = "planted-board-secret-51423"
INTRUDER = "planted-wrong-token-98321"
PLANTED = (PERSON, PHONE, BOARD_SECRET, INTRUDER, SECRET, TOKEN)
PAGES_MAX = 80
FILES = {
    "systems/desk.yaml": """
system: desk
connector: http
settings:
  address: http://127.0.0.1:1
  webhooks:
    signature: {type: hmac, header: x-signature, secret: "${secret:hook}"}
    topic: {header: x-topic}
    event_id: {header: x-event-id}
    topics: {tickets: tickets}
entities:
  tickets:
    key: id
    fields:
      id: integer
      email: {type: string, format: email, personal: contact}
      phone: {type: string?, personal: contact}
      currency: {type: string, format: currency}
""",
    "systems/board.yaml": """
system: board
connector: http
settings:
  address: ${env:BOARD_ADDRESS}
  auth: {type: bearer, token: "${secret:board}"}
  operations:
    pin: {path: /pin, takes: {id: integer, email: string, phone: string?}}
""",
    "flows/pin.yaml": """
flow: pin
on: {webhook: desk.tickets}
key: text(id)
steps:
  - validate: desk.tickets
  - call: board.pin
    with: {id: id, email: email, phone: phone}
    as: pinned
on_error: {attempts: 3, first: 50ms, longest: 200ms}
""",
}


def answer(_method: str, _path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """A target that tells back all it was told, in good and bad answers."""
    told = {"message": f"for {PERSON} and {PHONE}", "email": PERSON, "auth": headers["authorization"], "asked": body}
    return {2: 422, 3: 500, 5: 400}.get(body["id"], 200), told


def forms(value: str) -> Iterator[str]:
    """As it stands, escaped for addresses and JSON, and in base64 at each of the three places it can begin."""
    yield from {value, quote(value, safe=""), json.dumps(value)[1:-1]}
    for shift in range(3):
        coded = base64.b64encode(b"." * shift + value.encode()).decode()
        yield coded[4 if shift else 0 : -4]


def pages_of(live: Live) -> dict[str, str]:
    """Every page of the monitor that links lead to; not those where an operator asks to see a record whole."""
    found: dict[str, str] = {}
    waiting = ["/"]
    while waiting and len(found) < PAGES_MAX:
        path = waiting.pop()
        if path in found or "reveal" in path or not path.startswith(("/monitor/", "/")):
            continue
        status, body = live.request("GET", path, None, {"host": f"127.0.0.1:{live.port}"})
        assert status == 200, (path, body)
        found[path] = unescape(body.decode())
        waiting += [
            urljoin(path, unescape(link)).partition("#")[0] for link in re.findall(r'href="([^"]+)"', body.decode())
        ]
    return found


def api_of(live: Live) -> dict[str, str]:
    seqs = [row["seq"] for row in live.api("messages?limit=100")]
    paths = ["status", "messages?limit=100", "dead-letters?limit=100", "alerts", "audit", "metrics", "versions"]
    paths += ["systems/board/troubles", "history?kind=flow&name=pin", *(f"messages/{seq}/trace" for seq in seqs)]
    paths += [f"dead-letters/{row['seq']}/diff" for row in live.api("dead-letters?limit=100")]
    headers = {"authorization": f"Bearer {TOKEN}"}
    found = {path: live.request("GET", f"/api/{path}", None, headers) for path in paths}
    found["metrics in text"] = live.request("GET", "/metrics", None, headers)
    found["refused"] = live.request("GET", "/api/status", None, {"authorization": f"Bearer {INTRUDER}"})
    found["no such address"] = live.request("GET", f"/api/{quote(PERSON)}", None, headers)
    return {path: body.decode() for path, (_, body) in found.items()}


def commands_of(live: Live) -> dict[str, str]:
    dead = str(live.api("dead-letters?limit=1")[0]["seq"])
    every = [
        ["status"],
        ["status", "--json"],
        ["messages"],
        ["message", "show", "1", "--trace"],
        ["dead", "list"],
        ["dead", "show", dead],
        ["dead", "diff", dead],
        ["dead", "preview", dead],
        ["alerts", "list"],
        ["systems", "errors", "board"],
        ["systems", "test", "board"],
        ["history", "flow", "pin"],
        ["audit", "list"],
        ["check"],
        ["journal", "verify"],
    ]
    return {" ".join(words): (done := live.run(*words)).stdout + done.stderr for words in every}


@pytest.mark.parametrize("log", ["text", "json"])
def test_planted_values_show_nowhere(tmp_path: Path, log: str) -> None:
    collector = Collector()
    try:
        with http_receiver() as notices, desk(answer) as board:
            project = f"""
name: leaks
environments:
  default:
    address: "${{env:ACCORD_ADDRESS}}"
    secrets: [environment]
    api_token: "${{secret:api}}"
    telemetry: {{otlp: "{collector.address}", sample: 1}}
    channels: {{ops: {{webhook: "{notices.address}"}}}}
alerts:
  - {{alert: dead, when: dead_letters, flow: pin, severity: critical, notify: [ops]}}
"""
            environment = {"BOARD_ADDRESS": board.address, "ACCORD_SECRET_BOARD": BOARD_SECRET}
            files = {**FILES, "accord.yaml": project}
            with Live(tmp_path, files, environment=environment, options=("--log", log, "--verbose")) as live:
                plant(live)
                wait_until("a notice of dead letters", lambda: bool(notices.taken), 40)
                wait_until("traces", lambda: len(collector.spans()) >= 5)
                seen = {**pages_of(live), **api_of(live), **commands_of(live)}
            seen |= {"log": live.log, "notices": str(notices.taken), "traces": str(collector.spans())}
            seen["traces as sent"] = b"".join(collector.bodies).decode("latin-1")
    finally:
        collector.close()
    assert len(board.seen) >= 5, "the target was asked"
    assert {"/monitor/messages", "/monitor/dead", "/monitor/flows/pin", "/monitor/systems/board"} <= seen.keys()
    found = [
        (place, value) for place, text in seen.items() for value in PLANTED for form in forms(value) if form in text
    ]
    assert not found, "\n".join(f"{place}: {value}: {around(seen[place], value)}" for place, value in found)


def around(text: str, value: str) -> str:
    at = max(0, text.find(value) - 120)
    return text[at : at + 300]


def plant(live: Live) -> None:
    ticket = {"email": PERSON, "phone": PHONE, "currency": "EUR"}
    headers = {"x-planted": PERSON, "user-agent": PERSON, "traceparent": f"00-{PHONE}-{PERSON}-01", "cookie": INTRUDER}
    for number in (1, 2, 3, 5, 6):
        assert live.hook({"id": number, **ticket}, id=str(number), **headers)[0] == 200
    broken = [{"currency": PERSON}, {"email": [PERSON]}, {"email": "no " + PERSON, "phone": 7}, {"undeclared": PERSON}]
    for number, change in enumerate(broken, start=10):
        assert live.hook({"id": number, **ticket, **change}, id=str(number))[0] == 200
    assert live.hook({"id": PERSON, **ticket}, id="20")[0] == 200
    assert live.hook([PERSON], id="21")[0] in (200, 400)
    assert live.request("POST", "/hooks/desk", PERSON.encode(), {"x-signature": INTRUDER, "x-topic": PERSON})[0] in (
        401,
        403,
    )
    assert live.request("POST", "/monitor/login", f"name={quote(PERSON)}&password={INTRUDER}".encode())[0] != 500
    live.wait_settled()
