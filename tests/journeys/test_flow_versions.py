"""A flow is changed while its messages are under way: each finishes on the version it began with."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from journeys.live import DESK, Live, desk

FILES = {
    "systems/desk.yaml": DESK,
    "systems/gate.yaml": """
system: gate
connector: http
settings:
  address: ${env:DESK_ADDRESS}
  idempotency_header: Idempotency-Key
  operations:
    pass: {path: /pass, takes: {by: integer}}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {key: id, fields: {id: string, text: string?}}
  tickets: {key: id, fields: {id: integer, text: string}}
""",
    "mappings/ticket.yaml": """
mapping: ticket
from: desk.tickets
to: books.tickets
fields: {id: id, text: '"one " + text'}
""",
    "flows/tickets.yaml": """
flow: tickets
on: {webhook: desk.tickets}
key: id
steps:
  - write: books.log
    mode: create
    with: {id: message.id, text: text}
  - call: gate.pass
    with: {by: id}
  - write: books.tickets
    mode: upsert
    mapping: ticket
on_error: {attempts: 1000, first: 50ms, longest: 200ms}
""",
}
TABLES = {
    "books.db": "CREATE TABLE log (id TEXT PRIMARY KEY, text TEXT); CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT)"
}


LOUD = """from accord import function


@function(example="loud('a') == 'A'")
def loud(text: str) -> str:
    \"\"\"Upper case.\"\"\"
    return text.upper()
