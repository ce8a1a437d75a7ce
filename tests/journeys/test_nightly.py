"""The business's nights: the warehouse holds what the systems hold, again and again; a bad row waits until it is mended."""

from __future__ import annotations

import contextlib
import csv
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from agreement import agreement
from nightly import FILE, FLOWS, TABLES, Tally, ask, compare, run_nightly, tallies_of_systems
from people import deals_agreement, rename_an_account, win_deals
from stage import HERE, Stage
from tests.servers import PostgresServer, postgres  # noqa: F401 - the fixture

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]
WITHIN_S = 60.0
BAD = """INSERT INTO invoices (number, reference, customer, issued_on, currency, total)
  VALUES ('OLD-1', '#old', 'Ada', '2026-05-01', 'eur.', '0.10')"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {"shipping": {"dispatch_after_s": 0.2, "deliver_after_s": 0.2}}
    with Stage(tmp_path_factory.mktemp("nights") / "work", settings=settings) as running:
        running.sandbox.place_orders(12)
        win_deals(running.sandbox, 6, seed=5)
        running.wait_until(
            lambda: agreement(running.sandbox).is_reached and deals_agreement(running.sandbox).is_reached,
            "the systems agree",
            WITHIN_S,
        )
        yield running


def assert_equal(stage: Stage) -> None:
    assert [one for one in compare(stage.sandbox, stage.project / FILE) if not one.is_equal] == []


def change(books: str, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(books, timeout=20)) as connection, connection:
        connection.execute(statement)


def test_the_warehouse_holds_what_the_systems_hold_and_a_second_night_changes_nothing(stage: Stage) -> None:
    run_nightly(stage)
    assert_equal(stage)
    file = stage.project / FILE
    queries = [
        f"SELECT COLUMNS(*)::VARCHAR FROM {table} ORDER BY ALL"
        for table in ("sales", "sales_lines", "customers", "invoices")
    ]
    before = [ask(file, query) for query in queries]
    again = run_nightly(stage)
    assert [ask(file, query) for query in queries] == before and all(before)
    assert [run["rejected"] for run in again] == [0, 0, 0]
    assert [write["unchanged"] for write in again[0]["writes"]] == [len(before[0]), len(before[1])]
    wrong = "SELECT count(*) FROM sales s WHERE total < (SELECT sum(amount) FROM sales_lines WHERE sale = s.id)"
    assert ask(file, wrong) == [(0,)]


def test_what_an_account_was_called_before_stays(stage: Stage) -> None:
    run_nightly(stage)
    account = rename_an_account(stage.sandbox, "Renamed by Night")
    run_nightly(stage)
    versions = ask(
        stage.project / FILE,
        f"SELECT name, is_current, valid_to IS NULL FROM customers WHERE id = '{account}' ORDER BY valid_from",
    )
    assert len(versions) == 2 and versions[-1] == ("Renamed by Night", True, True)
    assert versions[0][0] != "Renamed by Night" and versions[0][1:] == (False, False)
    assert_equal(stage)


def test_a_bad_row_waits_until_it_is_mended(stage: Stage, tmp_path: Path) -> None:
    books = stage.environment()["ACCOUNTING_URL"].removeprefix("sqlite:///")
    change(books, BAD)
    bad = run_nightly(stage)[2]
    assert (bad["state"], bad["rejected"]) == ("done", 1)
    assert "OLD-1" not in str(ask(stage.project / FILE, "SELECT number FROM invoices"))
    listed = stage.run("rejects", "list", "--flow", "nightly-invoices")
    assert listed.returncode == 0 and "currency" in listed.stdout and "1 reject" in listed.stdout
    file = tmp_path / "bad.csv"
    assert stage.run("rejects", "export", str(file), "--flow", "nightly-invoices").returncode == 0
    with file.open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    row["record.currency"] = "EUR"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, row)
        writer.writeheader()
        writer.writerow(row)
    mended = stage.run("rejects", "mend", str(file))
    assert mended.returncode == 0, mended.stdout + mended.stderr
    found: list[tuple[str, Decimal]] = []
    deadline = time.monotonic() + WITHIN_S
    while not found and time.monotonic() < deadline:
        found = ask(stage.project / FILE, "SELECT currency, total FROM invoices WHERE number = 'OLD-1'")
    assert found == [("EUR", Decimal("0.10"))]
    assert "0 rejects" in stage.run("rejects", "list", "--flow", "nightly-invoices").stdout
    assert_equal(stage)
    change(books, "UPDATE invoices SET currency = 'EUR' WHERE number = 'OLD-1'")
    assert run_nightly(stage)[2]["rejected"] == 0


@pytest.mark.server
def test_the_same_nights_fill_a_warehouse_in_postgresql(stage: Stage, tmp_path: Path, postgres: PostgresServer) -> None:  # noqa: F811
    url = postgres.url.rpartition("/")[0] + "/nights"
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("CREATE DATABASE nights")
    with psycopg.connect(url) as warehouse:
        warehouse.execute((HERE / "warehouse.sql").read_bytes())
    project = tmp_path / "project"
    shutil.copytree(stage.project, project, ignore=shutil.ignore_patterns(".accord", "data"))
    settings = {**stage.environment(), "ACCORD_SECRET_WAREHOUSE_URL": url}
    command = [sys.executable, "-m", "accord.cli.main", "bulk", "run", "--project", str(project), "--env", "server"]
    for flow in (*FLOWS, *FLOWS):
        done = subprocess.run([*command, flow], env=settings, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(url) as warehouse:
        found = {table: Tally(*warehouse.execute(query).fetchone()) for table, query in TABLES.items()}  # type: ignore[call-overload, misc]
    assert found == tallies_of_systems(stage.sandbox)
