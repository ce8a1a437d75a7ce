"""Databases that are started anew, or end a transaction by a deadlock, under a load: it goes on by itself, and nothing is lost or there
twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.faults.bulk_faults import APPENDS, BRIEF, PATIENT, SHOP, WAREHOUSE, Db, aside, reasons
from tests.servers import (
    MariaServer,
    PostgresServer,
    Server,
    mariadb,
    postgres,
    running_mariadb,
    running_postgres,
    wait_until,
)
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, run

from accord.connectors.sql import bulk_partitions

__all__ = ["aside", "mariadb", "postgres", "reasons"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(150)]


def restarted_under(server: Server, folder: Path, aside: Any, reasons: list[str], name: str) -> None:
    """Killed, and later stopped, once some chunks are there."""
    db = Db(server, name)
    db.do("CREATE TABLE log (number VARCHAR(20), total DECIMAL(18,2))")
    count = 6000
    make(folder, APPENDS + PATIENT, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
    put_orders(folder, [(n, f"R{n}", n) for n in range(1, count + 1)])
    running = aside(folder)
    for least, end in ((1, server.kill), (count // 3, server.stop)):
        wait_until("some chunks are loaded", lambda least=least: db.count("log") >= least)  # type: ignore[misc]
        assert not running.done()
        end()
        server.start()
    ran = running.result(60)
    assert (ran.record.state, ran.counts, ran.record.differences()) == ("done", (count, count, 0, 0), [])
    assert sorted(db.rows("SELECT number FROM log")) == sorted((f"R{n}",) for n in range(1, count + 1))
    assert reasons, "the run did not notice"
    assert not any("not known" in reason or "unexpectedly" in reason for reason in reasons), reasons


def test_postgresql_is_started_anew_under_a_load(tmp_path: Path, aside: Any, reasons: list[str]) -> None:
    with running_postgres() as server:
        restarted_under(server, tmp_path, aside, reasons, "restarted")


def test_mariadb_is_started_anew_under_a_load(tmp_path: Path, aside: Any, reasons: list[str]) -> None:
    with running_mariadb() as server:
        restarted_under(server, tmp_path, aside, reasons, "restarted")


def test_a_target_that_stays_away_stops_the_run_where_resume_goes_on(tmp_path: Path, reasons: list[str]) -> None:
    with running_postgres() as server:
        db = Db(server, "away")
        db.do("CREATE TABLE orders (number TEXT PRIMARY KEY, total NUMERIC)")
        make(tmp_path, NIGHTLY + BRIEF, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
        put_orders(tmp_path, [(n, "x", n) for n in range(1, 31)])
        server.stop()
        ran = run(tmp_path)
        assert (ran.record.state, ran.record.rows) == ("failed", 0)
        assert "accord bulk resume" in ran.record.error
        server.start()
        assert run(tmp_path).counts == (30, 30, 0, 0)
        assert db.count("orders") == 30


def deadlocked(db: Db, is_waiting: str, folder: Path, aside: Any, reasons: list[str], rival_first: list[str]) -> None:
    """The load holds a row a rival wants, and wants one the rival holds."""
    make(folder, NIGHTLY + PATIENT, **{"systems/warehouse.yaml": WAREHOUSE.format(url=db.url)})
    put_orders(folder, [(n, "x", n + 100) for n in range(1, 10)])
    rival = db.engine.connect()
    for statement in rival_first:
        rival.exec_driver_sql(statement)
    rival.exec_driver_sql("UPDATE orders SET total = 5 WHERE number = 'R9'")
    running = aside(folder)
    wait_until("the load waits for the rival", lambda: bool(db.rows(is_waiting)[0][0]))
    rival.exec_driver_sql("UPDATE orders SET total = 5 WHERE number = 'R1'")
    rival.commit()
    rival.close()
    ran = running.result(60)
    assert (ran.record.state, ran.counts) == ("done", (9, 9, 0, 0))
    assert ran.rejects == []
    assert [reason for reason in reasons if "deadlock" in reason], reasons
    assert [(n, int(total)) for n, total in db.rows("SELECT number, total FROM orders ORDER BY number")] == [
        (f"R{n}", n + 100) for n in range(1, 10)
    ]


def test_a_deadlock_in_postgresql(tmp_path: Path, postgres: PostgresServer, aside: Any, reasons: list[str]) -> None:
    db = Db(postgres, "deadlock")
    db.do("CREATE TABLE orders (number TEXT PRIMARY KEY, total NUMERIC)")
    db.do("INSERT INTO orders SELECT 'R' || n, 1 FROM generate_series(1, 9) n")
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    deadlocked(db, waits, tmp_path, aside, reasons, ["SET deadlock_timeout = '60s'"])


def test_a_deadlock_in_mariadb(tmp_path: Path, mariadb: MariaServer, aside: Any, reasons: list[str]) -> None:
    """InnoDB gives up the transaction that has changed less."""
    db = Db(mariadb, "deadlock")
    db.do("CREATE TABLE orders (number VARCHAR(20) PRIMARY KEY, total DECIMAL(18,2))", "CREATE TABLE weight (n INT)")
    db.do("INSERT INTO orders VALUES " + ", ".join(f"('R{n}', 1)" for n in range(1, 10)))
    heavy = f"INSERT INTO weight VALUES {', '.join(f'({n})' for n in range(2000))}"
    waits = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    deadlocked(db, waits, tmp_path, aside, reasons, [heavy])


@pytest.mark.parametrize("partitions", [1, 3])
def test_postgresql_is_killed_while_it_is_read(
    tmp_path: Path, aside: Any, reasons: list[str], monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setattr(bulk_partitions, "STRETCH_SIZE", 1024 * 1024)
    monkeypatch.setattr(bulk_partitions, "PARCELS_MAX", 1)
    with running_postgres() as server:
        db = Db(server, "shop")
        db.do("CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT, total NUMERIC)")
        count = 30_000  # 30 MB: more than is on its way at once
        db.do(f"INSERT INTO orders SELECT n, repeat('x', 1000), n FROM generate_series(1, {count}) n")
        flow = NIGHTLY.replace("chunk: 10", f"chunk: 300, partitions: {partitions}") + PATIENT
        make(tmp_path, flow, **{"systems/shop.yaml": SHOP.format(url=db.url)})
        (tmp_path / "warehouse.db").unlink()
        target = Db.__new__(Db)
        target.engine = sa.create_engine(f"sqlite:///{tmp_path / 'warehouse.db'}", poolclass=sa.NullPool)
        target.do("CREATE TABLE orders (number TEXT PRIMARY KEY, total NUMERIC)")
        running = aside(tmp_path)
        wait_until("a chunk is loaded", lambda: target.count("orders") > 0)
        assert not running.done()
        server.kill()
        server.start()
        ran = running.result(60)
        assert (ran.record.state, ran.counts, ran.record.differences()) == ("done", (count, count, 0, 0), [])
        assert target.rows("SELECT count(*), sum(total) FROM orders") == [(count, count * (count + 1) // 2)]
        assert reasons
        assert not any("not known" in reason or "unexpectedly" in reason for reason in reasons), reasons
