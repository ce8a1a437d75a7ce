"""Schedules, records sent by hand, webhooks that hold only an id, and delays, each through a real engine that is killed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from journeys.live import DESK, Live, desk

BOOKS = """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {fields: {id: string, text: string?}}
"""
LOG = "CREATE TABLE log (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, text TEXT)"


def project(folder: Path, flow: str, address: str = "http://127.0.0.1:1", desk_file: str = DESK) -> Live:
    files = {"systems/books.yaml": BOOKS, "systems/desk.yaml": desk_file, "flows/f.yaml": flow}
    return Live(folder, files, databases={"books.db": LOG}, environment={"DESK_ADDRESS": address})


def test_a_schedule_fires_each_second_once_also_across_a_kill(tmp_path: Path) -> None:
    flow = """
flow: tick
on: {schedule: {every: 1s}}
steps:
  - write: books.log
    mode: create
    with: {id: text(scheduled_at)}
"""

    def ticks(live: Live) -> list[str]:
        return [id for (id,) in live.rows("books.db", "SELECT id FROM log ORDER BY n")]

    with project(tmp_path, flow) as live:
        live.wait(lambda: len(ticks(live)) >= 3, "three ticks")
        live.kill()
        before = len(ticks(live))
        live.start()
        live.wait(lambda: len(ticks(live)) >= before + 4, "four more")
        found = ticks(live)
    assert len(set(found)) == len(found), found
    assert sorted(found) == found
    seconds = [int(text[17:19]) for text in found]
    steps = [(b - a) % 60 for a, b in itertools.pairwise(seconds)]
    gaps = [step for step in steps if step != 1]
    assert len(gaps) <= 1, found  # only while it was down are times missed, and of those the last one comes


def test_records_sent_by_hand_while_the_engine_runs_and_while_it_does_not(tmp_path: Path) -> None:
    flow = """
flow: hand
on: {manual: desk.tickets}
steps:
  - write: books.log
    mode: create
    with: {id: text(id), text: text}
"""
    lines = "".join(json.dumps({"id": id, "text": f"line {id}"}) + "\n" for id in range(10, 40))
    one = json.dumps({"id": 1, "text": "one"})
    live = project(tmp_path, flow)
    (tmp_path / "lines.jsonl").write_text(lines)

    stopped = live.run("send", "hand", "-", "--event-id", "e1", stdin=one)
    assert (stopped.returncode, stopped.stdout) == (
        0,
        "1 accepted, 0 already known (no engine is running: it runs at the next `accord up`)\n",
    )
    again = live.run("send", "hand", "-", "--event-id", "e1", stdin=one)
    assert "0 accepted, 1 already known" in again.stdout
    with live:
        live.wait(lambda: live.rows("books.db", "SELECT id, text FROM log") == [("1", "one")], "the record sent before")
        assert "0 accepted, 1 already known" in live.run("send", "hand", "-", "--event-id", "e1", stdin=one).stdout
        many = live.run("send", "hand", str(tmp_path / "lines.jsonl"), "--lines", "--event-id", "batch")
        assert many.stdout == "30 accepted, 0 already known\n", many.stderr
        live.restart()
        many = live.run("send", "hand", str(tmp_path / "lines.jsonl"), "--lines", "--event-id", "batch")
        assert many.stdout == "0 accepted, 30 already known\n", many.stderr
        wrong = live.run("send", "hands", "-", stdin=one)
        assert wrong.returncode != 0
        assert "hand" in wrong.stderr
        broken = live.run("send", "hand", "-", "--lines", stdin=one + "\n{broken\n")
        assert broken.returncode != 0
        assert "line 2" in broken.stderr
        live.wait_settled()
        found = live.rows("books.db", "SELECT id, count(*) FROM log GROUP BY id ORDER BY CAST(id AS INTEGER)")
        assert found == [("1", 1), *((str(id), 1) for id in range(10, 40))]


def test_many_lines_share_commits_while_no_engine_runs(tmp_path: Path) -> None:
    flow = "flow: hand\non: {manual: desk.tickets}\nsteps:\n  - log: text\n"
    live = project(tmp_path, flow)
    lines = "".join(json.dumps({"id": id, "text": "x"}) + "\n" for id in range(500))
    started = time.monotonic()
    one = live.run("send", "hand", "-", "--lines", stdin='{"id": 500, "text": "x"}\n')
    one_s = time.monotonic() - started
    many = live.run("send", "hand", "-", "--lines", stdin=lines)
    assert one.stdout.startswith("1 accepted"), one.stderr
    assert many.stdout.startswith("500 accepted"), many.stderr
    assert time.monotonic() - started - one_s < 20 * one_s, "each line costs far less than a command of its own"
    listed = json.loads(live.run("messages", "--json", "--limit", "1000").stdout)
    assert [message["record"]["id"] for message in listed] == [500, *range(500)]


def test_a_webhook_that_holds_only_an_id_has_its_record_read_first(tmp_path: Path) -> None:
    fetching = DESK.replace(
        "topics: {tickets: tickets}", "topics: {tickets: tickets}\n    fetch: {body: data.ref}"
    ).replace("key: id\n", "key: id\n    get: /tickets/{id}\n")
    flow = """