"""


class Gate:
    """A system that refuses to let anything pass until it is open; 503 makes messages wait."""

    def __init__(self) -> None:
        self.is_open = False

    def answer(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        return (200, {}) if self.is_open else (503, {"error": "closed"})


def write(live: Live, name: str, old: str, new: str) -> None:
    path = live.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def texts(live: Live) -> dict[int, str]:
    return {int(id): text for id, text in live.rows("books.db", "SELECT id, text FROM tickets")}


def versions(live: Live) -> list[tuple[int, str]]:
    return [(one["messages"], one["why_not"]) for one in live.api("versions")]


def begun(live: Live, count: int) -> None:
    live.wait(lambda: len(live.rows("books.db", "SELECT id FROM log")) == count, f"{count} have begun")
    live.wait(lambda: sum(live.api("status")["flows"][0][s] for s in ("waiting", "held")) == count, "all are parked")


def project(folder: Path, address: str) -> Live:
    return Live(folder, FILES, databases=TABLES, environment={"DESK_ADDRESS": address})


def kept(live: Live) -> int:
    """How many files of declarations the journal keeps."""
    db = sqlite3.connect(live.folder / ".accord/journal.db")
    try:
        return int(
            db.execute("SELECT count(*) FROM cursors WHERE name LIKE 'snapshot-file:%' AND position != x''").fetchone()[
                0
            ]
        )
    finally:
        db.close()


def test_a_hundred_messages_finish_on_their_own_version_across_kills(tmp_path: Path) -> None:
    gate = Gate()
    with desk(gate.answer) as server, project(tmp_path, server.address) as live:
        for id in range(60):
            assert live.hook({"id": id, "text": f"t{id}"}, id=f"a{id}")[0] == 200
        begun(live, 60)
        live.stop()
        write(live, "mappings/ticket.yaml", '"one "', '"two "')
        live.start()
        for id in range(60, 100):
            assert live.hook({"id": id, "text": f"t{id}"}, id=f"b{id}")[0] == 200
        begun(live, 100)
        live.wait(lambda: versions(live) == [(60, "")], "60 on the version before")
        live.kill()  # and the flow is changed once more, with a step before all others
        write(live, "flows/tickets.yaml", "steps:\n", "steps:\n  - set: {text: '\"three \" + text'}\n")
        live.start()
        live.wait(lambda: versions(live) == [(60, ""), (40, "")], "two versions in flight")
        assert live.hook({"id": 100, "text": "t100"}, id="c100")[0] == 200
        live.restart()
        gate.is_open = True
        assert live.wait_settled()["done"] == 101
        found = texts(live)
        assert found == {
            **{id: f"one t{id}" for id in range(60)},
            **{id: f"two t{id}" for id in range(60, 100)},
            100: "two three t100",
        }
        assert len(live.rows("books.db", "SELECT id FROM log")) == 101, "what was done is not repeated"
        assert live.run("journal", "verify").returncode == 0
        live.restart()
        assert versions(live) == []
        live.wait(lambda: kept(live) == 6, "declarations nobody needs are removed")


def test_a_message_that_has_not_begun_takes_the_new_version_and_order_per_key_holds(tmp_path: Path) -> None:
    gate = Gate()
    with desk(gate.answer) as server, project(tmp_path, server.address) as live:
        assert live.hook({"id": 7, "text": "first"}, id="1")[0] == 200
        assert live.hook({"id": 7, "text": "second"}, id="2")[0] == 200
        begun(live, 1)
        live.stop()
        write(live, "mappings/ticket.yaml", '"one "', '"two "')
        gate.is_open = True
        live.start()
        assert live.wait_settled()["done"] == 2
        assert texts(live) == {7: "two second"}
        assert [text for (text,) in live.rows("books.db", "SELECT text FROM log ORDER BY rowid")] == ["first", "second"]


def test_a_version_that_cannot_run_holds_its_messages_until_they_are_moved(tmp_path: Path) -> None:
    gate = Gate()
    with desk(gate.answer) as server:
        live = project(tmp_path, server.address)
        (tmp_path / "functions").mkdir()
        function = tmp_path / "functions/loud.py"
        source = LOUD
        function.write_text(source)
        write(live, "mappings/ticket.yaml", '"one " + text', '"one " + loud(text)')
        with live:
            for id in range(3):
                assert live.hook({"id": id, "text": "t"}, id=f"a{id}")[0] == 200
            begun(live, 3)
            live.stop()
            function.write_text(source.replace("text.upper()", "text.upper().strip()"))
            write(live, "mappings/ticket.yaml", '"one "', '"two "')
            gate.is_open = True
            live.start()
            live.wait(lambda: [m["held_by"] for m in live.api("messages")] == ["~version"] * 3, "all are held")
            (reason,) = {m["reason"] for m in live.api("messages")}
            assert "calls loud, and functions/loud.py has changed" in reason
            assert live.hook({"id": 0, "text": "t"}, id="late")[0] == 200
            live.restart()
            ((count, why_not),) = versions(live)
            assert count == 3
            assert "calls loud" in why_not
            assert texts(live) == {}
            moved = live.run("migrate", "1", "2")
            assert (moved.returncode, moved.stdout.count("migrated")) == (0, 2), moved.stderr
            live.wait(lambda: texts(live) == {0: "two T", 1: "two T"}, "those moved have finished")
            live.stop()
            function.write_text(source)
            live.start()
            assert live.wait_settled()["done"] == 4
            assert texts(live) == {0: "two T", 1: "two T", 2: "one T"}


def test_a_check_before_the_deployment_says_what_will_finish_on_the_running_version(tmp_path: Path) -> None:
    gate = Gate()
    with desk(gate.answer) as server, project(tmp_path, server.address) as live:
        for id in range(2):
            assert live.hook({"id": id, "text": "t"}, id=f"a{id}")[0] == 200
        begun(live, 2)
        assert "began with" not in live.run("check").stdout
        version = live.api("status")["flows"][0]["version"]
        write(live, "mappings/ticket.yaml", '"one "', '"two "')
        for _ in range(2):
            checked = live.run("check")
            assert checked.returncode == 0, checked.stderr
            assert "finish on the version they began with" in checked.stdout
            assert version in checked.stdout
            if live.process is not None and live.process.poll() is None:
                live.stop()  # the second time it is read from the journal
        live.start()
        live.wait(lambda: version in live.run("status").stdout, "status tells it too")


def test_a_dead_letter_whose_done_steps_have_moved_is_not_replayed_over_them(tmp_path: Path) -> None:
    gate = Gate()
    gate.is_open = True
    with desk(gate.answer) as server, project(tmp_path, server.address) as live:
        live.change("books.db", "INSERT INTO log VALUES ('x', 'x'); ALTER TABLE tickets RENAME TO away")
        assert live.hook({"id": 1, "text": "t"}, id="a")[0] == 200
        assert live.wait_settled()["dead"] == 1
        live.stop()
        live.change("books.db", "ALTER TABLE away RENAME TO tickets")
        write(live, "flows/tickets.yaml", "steps:\n", "steps:\n  - call: gate.pass\n    with: {by: id}\n")
        live.start()
        refused = live.run("dead", "replay", "1")
        assert refused.returncode == 1
        assert "engine.version-changed" in refused.stderr
        assert "0.write of message 1 is done (books.log create)" in refused.stderr
        write(live, "flows/tickets.yaml", "steps:\n  - call: gate.pass\n    with: {by: id}\n", "steps:\n")
        write(live, "mappings/ticket.yaml", '"one "', '"two "')
        live.restart()
        assert live.run("dead", "replay", "1").returncode == 0
        assert live.wait_settled()["done"] == 1
        assert texts(live) == {1: "two t"}
        assert len(live.rows("books.db", "SELECT id FROM log")) == 2, "what was done is not repeated"
