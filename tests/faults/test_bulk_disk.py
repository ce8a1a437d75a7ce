"""The target's disk is full in the middle of a load: the run stops with what to do, and goes on when there is room. No row is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.disks import resize, small_disk
from tests.faults.bulk_faults import WAREHOUSE, Db
from tests.servers import PostgresServer, need_postgres, server_folder
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(120)]
DISK_SIZE_BYTES = 2_500_000
ROWS = 60
FIELDS = "{number: string, total: decimal}"
APPENDS = (
    NIGHTLY.replace(
        "warehouse.orders, mapping: order", "warehouse.log, with: {number: name, total: total}, mode: append"
    )
    + "on_error: {attempts: 2, first: 10ms}\n"
)
TARGETS = {
    "sqlite": f'connector: sql\nsettings: {{url: "sqlite:///disk/warehouse.db"}}\nentities:\n  log: {{key: number, fields: {FIELDS}}}\n',
    "duckdb": f"connector: duckdb\nsettings: {{file: disk/warehouse.duckdb}}\nentities:\n  log: {{key: number, fields: {FIELDS}}}\n",
    "parquet": f"connector: files\nsettings: {{folder: disk}}\nentities:\n  log: {{dataset: log, key: number, fields: {FIELDS}}}\n",
}
MORE = f"  orders: {{key: number, fields: {FIELDS}}}\n"


def name(number: int) -> str:
    """Long and hard to compress: the rows need more than there is."""
    return f"{number:04d}" + os.urandom(50_000).hex()


def numbers(kind: str, disk: Path) -> list[int]:
    if kind == "sqlite":
        engine = sa.create_engine(f"sqlite:///{disk / 'warehouse.db'}", poolclass=sa.NullPool)
        with engine.connect() as db:
            found = [text for (text,) in db.exec_driver_sql("SELECT number FROM log")]
    elif kind == "duckdb":
        import duckdb

        with duckdb.connect(str(disk / "warehouse.duckdb")) as db:
            found = [text for (text,) in db.execute("SELECT number FROM log").fetchall()]
    else:
        import polars as pl

        found = [text for path in (disk / "log").glob("[!.]*.parquet") for text in pl.read_parquet(path)["number"]]
    return sorted(int(text[:4]) for text in found)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_full_disk_stops_the_load_and_room_lets_it_go_on(tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path / "disk", DISK_SIZE_BYTES) as disk:
        system = f"system: warehouse\n{TARGETS[kind]}{'' if kind == 'parquet' else MORE}"
        more = {"systems/warehouse.yaml": system}
        if kind == "parquet":
            more["systems/warehouse.yaml"] += MORE.replace("{key", "{dataset: orders, key")
        make(tmp_path, APPENDS, **more)
        if kind == "sqlite":
            engine = sa.create_engine(f"sqlite:///{disk / 'warehouse.db'}", poolclass=sa.NullPool)
            with engine.begin() as db:
                db.exec_driver_sql("CREATE TABLE log (number TEXT, total NUMERIC)")
        put_orders(tmp_path, [(n, name(n), n) for n in range(1, ROWS + 1)])
        full = run(tmp_path)
        assert (full.record.state, full.record.differences()) == ("failed", [])
        assert "room" in full.record.error, full.record.error
        assert "accord bulk resume" in full.record.error
        assert full.record.rows < ROWS
        assert full.rejects == []
        resize(disk, 64_000_000)
        done = run(tmp_path)
        assert (done.record.state, done.counts, done.record.differences()) == ("done", (ROWS, ROWS, 0, 0), [])
        assert numbers(kind, disk) == list(range(1, ROWS + 1))


SERVER_ROOM_BYTES = 2_500_000
SMALL_LOG = ("--wal-segsize=1",)  # MB: the log takes its room in pieces of this

KEEPS_ITS_LOG = "SELECT pg_create_physical_replication_slot('held', true)"  # else a server that begins again finds room
SAYS = {"data": "no room left: make room on its disk", "log": "its own log says why (a full disk"}


@pytest.mark.parametrize("full", ["data", "log"])
def test_a_full_disk_under_a_database_server_stops_the_load_and_room_lets_it_go_on(tmp_path: Path, full: str) -> None:
    """``log``: the server ends at once, seldom with time to tell whom it serves."""
    initdb = need_postgres()
    with server_folder() as folder, small_disk(folder / full, 400_000_000) as disk:
        shutil.chown(disk, "nobody")
        server = PostgresServer(folder, initdb, made_with=(*SMALL_LOG, f"--waldir={folder / 'log'}"))
        server.start()
        try:
            db = Db(server, "warehouse")
            db.do("CREATE TABLE log (number TEXT, total NUMERIC)", KEEPS_ITS_LOG)
            make(tmp_path, APPENDS, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
            put_orders(tmp_path, [(n, name(n), n) for n in range(1, ROWS + 1)])
            resize(disk, shutil.disk_usage(disk).used + SERVER_ROOM_BYTES)
            stopped = run(tmp_path)
            assert (stopped.record.state, stopped.record.differences()) == ("failed", [])
            assert SAYS[full] in stopped.record.error, stopped.record.error
            assert "accord bulk resume" in stopped.record.error
            assert stopped.record.rows < ROWS
            assert stopped.rejects == []
            resize(disk, 400_000_000)
            server.kill()
            server.start()
            done = run(tmp_path)
            assert (done.record.state, done.counts, done.record.differences()) == ("done", (ROWS, ROWS, 0, 0), [])
            assert [int(text[:4]) for (text,) in db.rows("SELECT number FROM log ORDER BY 1")] == list(
                range(1, ROWS + 1)
            )
        finally:
            server.stop()
