"""The bench's limit line does the whole job, and survives a kill: else it would be no limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"


def test_the_limit_line_does_the_same_work() -> None:
    check = (
        "from realtime import limit, orders;"
        "print(orders.faults_of(limit.shipment_of(limit.decode(orders.body_of(orders.FIRST)))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(BENCH), "HOOK_SECRET": "x"}
    done = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.slow
def test_one_short_run_ends_with_the_line() -> None:
    command = [
        sys.executable,
        BENCH / "bench_realtime.py",
        "--only",
        "limit",
        "--seconds",
        "0.5",
        "--runs",
        "1",
        "--faults",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    table = next(line for line in done.stdout.splitlines() if line.startswith("| hand-written loop"))
    killed, away = (cell.split() for cell in table.split("|")[7:9])
    assert killed[0] == away[0] == "0,", table  # lost
    assert done.stdout.splitlines()[-1].startswith("accord=n/a limit=")
