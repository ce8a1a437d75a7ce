"""A bulk flow that reads an org by a query job: taken up again with the same job, and away for changes only."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.salesforce.bulk_org import owner, put
from tests.connectors.salesforce.conftest import Org

from accord.engine.build import engine_of
from accord.project import load_project
from accord.sandbox import Sandbox

SYSTEM = """
system: crm
connector: salesforce
settings:
  address: {address}
  client_id: {client_id}
  client_secret: ${{secret:crm_secret}}
entities:
  accounts:
    object: Account
    bulk: always
    external_id: Shop_Id__c
    key: Id
    fields: {{Id: string, Name: string, Shop_Id__c: string, SystemModstamp: datetime}}
"""
WAREHOUSE = """
system: warehouse
connector: sql
settings: {url: "sqlite:///warehouse.db"}
entities:
  customers:
    key: id
    fields: {id: string, name: string}
"""
FLOW = """
flow: nightly
on: manual
read: {entity: crm.accounts, cursor: SystemModstamp, chunk: 40}
steps:
  - write: warehouse.customers
    mode: append
    with: {id: Shop_Id__c, name: Name}
"""


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    given = {"accounts": 0, "job_waits_s": 1.0, "job_works_s": 1.0}
    with Sandbox(tmp_path_factory.mktemp("crm"), ["crm"], settings={"crm": given}) as sandbox:
        yield Org(sandbox)


def make(folder: Path, org: Org, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_SECRET_CRM_SECRET", org.credentials["client_secret"])
    system = SYSTEM.format(address=org.address, client_id=org.credentials["client_id"])
    files = {
        "accord.yaml": "name: nightly\n",
        "systems/crm.yaml": system,
        "systems/warehouse.yaml": WAREHOUSE,
        "flows/nightly.yaml": FLOW,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with contextlib.closing(sqlite3.connect(folder / "warehouse.db")) as db:
        db.executescript("CREATE TABLE customers (id TEXT, name TEXT)")
    return folder


def rows(folder: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(folder / "warehouse.db")) as db:
        return db.execute("SELECT id, name FROM customers ORDER BY id").fetchall()


async def run(folder: Path, *, stop_when_waiting: bool = False) -> Any:
    engine = engine_of(load_project(folder))
    try:
        await engine.open_journal()
        await engine.connect()
        work = asyncio.ensure_future(engine.bulk.run_here("nightly"))
        if stop_when_waiting:
            async with asyncio.timeout(20):
                while not ((await engine.bulk.view("nightly"))["run"] or {}).get("waiting"):
                    await asyncio.sleep(0.01)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            return None
        return await work
    finally:
        await engine.stop()


def test_a_run_that_is_cut_off_while_the_job_works_goes_on_with_the_same_job(
    tmp_path: Path, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path, org, monkeypatch)
    records = [{"Name": f"n{n}", "Shop_Id__c": f"s{n:03d}"} for n in range(100)]

    def jobs_left() -> int:
        return asyncio.run(org.ask("GET", "/limits")).json()["DailyBulkV2QueryJobs"]["Remaining"]

    asyncio.run(put(org, records))
    before = jobs_left()
    asyncio.run(run(folder, stop_when_waiting=True))
    assert (before - jobs_left(), rows(folder)) == (1, [])
    record = asyncio.run(run(folder))
    assert (record.state, record.rows, record.resumed, record.chunk) == ("done", 100, 1, 3)
    assert before - jobs_left() == 1
    assert rows(folder) == [(one["Shop_Id__c"], one["Name"]) for one in records]

    owner(org, "clock", {"by_s": 3600.0})
    asyncio.run(put(org, [{"Name": "new", "Shop_Id__c": "t"}]))
    record = asyncio.run(run(folder))
    assert (record.state, record.known, record.passed, record.is_whole) == ("done", 100, 1, False)
    assert len(rows(folder)) == 101
