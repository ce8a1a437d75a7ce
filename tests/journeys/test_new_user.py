"""A new user's first hour: init, check, test, schema, up, a signed webhook, sending by hand, a dead letter mended, the end."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECRET = "the shop's own secret"
WITHIN_S = 30.0


class User:
    """Someone at a terminal, with a home of their own."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.project = work / "acme"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {**kept, "HOME": str(work / "home"), "ACCORD_ADDRESS": f"127.0.0.1:{self.port}"}
        self.engine: subprocess.Popen[bytes] | None = None
        self.log = work / "accord.log"

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        at = self.project if self.project.is_dir() else self.work
        return subprocess.run(
            [sys.executable, "-m", "accord", *arguments],
            cwd=at,
            env={**self.environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def does(self, *arguments: str, stdin: str = "", **variables: str) -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments, stdin=stdin, **variables)
        assert done.returncode == 0, f"accord {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.does(*arguments, "--json"))

    def starts(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "accord", "up"]
            self.engine = subprocess.Popen(command, cwd=self.project, env=self.environment, stderr=log)
        self.sees(self.is_ready, "Accord is ready")

    def stops(self) -> int:
        assert self.engine is not None
        self.engine.send_signal(signal.SIGTERM)
        return self.engine.wait(WITHIN_S)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def sees(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline, f"it did not come true that {what}:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def posts(self, order: dict[str, Any], event: str, secret: str = SECRET) -> int:
        """What the shop does when an order is paid; the status of the answer."""
        body = json.dumps(order).encode()
        headers = {
            "content-type": "application/json",
            "x-shop-topic": "orders/paid",
            "x-shop-event-id": event,
            "x-shop-signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/hooks/shop", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def invoice(self, number: str) -> Path:
        return self.project / "archive" / f"{number}.json"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    someone = User(tmp_path)
    yield someone
    if someone.engine is not None and someone.engine.poll() is None:
        someone.engine.kill()
        someone.engine.wait()


def test_from_init_to_a_mended_dead_letter(user: User, tmp_path: Path) -> None:
    assert "acme is written" in user.does("init", "acme")
    user.does("secret", "set", "shop_webhook_secret", "--value-from", "-", stdin=SECRET + "\n")
    assert user.does("secret", "list").split() == ["shop_webhook_secret"]
    assert SECRET not in (user.project / "secrets.accord").read_text()
    assert "exactly-once" in user.does("check")
    assert "4 passed, 0 failed" in user.does("test")
    user.does("schema", "--write")
    order = json.loads((user.project / "examples/order_1001.json").read_text())

    user.starts()
    assert user.posts({**order, "id": 1, "number": "A-1"}, "event-1") == 200
    assert user.posts({**order, "id": 1, "number": "A-1"}, "event-1") == 200
    assert user.posts({**order, "id": 2, "number": "A-2"}, "event-2", secret="a guess") == 401
    assert "1 accepted" in user.does("send", "invoice-paid-orders", "examples/order_1001.json")
    user.sees(lambda: user.invoice("INV-1").is_file() and user.invoice("INV-1001").is_file(), "both invoices are there")
    assert json.loads(user.invoice("INV-1001").read_text())["total"] == 45.5
    user.sees(lambda: user.json("status")["flows"][0]["done"] == 2, "two messages are done")
    assert sorted(message["key"] for message in user.json("messages")) == ["1", "1001"]
    assert "well" in user.does("status")
    assert user.json("journal", "stats")["messages"]["done"] == 2

    bad = tmp_path / "bad.jsonl"
    lines = [
        json.dumps({**order, "id": 3, "number": "A-3", "currency": "EURO"}),
        json.dumps({**order, "id": 4, "lines": []}),
    ]
    bad.write_text("\n".join(lines) + "\n")
    assert "2 accepted" in user.does("send", "invoice-paid-orders", str(bad), "--lines")
    user.sees(lambda: len(user.json("dead", "list")) == 2, "both are dead letters")
    letters = {letter["key"]: letter for letter in user.json("dead", "list")}
    assert letters["3"]["path"] == "currency"
    shown = user.does("dead", "show", str(letters["3"]["seq"]))
    assert "Ada" not in shown and "ada@example.com" not in shown
    assert "Ada Lovelace" in user.does("dead", "show", str(letters["3"]["seq"]), "--reveal")
    editor = f"{sys.executable} {_editor(tmp_path)}"
    assert "1 replayed" in user.does("dead", "edit", str(letters["3"]["seq"]), EDITOR=editor, VISUAL=editor)
    user.sees(lambda: user.invoice("INV-3").is_file(), "the mended order is an invoice")
    assert json.loads(user.invoice("INV-3").read_text())["currency"] == "EUR"
    assert "1 discarded" in user.does("dead", "discard", str(letters["4"]["seq"]), "--reason", "a test of the shop")
    assert user.json("dead", "list") == []

    second = user.run("up")
    assert second.returncode == 1
    assert "in use by process" in second.stderr and "Traceback" not in second.stderr
    assert user.json("status")["address"].endswith(str(user.port))  # the first is still found
    assert user.stops() == 0
    assert "no engine is running" in user.does("status")
    assert user.does("journal", "verify").strip() == "0 violations"


def _editor(tmp_path: Path) -> Path:
    """An editor that mends the currency."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('EURO', 'EUR'))\n"
    )
    return script


def test_what_is_sent_while_nothing_runs_waits_on_disk(user: User) -> None:
    user.does("init", "acme")
    said = user.does("send", "invoice-paid-orders", "examples/order_1001.json", "--event-id", "mine")
    assert "no engine is running" in said
    assert "0 accepted, 1 already known" in user.does(
        "send", "invoice-paid-orders", "examples/order_1001.json", "--event-id", "mine"
    )
    assert [message["state"] for message in user.json("messages")] == ["ready"]
    assert not user.invoice("INV-1001").exists()
    user.starts()
    user.sees(lambda: user.invoice("INV-1001").is_file(), "the invoice is there")
    assert user.stops() == 0