flow: fetched
on: {webhook: desk.tickets}
steps:
  - write: books.log
    mode: create
    with: {id: text(id), text: text}
on_error: {attempts: 5, first: 50ms, longest: 500ms}
"""
    failures = [503, 503]

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        id = int(path.rpartition("/")[2])
        if id == 404:
            return 404, {"error": "no such ticket"}
        if id == 8 and failures:
            return failures.pop(), {"error": "busy"}
        return 200, {"id": id, "text": f"ticket {id}", "secret": "not declared"}

    with desk(answer) as server, project(tmp_path, flow, server.address, fetching) as live:
        assert live.hook({"data": {"ref": 7}}, id="a") == (200, {"accepted": 1, "duplicates": 0})
        assert live.hook({"data": {"ref": 7}}, id="a") == (200, {"accepted": 0, "duplicates": 1})
        assert live.hook({"data": {"ref": "8"}}, id="b")[0] == 200
        assert live.hook({"data": {"ref": 404}}, id="c")[0] == 200
        assert live.hook({"data": {}}, id="d")[0] == 400
        assert live.wait_settled()["dead"] == 1
        assert sorted(live.rows("books.db", "SELECT id, text FROM log")) == [("7", "ticket 7"), ("8", "ticket 8")]
        (letter,) = live.api("dead-letters")
        assert (letter["step"], letter["key"]) == ("start.fetch", "404")
        assert [path for _, path, _ in server.seen].count("/tickets/7") == 1


def test_a_delay_survives_a_kill_and_keeps_the_order_of_its_key(tmp_path: Path) -> None:
    flow = """
flow: later
on: {webhook: desk.tickets}
key: text(id)
steps:
  - delay: 2s
    when: text == "slow"
  - write: books.log
    mode: create
    with: {id: text(id), text: text}
"""
    with project(tmp_path, flow) as live:
        sent = time.monotonic()
        live.hook({"id": 1, "text": "slow"}, id="a")
        live.hook({"id": 1, "text": "quick"}, id="b")
        live.hook({"id": 2, "text": "quick"}, id="c")
        live.wait(
            lambda: live.rows("books.db", "SELECT id, text FROM log") == [("2", "quick")], "the other key goes on"
        )
        live.restart()
        live.hook({"id": 1, "text": "last"}, id="d")
        live.wait(lambda: len(live.rows("books.db", "SELECT 1 FROM log")) == 4, "all are written")
        assert time.monotonic() - sent >= 2.0
        assert live.rows("books.db", "SELECT text FROM log WHERE id = '1' ORDER BY n") == [
            ("slow",),
            ("quick",),
            ("last",),
        ]
        messages = {one["key"]: one for one in live.api("messages?state=done") if one["record"]["text"] == "slow"}
        assert messages["1"]["attempts"] == 0


def test_two_flows_that_listen_to_one_event_each_get_their_own_message(tmp_path: Path) -> None:
    flow = """
flow: {name}
on: {{webhook: desk.tickets}}
steps:
  - write: books.log
    mode: create
    with: {{id: text(id), text: '"{name}"'}}
"""
    live = project(tmp_path, flow.format(name="one"))
    (tmp_path / "flows/g.yaml").write_text(flow.format(name="two"))
    with live:
        for _ in range(3):
            status, answer = live.hook({"id": 1, "text": "x"}, id="same")
            assert status == 200
            assert answer["accepted"] + answer["duplicates"] == 2
        for name in ("one", "two"):
            assert live.wait_settled(name)["done"] == 1
        assert sorted(live.rows("books.db", "SELECT text FROM log")) == [("one",), ("two",)]
