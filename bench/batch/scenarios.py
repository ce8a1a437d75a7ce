"""What is done in each scenario, and how every contender's result is checked."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import batch_data
import msgspec
import psycopg

from batch import expected, projects
from batch.measure import Failed, Figures, measured

BENCH = Path(__file__).parents[1]
BAD = 0.01
BAD_IDS = 100  # one row in so many of the database has a status that its contract does not know


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """``ideal``: its name in `ideal.py`. ``share``: of the rows asked for, as its own number of records."""

    name: str
    title: str
    source: str
    ideal: str
    mode: str = "append"
    to_files: bool = False
    with_lines: bool = False
    share: float = 1.0


SCENARIOS = (
    Scenario(name="S1", title="CSV to PostgreSQL, append", source="csv", ideal="csv"),
    Scenario(name="S2", title="CSV to PostgreSQL, upsert, 10 % changed", source="csv", ideal="upsert", mode="upsert"),
    Scenario(name="S3", title="PostgreSQL to Parquet", source="postgresql", ideal="parquet", to_files=True),
    Scenario(name="S4", title="JSON Lines to two tables", source="jsonl", ideal="jsonl", with_lines=True, share=0.5),
    Scenario(name="S5", title="REST API to PostgreSQL", source="http", ideal="http", share=0.2),
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared scenario: ``address`` of the source, what the target must hold."""

    scenario: Scenario
    folder: Path
    url: str
    server_pid: int
    rows: int
    address: str
    expected: expected.Expected

    @property
    def parquet(self) -> Path:
        return self.folder / "out"

    def clear(self) -> None:
        """The target as before a run."""
        shutil.rmtree(self.parquet, ignore_errors=True)
        if self.scenario.to_files:
            return
        is_upsert = self.scenario.mode == "upsert"
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS entries, lines")
            db.execute(projects.table_of(projects.TARGET, "entries", "id" if is_upsert else ""))
            db.execute(projects.table_of(projects.LINES, "lines"))
            if is_upsert:
                db.execute("INSERT INTO entries SELECT * FROM base")
                db.execute("VACUUM ANALYZE entries")
            db.execute("CHECKPOINT")

    def check(self, rejects: int, parquet: Path) -> None:
        """Raises Failed when the target is not what it must be."""
        found = expected.in_parquet(parquet) if self.scenario.to_files else expected.in_postgresql(self.url, "entries")
        told = [("target", found, self.expected.sums), ("rejects", rejects, self.expected.rejects)]
        if self.scenario.with_lines:
            lines = expected.in_postgresql(self.url, "lines", expected.LINE_SUMS)
            told.append(("lines", lines, self.expected.line_sums))
        for what, has, wanted in told:
            if has != wanted:
                raise Failed(f"{self.scenario.name}: {what} is {has}, not {wanted}")


@contextlib.contextmanager
def prepared(scenario: Scenario, rows: int, folder: Path, url: str, server_pid: int) -> Iterator[Place]:
    """Makes the data (not measured) and serves them where they come from an API."""
    rows = max(1, int(rows * scenario.share))
    changed = 0.1 if scenario.mode == "upsert" else 0.0
    address = str(folder)
    with contextlib.ExitStack() as stack:
        match scenario.source:
            case "csv":
                batch_data.write_csv(folder / "orders.csv", rows, bad=BAD, changed=changed)
            case "jsonl":
                batch_data.write_jsonl(folder / "orders.jsonl", rows, bad=BAD)
            case "http":
                address = stack.enter_context(_served(rows))
            case _:
                address = url
                _fill(url, rows)
        bad, bad_ids = (0.0, BAD_IDS) if scenario.source == "postgresql" else (BAD, 0)
        wanted = expected.orders(rows, bad=bad, changed=changed, bad_ids=bad_ids)
        if scenario.mode == "upsert":
            _make_base(folder, url, rows)
        yield Place(
            scenario=scenario,
            folder=folder,
            url=url,
            server_pid=server_pid,
            rows=rows,
            address=address,
            expected=wanted,
        )


def _fill(url: str, rows: int) -> None:
    batch_data.write_postgresql(url, rows)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"UPDATE orders SET status = 'unheard-of' WHERE id % {BAD_IDS} = 7")
        db.execute("VACUUM ANALYZE orders")


def _make_base(folder: Path, url: str, rows: int) -> None:
    """The rows before a tenth of them changed, loaded by hand."""
    before = folder / "before.csv"
    batch_data.write_csv(before, rows, bad=BAD)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS entries, base")
        db.execute(projects.table_of(projects.TARGET, "entries"))
        subprocess.run(ideal_command("csv", str(before), url, folder / "before.rejects"), check=True, cwd=BENCH)
        db.execute("ALTER TABLE entries RENAME TO base")
    before.unlink()


@contextlib.contextmanager
def _served(rows: int) -> Iterator[str]:
    command = [sys.executable, str(BENCH / "batch_data.py"), "serve", "--rows", str(rows), "--page", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def ideal_command(what: str, source: str, target: str, rejects: Path) -> list[str]:
    return [sys.executable, str(BENCH / "batch" / "ideal.py"), what, source, target, str(rejects)]


def run_ideal(place: Place) -> Figures:
    scenario = place.scenario
    place.clear()
    rejects = place.folder / "rejects.jsonl"
    rejects.write_bytes(b"")
    files = {"csv": "/orders.csv", "jsonl": "/orders.jsonl"}
    source = place.address + files.get(scenario.source, "")
    target = str(place.parquet) if scenario.to_files else place.url
    figures = measured(ideal_command(scenario.ideal, source, target, rejects), place.server_pid)
    with rejects.open("rb") as file:
        place.check(sum(1 for _ in file), place.parquet)
    return figures


def accord_command(project: Path) -> list[str]:
    return [sys.executable, "-m", "accord.cli.main", "bulk", "run", "load", "-p", str(project)]


def make_project(place: Place) -> Path:
    project = place.folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    scenario = place.scenario
    projects.write_project(
        project,
        source=scenario.source,
        address=place.address,
        url=place.url,
        mode=scenario.mode,
        to_files=scenario.to_files,
        with_lines=scenario.with_lines,
    )
    return project


def run_accord(place: Place) -> Figures:
    place.clear()
    project = make_project(place)
    figures = measured(accord_command(project), place.server_pid)
    with contextlib.closing(sqlite3.connect(project / ".accord/journal.db")) as db:
        (rejects,) = db.execute("SELECT count(*) FROM messages WHERE state = 11").fetchone()
    place.check(rejects, project / "entries")
    return figures
