"""Commands on a project's journal while no engine runs, and on engines that are not there any more."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from accord.engine.build import engine_of
from accord.journal.stores.sqlite_lock import FileLock
from accord.observe import Level, Observer
from accord.project import load_project

FLOW = "invoice-paid-orders"


def order(acme: Path, **changes: object) -> dict[str, object]:
    return {**json.loads((acme / "examples/order_1001.json").read_text()), **changes}


def run_engine_until_idle(acme: Path) -> None:
    async def work() -> None:
        project = load_project(acme)
        observer = Observer(level=Level.INFO, stream=io.StringIO())
        engine = engine_of(project, observer=observer, address="127.0.0.1:0")
        await engine.start()
        async with asyncio.timeout(20):
            flows = (await engine.control.status())["flows"]
            while any(flow["ready"] or flow["running"] for flow in flows):
                await asyncio.sleep(0.01)
                flows = (await engine.control.status())["flows"]
        await engine.stop()

    asyncio.run(work())


@pytest.fixture
def dead(run, acme, tmp_path) -> Path:
    """A project with one dead letter: its currency is wrong."""
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(order(acme, id=7, number="A-7", currency="EURO")))
    assert run("send", FLOW, wrong, "-p", acme).code == 0
    run_engine_until_idle(acme)
    return acme


def test_what_is_sent_waits_on_disk(run, acme):
    said = run("send", FLOW, acme / "examples/order_1001.json", "-p", acme)
    assert said.code == 0
    assert said.out.startswith("1 accepted, 0 already known (no engine is running")
    assert [m["state"] for m in json.loads(run("messages", "-p", acme, "--json").out)] == ["ready"]
    assert not (acme / "archive/INV-1001.json").exists()
    run_engine_until_idle(acme)
    assert (acme / "archive/INV-1001.json").is_file()
    assert [m["state"] for m in json.loads(run("messages", "-p", acme, "--json").out)] == ["done"]


def test_lines_and_standard_input(run, acme, monkeypatch, tmp_path):
    lines = "\n".join(json.dumps(order(acme, id=n)) for n in range(3)) + "\n\n"
    (tmp_path / "orders.jsonl").write_text(lines)
    said = run("send", FLOW, tmp_path / "orders.jsonl", "--lines", "--event-id", "today", "-p", acme)
    assert said.out.startswith("3 accepted, 0 already known")
    said = run("send", FLOW, tmp_path / "orders.jsonl", "--lines", "--event-id", "today", "-p", acme)
    assert said.out.startswith("0 accepted, 3 already known")
    raw = io.BytesIO(json.dumps(order(acme)).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert run("send", FLOW, "-", "-p", acme).out.startswith("1 accepted")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"', "name: x", "\x00"])
def test_what_is_no_record_is_refused_and_nothing_kept(text, run, acme, tmp_path):
    (tmp_path / "x.json").write_text(text)
    said = run("send", FLOW, tmp_path / "x.json", "-p", acme)
    assert said.code == 1
    assert "cli.bad-record" in said.err
    assert json.loads(run("messages", "-p", acme, "--json").out) == []


def test_one_bad_line_refuses_all(run, acme, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(order(acme)) + "\n{\n")
    said = run("send", FLOW, tmp_path / "x.jsonl", "--lines", "-p", acme)
    assert said.code == 1
    assert "line 2" in said.err
    assert json.loads(run("messages", "-p", acme, "--json").out) == []


def test_a_flow_that_is_not_there(run, acme):
    said = run("send", "invoice-paid-order", acme / "examples/order_1001.json", "-p", acme)
    assert said.code == 1
    assert f"Did you mean '{FLOW}'?" in said.err


def test_listings_say_what_happened(run, dead):
    said = run("dead", "list", "-p", dead)
    assert "record.format" in said.out or "currency" in said.out
    letter = json.loads(run("dead", "list", "-p", dead, "--json").out)[0]
    assert (letter["seq"], letter["key"], letter["path"]) == (1, "7", "currency")
    assert json.loads(run("dead", "list", "-p", dead, "--json", "--flow", "other").out) == []
    shown = run("dead", "show", "1", "-p", dead)
    assert "Ada" not in shown.out
    assert "Ada Lovelace" in run("dead", "show", "1", "--reveal", "-p", dead).out
    assert "dead" in run("messages", "-p", dead, "--state", "dead").out
    assert "there may be more: --after 1" in run("messages", "-p", dead, "--limit", "1").out
    status = json.loads(run("status", "-p", dead, "--json").out)
    assert status["flows"][0]["dead"] == 1
    assert "no engine is running" in run("status", "-p", dead).out


def test_replay_with_a_mended_body(run, dead, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(order(dead, id=7, number="A-7")))
    assert run("dead", "replay", "1", "--body", tmp_path / "good.json", "-p", dead).out.strip() == "1 replayed"
    run_engine_until_idle(dead)
    assert (dead / "archive/INV-7.json").is_file()
    said = run("dead", "replay", "1", "-p", dead)
    assert said.code == 1
    assert "not a dead letter" in said.err


def test_replay_all_and_discard(run, dead):
    assert run("dead", "replay", "--all", "--flow", "other", "-p", dead).out.strip() == "0 replayed"
    assert run("dead", "replay", "--all", "-p", dead).out.strip() == "1 replayed"
    run_engine_until_idle(dead)
    assert run("dead", "discard", "1", "-p", dead).code == 2  # no reason
    assert run("dead", "discard", "1", "--reason", "known", "-p", dead).out.strip() == "1 discarded"
    assert json.loads(run("dead", "list", "-p", dead, "--json").out) == []


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["1", "2", "--body", __file__]])
def test_replay_needs_to_know_what(arguments, run, dead):
    assert run("dead", "replay", *arguments, "-p", dead).code == 2


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    script = tmp_path / "editor.py"
    script.write_text(f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_text()\n{change}\n")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")


def test_edit_mends_and_replays(run, dead, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "path.write_text(text.replace('EURO', 'EUR'))")
    assert run("dead", "edit", "1", "-p", dead).out.strip() == "1 replayed"
    run_engine_until_idle(dead)
    assert json.loads((dead / "archive/INV-7.json").read_text())["currency"] == "EUR"


def test_edit_asks_only_for_what_the_flow_asks(run, dead, tmp_path, monkeypatch):
    path = next(path for path in (dead / "flows").glob("*.yaml") if FLOW in path.read_text())
    lines = [line for line in path.read_text().splitlines(keepends=True) if "- validate:" not in line]
    path.write_text("".join(lines))
    editor(tmp_path, monkeypatch, "path.write_text(text.replace('EURO', 'EURR'))")
    assert run("dead", "edit", "1", "-p", dead).out.strip() == "1 replayed", "it does not validate the format"


def test_edit_without_a_change_replays_nothing(run, dead, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "pass")
    assert "nothing was changed" in run("dead", "edit", "1", "-p", dead).out
    assert len(json.loads(run("dead", "list", "-p", dead, "--json").out)) == 1


@pytest.mark.parametrize("change", ["text.replace('EURO', 'EURR')", "text.replace('{', '[')", "'{}'"])
def test_edit_does_not_replay_what_still_breaks_the_contract(change, run, dead, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, f"path.write_text({change})")
    monkeypatch.setattr("click.confirm", lambda *a, **k: False)
    said = run("dead", "edit", "1", "-p", dead)
    assert said.code == 1
    assert "was not replayed" in said.err
    assert len(json.loads(run("dead", "list", "-p", dead, "--json").out)) == 1


@pytest.mark.parametrize("command", [["show", "9"], ["edit", "9"], ["replay", "9"], ["discard", "9", "--reason", "x"]])
def test_a_letter_that_is_not_there(command, run, acme):
    said = run("dead", *command, "-p", acme)
    assert said.code == 1
    assert "essage 9 is not a dead letter" in said.err


def test_journal(run, dead):
    stats = json.loads(run("journal", "stats", "-p", dead, "--json").out)
    assert stats["messages"] == {"ready": 0, "waiting": 0, "held": 0, "done": 0, "dead": 1}
    assert stats["size_bytes"] > 10_000
    assert "MB on disk" in run("journal", "stats", "-p", dead).out
    assert run("journal", "verify", "-p", dead).out.strip() == "0 violations"


def test_journal_that_is_not_there_or_none(run, acme):
    said = run("journal", "verify", "-p", acme)
    assert said.code == 1
    assert "journal.path" in said.err
    project = acme / "accord.yaml"
    project.write_text(project.read_text().replace("  default:\n", "  default:\n    store: {kind: memory}\n"))
    assert "nothing to verify" in run("journal", "verify", "-p", acme).out


def test_a_journal_whose_place_is_not_known(run, acme):
    project = acme / "accord.yaml"
    project.write_text(
        project.read_text().replace("  default:\n", "  default:\n    store: {path: '${env:NO_SUCH_PLACE}'}\n")
    )
    said = run("status", "-p", acme)
    assert said.code == 1
    assert "settings.env-missing" in said.err


def test_a_journal_that_another_process_has(run, acme):
    assert run("status", "-p", acme).code == 0
    lock = FileLock(acme / ".accord/journal.db")
    lock.take()
    try:
        for command in (
            ["status"],
            ["send", FLOW, acme / "examples/order_1001.json"],
            ["up", "--address", "127.0.0.1:0"],
        ):
            said = run(*command, "-p", acme)
            assert said.code == 1
            assert "journal.locked" in said.err
    finally:
        lock.give_back()


@pytest.mark.parametrize("address", ["8400", "x", ":8400", "127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:"])
def test_an_address_that_is_none(address, run, acme):
    said = run("up", "--address", address, "-p", acme)
    assert said.code == 2
    assert "is not like" in said.err


def test_an_address_that_is_taken(run, acme):
    run("send", FLOW, acme / "examples/order_1001.json", "-p", acme)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = run("up", "--address", f"127.0.0.1:{taken.getsockname()[1]}", "-p", acme)
    assert said.code == 1
    assert "is taken by another program" in said.err
    assert not (acme / "archive/INV-1001.json").exists()  # nothing ran before the start failed


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Another program on the port where a killed engine was; or an engine that fails."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"<html>")

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def stranger():
    server = http.server.HTTPServer(("127.0.0.1", 0), _Stranger)
    server.status = 404
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


NOBODY = '{"address": "http://127.0.0.1:1", "token": "x"}'


@pytest.mark.parametrize("content", ["", "{}", "[]", "{", NOBODY, '{"address": "x", "token": ""}'])
def test_a_state_file_that_leads_nowhere(content, run, acme):
    (acme / ".accord/engine.json").write_text(content)
    assert "no engine is running" in run("status", "-p", acme).out


def test_another_program_where_an_engine_was(run, acme, stranger):
    state = {"address": f"http://127.0.0.1:{stranger.server_port}", "token": "x"}
    (acme / ".accord/engine.json").write_text(json.dumps(state))
    assert "no engine is running" in run("status", "-p", acme).out


def test_an_engine_that_fails(run, acme, stranger, monkeypatch):
    state = {"address": f"http://127.0.0.1:{stranger.server_port}", "token": "x"}
    monkeypatch.setattr("accord.cli.operator.running_engine", lambda folder: state)
    stranger.status = 500
    said = run("status", "-p", acme)
    assert said.code == 1
    assert "500" in said.err


def test_an_engine_that_has_just_gone(run, acme, monkeypatch):
    monkeypatch.setattr(
        "accord.cli.operator.running_engine", lambda folder: {"address": "http://127.0.0.1:1", "token": "x"}
    )
    said = run("status", "-p", acme)
    assert said.code == 1
    assert "cli.unreachable" in said.err
