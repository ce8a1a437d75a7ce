"""`accord up --workers N`: one address, order per key whoever takes a webhook, every command, and another N at the next start."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from accord.journal.stores.sqlite_verify import verify
from journeys.live import DESK, Live, desk

FILES = {
    "systems/desk.yaml": DESK,
    "systems/board.yaml": """
system: board
connector: http
settings:
  address: ${env:BOARD_ADDRESS}
  operations:
    pin: {path: /pin, takes: {id: integer, version: integer}}
""",
    "flows/f.yaml": """
flow: f
on: {webhook: desk.tickets}
key: id
steps:
  - call: board.pin
    with: {id: id, version: "coalesce(version, 0)"}
""",
}
KEYS, VERSIONS = 24, 12


def pinned(seen: list[tuple[str, str, Any]]) -> dict[int, list[int]]:
    """The versions of each ticket, in order of arrival."""
    found: dict[int, list[int]] = {}
    for _method, _path, body in seen:
        found.setdefault(body["id"], []).append(body["version"])
    return found


def send_all(live: Live, keys: range, versions: range) -> None:
    """Each key's versions one after another, the keys at once, every webhook over a connection of its own."""

    def send(key: int) -> None:
        for version in versions:
            status, answer = live.hook({"id": key, "text": "x", "version": version}, id=f"{key}-{version}")
            assert status == 200, answer

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(send, keys))


@pytest.mark.parametrize("workers", [2, 3])
def test_order_per_key_is_kept_whoever_takes_a_webhook(tmp_path: Path, workers: int) -> None:
    with desk(lambda *_request: (200, {})) as board:
        live = Live(tmp_path, FILES, environment={"BOARD_ADDRESS": board.address}, options=("--workers", str(workers)))
        with live:
            send_all(live, range(KEYS), range(VERSIONS))
            counts = live.wait_settled()
            assert counts["done"] == KEYS * VERSIONS
        assert live.process is not None
        assert live.process.returncode == 0
    assert pinned(board.seen) == {key: list(range(VERSIONS)) for key in range(KEYS)}
    assert verify(tmp_path / ".accord" / "journal.db") == []
    assert not (tmp_path / ".accord" / "engine.json").exists()


def test_the_number_of_workers_changes_between_runs(tmp_path: Path) -> None:
    is_well = False

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        return (200, {}) if is_well else (503, {})

    with desk(answer) as board:
        live = Live(tmp_path, FILES, environment={"BOARD_ADDRESS": board.address}, options=("--workers", "3"))
        with live:
            send_all(live, range(KEYS), range(2))
        for options, versions in ((("--workers", "2"), range(2, 4)), ((), range(4, 6))):
            live.options = options
            with live:
                send_all(live, range(KEYS), versions)
        before = len(board.seen)
        is_well = True
        live.options = ("--workers", "2")
        with live:
            counts = live.wait_settled(within_s=60)
            assert counts["done"] == KEYS * 6
        taken = [(body["id"], body["version"]) for _method, _path, body in board.seen[before:]]
    in_order: dict[int, list[int]] = {}
    for key, version in taken:
        in_order.setdefault(key, []).append(version)
    assert in_order == {key: list(range(6)) for key in range(KEYS)}


def test_every_command_speaks_to_all_workers(tmp_path: Path) -> None:
    refused = {3, 5, 8, 13}
    mended: set[int] = set()

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        return (422, {"reason": "no"}) if body["id"] in refused - mended else (200, {})

    with desk(answer) as board:
        options = ("--workers", "2")
        with Live(tmp_path, FILES, environment={"BOARD_ADDRESS": board.address}, options=options) as live:
            send_all(live, range(KEYS), range(1))
            assert live.wait_settled()["dead"] == len(refused)
            letters = json.loads(live.run("dead", "list", "--json").stdout)
            assert {int(letter["key"]) for letter in letters} == refused
            mended |= refused
            for letter in letters[:-1]:
                assert live.run("dead", "replay", str(letter["seq"])).returncode == 0
            assert live.run("dead", "discard", str(letters[-1]["seq"]), "--reason", "known").returncode == 0
            assert live.wait_settled()["dead"] == 0
            record = tmp_path / "ticket.json"
            record.write_text(json.dumps({"id": 100, "text": "by hand", "version": 0}))
            sent = live.run("send", "f", str(record))
            assert sent.returncode == 0, sent.stderr
            assert live.wait_settled()["done"] == KEYS + 1
            listed = live.run("messages", "--key", "100", "--json")
            assert [row["state"] for row in json.loads(listed.stdout)] == ["done"]
            assert live.run("journal", "verify").returncode == 0
            status = json.loads(live.run("status", "--json").stdout)
            assert status["address"] == live.address
    assert set(pinned(board.seen)) == {*range(KEYS), 100}


def test_workers_that_cannot_share_the_kind_of_journal_are_refused(tmp_path: Path) -> None:
    files = {
        **FILES,
        "accord.yaml": """
name: live
environments:
  default: {address: "127.0.0.1:0", secrets: [environment], store: {kind: postgresql, url: "${secret:api}"}}
""",
    }
    live = Live(tmp_path, files, environment={"BOARD_ADDRESS": "http://127.0.0.1:1"})
    refused = live.run("up", "--workers", "2")
    assert refused.returncode == 1
    assert "engine.workers-store" in refused.stderr
    assert live.run("up", "--workers", "none").returncode == 2
