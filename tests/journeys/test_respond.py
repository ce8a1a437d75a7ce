"""The caller of a webhook gets an answer the flow computed from its own data and from another system."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from journeys.live import DESK, Desk, Live, desk

FLOW = """
flow: quote
on: {webhook: desk.tickets}
response_timeout: 2s
steps:
  - validate: desk.tickets
  - filter: text != "ignored"
  - enrich: prices.price_of
    with: {sku: text}
    as: price
  - write: books.log
    mode: create
    with: {id: text(id), text: text}
  - respond:
      status: 201
      body: {sku: text, total: price.amount * decimal(version), currency: price.currency}
on_error: {attempts: 3, first: 50ms, longest: 100ms}
"""
FILES = {
    "systems/desk.yaml": DESK.replace("version: integer?", "version: {type: integer, min: 1}"),
    "systems/prices.yaml": """
system: prices
connector: http
settings:
  address: ${env:DESK_ADDRESS}
  operations:
    price_of: {path: "/prices/{sku}", method: GET, takes: {sku: string}, gives: {amount: decimal, currency: string}}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {fields: {id: string, text: string?}}
""",
    "flows/quote.yaml": FLOW,
}


@pytest.fixture(scope="module")
def prices() -> Iterator[tuple[Desk, threading.Event]]:
    go_on = threading.Event()

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        sku = path.rpartition("/")[2]
        if sku == "slow":
            go_on.wait(30)
        if sku == "unknown":
            return 404, {"error": "no such thing"}
        return 200, {"amount": 12.35, "currency": "EUR"}

    with desk(answer) as found:
        yield found, go_on
        go_on.set()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, prices: tuple[Desk, threading.Event]) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("respond")
    environment = {"DESK_ADDRESS": prices[0].address}
    tables = {"books.db": "CREATE TABLE log (id TEXT, text TEXT)"}
    with Live(folder, FILES, databases=tables, environment=environment) as found:
        yield found


def test_the_caller_gets_what_was_looked_up_and_computed_exactly(live: Live) -> None:
    status, answer = live.hook({"id": 1, "text": "nut", "version": 3}, id="one")
    assert (status, answer) == (201, {"sku": "nut", "total": 37.05, "currency": "EUR"})
    assert live.rows("books.db", "SELECT text FROM log WHERE id = '1'") == [("nut",)]


def test_a_repeated_delivery_is_known_and_changes_nothing(live: Live) -> None:
    assert live.hook({"id": 2, "text": "nut", "version": 1}, id="two")[0] == 201
    assert live.hook({"id": 2, "text": "nut", "version": 1}, id="two") == (200, {"accepted": 0, "duplicates": 1})
    assert live.rows("books.db", "SELECT count(*) FROM log WHERE id = '2'") == [(1,)]


def test_a_caller_does_not_wait_longer_than_the_time_out_and_the_work_goes_on(
    live: Live, prices: tuple[Desk, threading.Event]
) -> None:
    started = time.monotonic()
    status, answer = live.hook({"id": 3, "text": "slow", "version": 1}, id="three")
    waited = time.monotonic() - started
    assert (status, answer["accepted"], len(answer["ids"])) == (202, 1, 1)
    assert 2.0 <= waited < 10
    prices[1].set()
    live.wait(lambda: live.rows("books.db", "SELECT count(*) FROM log WHERE id = '3'") == [(1,)], "the work is done")


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({"id": 4, "text": "nut", "version": 0}, "dead"),
        ({"id": 5, "text": "unknown", "version": 1}, "dead"),
        ({"id": 6, "text": "ignored", "version": 1}, "done"),
    ],
)
def test_a_caller_hears_at_once_when_the_flow_ends_without_an_answer(
    live: Live, record: dict[str, Any], state: str
) -> None:
    started = time.monotonic()
    status, answer = live.hook(record, id=f"ends-{record['id']}")
    assert time.monotonic() - started < 1.5
    assert status == 202
    assert (answer["accepted"], len(answer["ids"]), answer["state"]) == (1, 1, state)
    (message,) = live.api(f"messages?id={answer['ids'][0]}")
    assert message["state"] == state


def test_a_record_that_is_mended_later_is_not_answered_twice(live: Live) -> None:
    _, answer = live.hook({"id": 7, "text": "nut", "version": -1}, id="seven")
    (letter,) = [one for one in live.api("dead-letters") if one["id"] == answer["ids"][0]]
    live.api(f"dead-letters/{letter['seq']}/replay", "POST", b'{"id": 7, "text": "nut", "version": 2}')
    live.wait(lambda: live.rows("books.db", "SELECT count(*) FROM log WHERE id = '7'") == [(1,)], "it is processed")
    assert live.hook({"id": 7, "text": "nut", "version": 2}, id="seven") == (200, {"accepted": 0, "duplicates": 1})
