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
SLING = "sling"
TOLD = {"rows": "dlt-rows", "arrow": "dlt-arrow-adbc", "parquet": "dlt-connectorx", SLING: SLING}
VARIANTS = {"S1": ("rows", "arrow", SLING), "S3": ("parquet",)}


def install(folder: Path) -> Path:
    """The Python of a new environment. Raises Failed with pip's last words."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(python), "-m", "pip", "-q", "install", "-r", str(SCRIPTS / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"peers could not be installed: {done.stderr[-500:]}")
    return python


def sling_command(python: Path, source: str, target: str) -> list[str]:
    """Rows as they are, neither mapped nor checked. Its Parquet goes through a program that it fetches at run time: not asked of it."""
    program = next(python.parents[1].glob("lib/*/site-packages/sling_linux_amd64/bin/sling-linux-amd64"), None)
    if program is None:
        raise Failed("Sling's package has no program for this machine")
    program.chmod(0o755)
    write = ["--tgt-conn", f"{target}?sslmode=disable", "--tgt-object", "peer.entries", "--mode", "full-refresh"]
    return [str(program), "run", "--src-stream", Path(source).as_uri(), *write]


def run(place: Place, what: str, python: Path) -> Figures:
    """One run, by the count of what it wrote: `rows` leaves bad rows out, the others take every row as it is."""
    place.clear()
    with psycopg.connect(place.url, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS peer CASCADE")
        if what == SLING:
            db.execute("CREATE SCHEMA peer")
    to_files = place.scenario.to_files
    source = place.url if to_files else place.address + "/orders.csv"
    target = str(place.parquet) if to_files else place.url
    with tempfile.TemporaryDirectory() as state:
        command = [str(python), str(SCRIPTS / "dlt_load.py"), what, source, target, state]
        plain = {"PYTHONPATH": "", "RUNTIME__DLTHUB_TELEMETRY": "false"}
        if what == SLING:
            command = sling_command(python, source, target)
            plain = {"SLING_DISABLE_TELEMETRY": "true", "SLING_HOME_DIR": state}
        figures = measured(command, place.server_pid, plain)
    if to_files:
        found = expected.count_parquet(place.parquet / "peer" / "entries")
    else:
        found = expected.in_postgresql(place.url, "peer.entries", "SELECT count(*) FROM ")[0]
    wanted = place.expected.sums[0] if what == "rows" else place.rows
    if found != wanted:
        raise Failed(f"{place.scenario.name}: {TOLD[what]} wrote {found} rows, not {wanted}")
    return figures
