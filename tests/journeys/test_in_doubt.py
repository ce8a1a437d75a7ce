"""A system that fails after it may have acted: the effect in doubt is counted by step, shown, searched for, and over when it is known."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from journeys.live import TOKEN, Live, desk

FILES = {
    "systems/labels.yaml": """
system: labels
connector: http
settings:
  address: ${env:DESK_ADDRESS}
  operations:
    print: {path: "/labels", method: POST, takes: {id: integer}, gives: {number: integer?}}
entities:
  orders: {key: id, fields: {id: integer}}
""",
    "flows/ship.yaml": """
flow: ship
on: {manual: labels.orders}
key: id
steps:
  - validate: labels.orders
  - call: labels.print
    with: {id: id}
on_error: {attempts: 500, first: 200ms, factor: 1, longest: 200ms}
""",
}
STEP = "1.call"


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_what_is_in_doubt_is_counted_until_it_is_known(tmp_path: Path, options: tuple[str, ...]) -> None:
    is_well = threading.Event()

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        return (200, {}) if is_well.is_set() else (500, {"error": "after printing"})

    with (
        desk(answer) as system,
        Live(tmp_path, FILES, environment={"DESK_ADDRESS": system.address}, options=options) as live,
    ):
        said = live.run("send", "ship", "-", "--lines", stdin='{"id": 1}\n{"id": 2}\n')
        assert said.stdout.startswith("2 accepted"), said

        def ship() -> dict[str, Any]:
            (flow,) = live.api("status")["flows"]
            assert isinstance(flow, dict)
            return flow

        def shows(path: str, text: str) -> None:
            """In the end: each worker looks by itself, every two seconds."""
            authorization = {"authorization": f"Bearer {TOKEN}"}
            live.wait(lambda: text in live.request("GET", path, None, authorization)[1].decode(), f"{path}: {text}")

        live.wait(lambda: (ship()["in_doubt"], ship()["in_doubt_steps"]) == (2, {STEP: 2}), "both are in doubt")
        found = json.loads(live.run("messages", "--state", "in_doubt", "--json").stdout)
        assert [one["in_doubt"] for one in found] == [[STEP], [STEP]]
        shows("/monitor/flows/ship", 'data-figure="in_doubt">2</span> in doubt')
        shows("/monitor/flows/ship", 'state=in_doubt">2</a></td>')
        shows("/monitor/messages?flow=ship&state=in_doubt", f"in doubt: {STEP}")
        shows(f"/monitor/messages/{found[0]['seq']}", "may have been carried out")
        shows("/metrics", f'accord_messages_in_doubt{{flow="ship",step="{STEP}"}} 2.0')
        is_well.set()
        live.wait(lambda: (ship()["done"], ship()["in_doubt"]) == (2, 0), "nothing is in doubt")
        assert json.loads(live.run("messages", "--state", "in_doubt", "--json").stdout) == []
        (entry,) = [one for one in live.api("audit") if one["action"] == "send"]
        assert (entry["object"], entry["result"], entry["via"]) == ("flows/ship", "done", "command-line")
