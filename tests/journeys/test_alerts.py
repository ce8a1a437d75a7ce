"""An alert of a running engine: told over HTTP when a message is dead, shown on pages and by the command, told when it was mended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from journeys import hooks_project
from journeys.hooks_project import HooksProject, encode, order
from servers import wait_until
from unit.engine.alerts.receivers import HttpReceiver, http_receiver

MAIL = "marked.person@planted.example"
ALERTS = """
alerts:
  - {alert: orders-dead, when: dead_letters, flow: orders, severity: critical, notify: [ops]}
"""


def cli(project: HooksProject, *words: str) -> str:
    command = [sys.executable, "-m", "accord.cli.main", "alerts", *words, "--project", str(project.folder)]
    done = subprocess.run(command, env=project.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(receiver: HttpReceiver) -> list[str]:
    return [line["state"] for _, body in receiver.taken for line in json.loads(body)["alerts"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_from_the_first_dead_letter_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    with http_receiver() as receiver:
        text = hooks_project.FILES["accord.yaml"].rstrip().removesuffix("}}")
        channels = f', channels: {{ops: {{webhook: "{receiver.address}"}}}}}}}}'
        monkeypatch.setitem(hooks_project.FILES, "accord.yaml", text + channels + ALERTS)
        with HooksProject(tmp_path, workers=workers) as project:
            assert "took the notice" in cli(project, "test", "ops")
            assert project.hook(encode(order(1, email=MAIL, currency="nonsense")))[0] == 200
            wait_until("a notice", lambda: told(receiver) == ["firing"], 40)
            assert "firing" in cli(project, "list")
            page = requests.get(project.address + "/monitor/alerts", timeout=20).text
            banner = requests.get(project.address + "/", timeout=20).text
            assert "1 dead letter in flow orders" in page
            assert "1 alert fires" in banner
            cli(project, "silence", "orders-dead", "--reason", "known")
            assert "1 alert fires" not in requests.get(project.address + "/", timeout=20).text
            cli(project, "silence", "orders-dead", "--for", "0s")
            project.api("dead-letters/1/discard", "POST", b"")
            wait_until("the end", lambda: told(receiver) == ["firing", "resolved"], 40)
        shown = page + banner + (tmp_path / "accord.log").read_text() + str(receiver.taken)
        assert "marked.person" not in shown
