"""The batch bench runs, and refuses a result that is not what the generator says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[3] / "bench"


def test_scenarios_run_and_what_they_wrote_is_right(tmp_path: Path) -> None:
    kept = tmp_path / "batch.md"
    asked = ["--only", "S1,S3,S4", "--rows", "600", "--runs", "1", "--keep", str(kept)]
    done = subprocess.run(
        [sys.executable, BENCH / "bench_batch.py", *asked], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["S1", "S3", "S4"]
    assert all("ratio=" in line and "peak_mb=" in line for line in done.stdout.splitlines())
    assert sum(line.startswith("| S") for line in kept.read_text().splitlines()) == 6


def test_a_wrong_result_has_no_figure() -> None:
    check = (
        "from pathlib import Path; from batch.expected import Expected; from batch.measure import Failed;"
        "from batch import expected; from batch.scenarios import SCENARIOS, Place;"
        "expected.in_postgresql = lambda *_: (9,);"
        "place = Place(scenario=SCENARIOS[0], folder=Path(), url='', server_pid=0, rows=10, address='', expected=Expected((10,), 1));"
        "place.check(1, Path())"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=BENCH, capture_output=True, text=True)
    assert done.returncode == 1
    assert "S1: target is (9,), not (10,)" in done.stderr
