"""A flow that is given up takes back what it did, last first, also across kills; mended and replayed it does all of it once more."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from journeys.live import DESK, Live, desk

FLOW = """
flow: travel
on: {webhook: desk.tickets}
steps:
  - call: agency.book
    with: {what: '"hotel"', by: id}
    as: hotel
    undo: {call: agency.cancel, with: {what: '"hotel " + text(result.number)', by: id}}
  - write: books.log
    mode: create
    with: {id: text(id), text: text}
    undo: {write: books.log, mode: delete, with: {id: text(id)}}
  - call: agency.book
    with: {what: '"flight"', by: id}
    undo: {call: agency.cancel, with: {what: '"flight"', by: id}}
  - call: agency.pay
    with: {what: text, by: id}
on_error: {attempts: 20, first: 50ms, longest: 300ms}
"""
FILES = {
    "systems/desk.yaml": DESK,
    "systems/agency.yaml": """
system: agency
connector: http
settings:
  address: ${env:DESK_ADDRESS}
  idempotency_header: Idempotency-Key
  operations:
    book: {path: /book, takes: {what: string, by: integer}, gives: {number: integer}}
    cancel: {path: /cancel, takes: {what: string, by: integer}}
    pay: {path: /pay, takes: {what: string, by: integer}}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {key: id, fields: {id: string, text: string?}}
""",
    "flows/travel.yaml": FLOW,
}


class Agency:
    """Does each idempotency key once. ``hold`` (path and number of the work): the work is done and the answer kept back;
    ``refuse``: that work is refused."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[str, str]] = {}
        self.order: list[str] = []
        self.hold = ""
        self.refuse = ""
        self.is_held = threading.Event()
        self.go_on = threading.Event()

    def answer(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        if self.refuse == f"{path} {body['what']}":
            return 422, {"error": "refused"}
        if path == "/pay" and body["what"] == "no money":
            return 422, {"error": "no money"}
        key = headers["idempotency-key"]
        if key not in self.done:
            self.done[key] = (path, body["what"])
            self.order.append(f"{path} {body['what']}")
        if self.hold == f"{path} {body['what']}":
            self.hold = ""
            self.is_held.set()
            self.go_on.wait(30)
        return 200, {"number": 7}


@pytest.mark.parametrize("hold", ["/cancel flight", "/cancel hotel 7", "/book flight"])
def test_what_was_done_is_undone_in_reverse_across_a_kill_and_done_again_after_mending(
    tmp_path: Path, hold: str
) -> None:
    agency = Agency()
    agency.hold = hold
    tables = {"books.db": "CREATE TABLE log (id TEXT PRIMARY KEY, text TEXT)"}
    with desk(agency.answer) as server:
        live = Live(tmp_path, FILES, databases=tables, environment={"DESK_ADDRESS": server.address})
        with live:
            assert live.hook({"id": 1, "text": "no money"}, id="one")[0] == 200
            live.wait(agency.is_held.is_set, f"{hold} is under way")
            live.kill()
            agency.go_on.set()
            live.start()
            assert live.wait_settled()["dead"] == 1
            gone = ["/book hotel", "/book flight", "/cancel flight", "/cancel hotel 7"]
            assert agency.order == gone
            assert live.rows("books.db", "SELECT * FROM log") == []
            (letter,) = live.api("dead-letters")
            assert letter["step"] == "3.call"
            assert "no money" in letter["reason"]

            # replayed without mending: everything once more, and back again
            live.api(f"dead-letters/{letter['seq']}/replay", "POST")
            live.wait_settled()
            assert agency.order == gone * 2
            assert live.rows("books.db", "SELECT * FROM log") == []

            live.restart()
            live.api(f"dead-letters/{letter['seq']}/replay", "POST", b'{"id": 1, "text": "rich"}')
            counts = live.wait_settled()
            assert (counts["dead"], counts["done"]) == (0, 1)
            assert agency.order == [*gone * 2, "/book hotel", "/book flight", "/pay rich"]
            assert live.rows("books.db", "SELECT * FROM log") == [("1", "rich")]
            live.restart()
            live.wait_settled()
            assert len(agency.order) == 11, "a restart repeats nothing"
        assert live.run("journal", "verify").returncode == 0
