"""``accord sandbox`` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from accord.cli.sandbox import duration, rate_per_s, sandbox

START = "from accord.cli.sandbox import sandbox; sandbox()"
WITHIN_S = 30.0


def wait_until(condition: Any, what: str) -> None:
    until = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    folder = tmp_path / "box"
    command = [
        sys.executable,
        "-c",
        START,
        "up",
        "shop",
        "shipping",
        "--folder",
        str(folder),
        "--set",
        "shop.stock=500",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output = iter(process.stdout.readline, "") if process.stdout else iter(())
        assert any("Ctrl+C stops" in line for line in output)
        yield folder, process
        process.kill()


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(sandbox, list(words), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_a_user_starts_breaks_orders_and_stops(running: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, process = running
    here = ("--folder", str(folder))
    listing = json.loads((folder / "systems.json").read_text())
    assert (folder / "systems.json").stat().st_mode & 0o077 == 0, "credentials are the owner's alone"
    assert f"SHOP_ADDRESS={listing['systems']['shop']['address']}" in (folder / "sandbox.env").read_text()
    code, output = invoke("status", *here)
    assert (code, "shipping" in output, "40 products" in output) == (0, True, True)
    code, output = invoke("order", "-n", "3", "--rate", "100/s", *here)
    assert (code, output.count("#100")) == (0, 3)
    code, output = invoke("fault", "shipping", "--down", "30s", "--slow", "2s", *here)
    assert (code, output.strip()) == (0, "down=1, slow_s=2")
    with pytest.raises(requests.ConnectionError):
        for _ in range(100):
            requests.get(listing["systems"]["shipping"]["address"], timeout=5)
    assert invoke("fault", "shipping", "--clear", *here) == (0, "no faults\n")
    assert invoke("fault", "crm", "--down", "1s", *here)[0] == 1
    assert invoke("fault", "shop", *here)[0] == 2
    assert invoke("reset", "shop", *here)[0] == 0
    assert "0 orders" in invoke("status", *here)[1]
    pids = children(process.pid)
    assert len(pids) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0
    assert not any(is_alive(pid) for pid in pids)
    code, output = invoke("status", *here)
    assert (code, "sandbox.not-running" in output) == (1, True)


def test_the_stand_ins_end_when_their_launcher_is_killed(running: tuple[Path, subprocess.Popen[str]]) -> None:
    _, process = running
    pids = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(WITHIN_S)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "a stand-in outlived its launcher")


def test_durations_and_rates_are_read() -> None:
    assert [duration(text) for text in ("500ms", "2s", "1.5m", "3")] == [0.5, 2.0, 90.0, 3.0]
    assert [rate_per_s(text) for text in ("5/s", "300/m", "2")] == [5.0, 5.0, 2.0]
    code, output = invoke("fault", "shop", "--down", "soon")
    assert (code, "'soon' is not a duration" in output) == (2, True)
