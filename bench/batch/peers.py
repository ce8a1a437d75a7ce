"""Other tools in a virtual environment of their own, and what each can express of a scenario."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from batch import expected
from batch.measure import Failed, Figures, measured
from batch.scenarios import Place

SCRIPTS = Path(__file__).parents[1] / "peers_batch"
TOLD = {"rows": "dlt-rows", "arrow": "dlt-arrow-adbc", "parquet": "dlt-connectorx"}
VARIANTS = {"S1": ("rows", "arrow"), "S3": ("parquet",)}


def install(folder: Path) -> Path:
    """The Python of a new environment. Raises Failed with pip's last words."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(python), "-m", "pip", "-q", "install", "-r", str(SCRIPTS / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"peers could not be installed: {done.stderr[-500:]}")
    return python


def run(place: Place, what: str, python: Path) -> Figures:
    """One run, by the count of what it wrote: `rows` leaves bad rows out, the others take every row as it is."""
    place.clear()
    with psycopg.connect(place.url, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS peer CASCADE")
    source = place.url if what == "parquet" else place.address + "/orders.csv"
    target = str(place.parquet) if what == "parquet" else place.url
    with tempfile.TemporaryDirectory() as state:
        command = [str(python), str(SCRIPTS / "dlt_load.py"), what, source, target, state]
        plain = {"PYTHONPATH": "", "RUNTIME__DLTHUB_TELEMETRY": "false"}
        figures = measured(command, place.server_pid, plain)
    if what == "parquet":
        found = expected.count_parquet(place.parquet / "peer" / "entries")
    else:
        found = expected.in_postgresql(place.url, "peer.entries", "SELECT count(*) FROM ")[0]
    wanted = place.expected.sums[0] if what == "rows" else place.rows
    if found != wanted:
        raise Failed(f"{place.scenario.name}: {TOLD[what]} wrote {found} rows, not {wanted}")
    return figures
