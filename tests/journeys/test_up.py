"""`accord up` as an operator meets it: a second one, a taken port, a stop while work is under way, a stop while a client dawdles."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from journeys.live import DESK, Live, desk

FILES = {
    "systems/desk.yaml": DESK
    + """
""",
    "systems/slow.yaml": """
system: slow
connector: http
settings:
  address: ${env:DESK_ADDRESS}
  operations:
    work: {path: /work, takes: {id: integer}}
""",
    "flows/f.yaml": """
flow: f
on: {webhook: desk.tickets}
steps:
  - call: slow.work
    with: {id: id}
""",
}


def test_a_second_engine_on_the_same_folder_is_refused_by_pid(tmp_path: Path) -> None:
    with Live(tmp_path, FILES, environment={"DESK_ADDRESS": "http://127.0.0.1:1"}) as live:
        assert live.process is not None
        second = live.run("up", "--address", "127.0.0.1:0")
        assert second.returncode not in (0, None)
        assert f"process {live.process.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        assert "journal.locked" in second.stderr
        assert live.request("GET", "/readyz")[0] == 200
        assert live.run("status").returncode == 0, "the first engine's state file is still there"


def test_a_port_that_is_taken_is_told_and_nothing_runs(tmp_path: Path) -> None:
    live = Live(tmp_path, FILES, environment={"DESK_ADDRESS": "http://127.0.0.1:1"})
    with socket.socket() as other:
        other.bind(("127.0.0.1", live.port))
        other.listen()
        taken = live.run("up")
    assert taken.returncode not in (0, None)
    assert f"127.0.0.1:{live.port} is taken" in taken.stderr
    assert "Traceback" not in taken.stderr
    with live:
        assert live.request("GET", "/readyz")[0] == 200


def test_a_stop_lets_the_work_under_way_finish(tmp_path: Path) -> None:
    started, finished = threading.Event(), threading.Event()

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        started.set()
        assert finished.wait(30)
        return 200, {}

    with desk(answer) as server, Live(tmp_path, FILES, environment={"DESK_ADDRESS": server.address}) as live:
        live.hook({"id": 1, "text": "x"}, id="one")
        assert started.wait(20)
        assert live.process is not None
        live.process.send_signal(signal.SIGTERM)
        live.wait(lambda: "engine.stopping" in live.log, "it begins to stop")
        assert live.process.poll() is None
        live.wait(lambda: live.request("GET", "/readyz")[0] != 200, "it is not ready any more")
        finished.set()
        assert live.process.wait(20) == 0
        assert "open_messages=0" in live.log.splitlines()[-1]
        assert len(server.seen) == 1
        live.start()
        assert live.wait_settled()["done"] == 1
        assert len(server.seen) == 1, "what was finished is not done again"


def test_a_stop_ends_in_time_though_a_client_dawdles_and_a_system_hangs(tmp_path: Path) -> None:
    hang = threading.Event()

    def answer(method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        hang.wait(60)
        return 200, {}

    files = {**FILES, "accord.yaml": (
        'name: live\nenvironments:\n  default: {address: "${env:ACCORD_ADDRESS}", secrets: [environment],'
        ' api_token: "${secret:api}", drain: 1s}\n'
    )}  # fmt: skip
    with desk(answer) as server, Live(tmp_path, files, environment={"DESK_ADDRESS": server.address}) as live:
        live.hook({"id": 1, "text": "x"}, id="one")
        live.wait(lambda: len(server.seen) == 1, "the system has the request")
        with (
            socket.create_connection(("127.0.0.1", live.port)) as half,
            socket.create_connection(("127.0.0.1", live.port)) as idle,
        ):
            half.sendall(b"POST /hooks/desk HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert idle.recv(100).startswith(b"HTTP/1.1 200")
            assert live.process is not None
            began = time.monotonic()
            live.process.send_signal(signal.SIGTERM)
            assert live.process.wait(20) == 0
            assert time.monotonic() - began < 10
        hang.set()
        server.answer = lambda *_: (200, {})
        live.start()
        assert live.wait_settled()["done"] == 1, "what was cut off is taken up again"


def test_sigint_stops_as_sigterm_does(tmp_path: Path) -> None:
    with Live(tmp_path, FILES, environment={"DESK_ADDRESS": "http://127.0.0.1:1"}) as live:
        assert live.process is not None
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(20) == 0
        assert not (tmp_path / ".accord/engine.json").exists()


def test_a_folder_that_is_no_project_is_told_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accord.cli.main", "up", "-p", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode not in (0, None)
    assert "accord.yaml" in done.stderr
    assert "Traceback" not in done.stderr
