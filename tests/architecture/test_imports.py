"""Imports point down, and nothing is imported before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"rich", "uvicorn", "sqlalchemy", "cryptography", "jinja2", "yaml", "pyreqwest", "asyncio", "sqlite3", "ssl"}


def loaded_by(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_contracts_of_the_house_are_kept():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_import_accord_costs_nothing():
    assert not {name for name in loaded_by("import accord") if name.startswith(("accord.", "msgspec", *HEAVY))}


def test_help_imports_no_room_but_the_command_line():
    loaded = loaded_by("import accord.cli.main")
    assert not loaded & HEAVY
    assert {n for n in loaded if n.startswith("accord.")} == {"accord.cli", "accord.cli.main", "accord.errors"}


def test_an_engine_needs_no_library_of_connectors_or_bulk_flows():
    loaded = loaded_by("import accord.engine.build, accord.project, accord.cli.up, accord.cli.bulk")
    assert not loaded & {
        "polars",
        "pyspark",
        "duckdb",
        "sqlalchemy",
        "aiosmtplib",
        "nats",
        "psycopg",
        "opentelemetry",
        "jinja2",
    }
