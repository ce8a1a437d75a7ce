"""Bulk flows with ``engine: spark``: the same rows, rejects, reasons and sums as with ``engine: polars``, from files of all kinds."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.connectors.sql.databases import fresh
from tests.servers import Server, postgres  # noqa: F401 - the fixture
from tests.spark import spark  # noqa: F401 - the fixture
from tests.unit.engine.bulk.nightly import Ran, make, rows_of, run

from accord.connectors.files.dataset_files import DatasetFiles
from accord.engine.bulk.spark import session
from accord.project import check_project
from accord.settings.spark import SparkSpec

pytestmark = [pytest.mark.xdist_group("spark"), pytest.mark.slow]
RUN_DEADLINE_S = 150  # Java, Spark and its processes start anew, beside other tests
FLOW = """
flow: nightly
on: manual
engine: {engine}
read: {{entity: share.sales, chunk: 40}}
steps:
  - validate: share.sales
  - filter: name != "test"
  - {{write: warehouse.orders, mapping: sale}}
"""
SHARE = """
system: share
connector: files
settings: {folder: share, stable: 0s}
entities:
  sales:
    pattern: in/*
    key: id
    fields:
      id: integer
      name: {type: string, length: {max: 20}}
      total: {type: decimal, min: 0, nullable: true}
      at: {type: datetime, nullable: true}
      paid: {type: boolean, nullable: true}
"""
SALE = """
mapping: sale
from: share.sales
to: warehouse.orders
fields:
  number: upper(name) + "-" + text(id) + ("p" if paid else "")
  total: round(coalesce(total, 1) / 3, 2)
"""
PROJECT = "name: nightly\nenvironments: {default: {spark: {master: 'local[2]'}}}\n"
MORE = {"systems/share.yaml": SHARE, "mappings/file-order.yaml": SALE, "accord.yaml": PROJECT}
IDS = st.integers(-(2**40), 2**40)
VALUES = {
    "name": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=22) | st.just("test"),
    "total": st.none() | st.decimals(-5, 10**20, places=4),
    "at": st.none() | st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),
    "paid": st.none() | st.booleans(),
}
SALES = st.lists(st.fixed_dictionaries(VALUES), min_size=150, max_size=150)


def prepared(folder: Path, engine: str, sales: list[dict[str, Any]]) -> Path:
    """The sales in files of three formats; every file has rows that are not right."""
    made = make(folder, FLOW.format(engine=engine), **MORE)
    third = len(sales) // 3
    with (made / "share/in/1.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "name", "total", "at", "paid"])
        for sale in sales[:third]:
            lines.writerow(
                ["" if v is None else v.isoformat() if hasattr(v, "isoformat") else v for v in sale.values()]
            )
        file.write('77,"open quote,1\n88,short\nx,bad id,1,,\n99,day,1,2026-02-31T00:00:00Z,\n')
    plain = [json.dumps(sale, default=str) for sale in sales[third : 2 * third]]
    (made / "share/in/2.jsonl").write_text("\n".join([*plain, "{broken", '{"id": 1e3, "name": 7}']) + "\n")
    schema = {"id": pl.Int64, "name": pl.String, "total": pl.Decimal(30, 4), "at": pl.Datetime("us", "UTC")}
    rest = pl.DataFrame(sales[2 * third :], schema={**schema, "paid": pl.Boolean}, orient="row")
    rest.write_parquet(made / "share/in/3.parquet")
    return made


def seen(ran: Ran) -> list[tuple[Any, ...]]:
    """Rejects without the id of their run, which is the key of those that could not be read."""
    return [
        (d.key.removeprefix(d.run), d.step, d.code, d.reason, d.path, d.origin, d.payload, d.problems)
        for d in ran.rejects
    ]


def rejected(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / ".accord/journal.db")) as db:
        found = db.execute("SELECT key FROM messages WHERE state = 11 ORDER BY seq").fetchall()
    return [key for (key,) in found]


def accord(folder: Path, crash: str = "") -> int:
    """`accord bulk run`, killed at this point; its exit code. What it says goes to a file: a pipe would be Java's as well."""
    command = [sys.executable, "-m", "accord.cli.main", "bulk", "run", "nightly", "-p", str(folder)]
    with (folder / "said.txt").open("a") as said:
        environment = {**os.environ, **({"ACCORD_CRASH": crash} if crash else {})}
        done = subprocess.run(command, env=environment, stdout=said, stderr=said, timeout=RUN_DEADLINE_S, check=False)
    assert done.returncode in (0, -signal.SIGKILL), (folder / "said.txt").read_text()
    return done.returncode


@pytest.mark.timeout(2 * RUN_DEADLINE_S)
@settings(max_examples=2, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(sales=SALES)
def test_spark_gives_the_rows_the_rejects_and_the_sums_of_polars(spark: str, sales: list[dict[str, Any]]) -> None:  # noqa: F811
    numbered = [{"id": number, **sale} for number, sale in enumerate(sales)]
    with tempfile.TemporaryDirectory() as name:
        ran = {e: run(prepared(Path(name) / e, e, numbered)) for e in ("polars", "spark")}
        assert {e: one.record.state for e, one in ran.items()} == {"polars": "done", "spark": "done"}
        assert rows_of(Path(name) / "spark") == rows_of(Path(name) / "polars")
        assert seen(ran["spark"]) == seen(ran["polars"])
        assert ran["spark"].counts == ran["polars"].counts
        assert ran["spark"].record.writes == ran["polars"].record.writes
        assert ran["spark"].record.differences() == []
        assert ran["spark"].counts[2] >= 4  # the dirt at least
        assert list((Path(name) / "spark/.accord/spark").iterdir()) == []
        assert not list((Path(name) / "spark/share/in").iterdir())  # read to their end, and moved away


@pytest.mark.timeout(3 * RUN_DEADLINE_S)
def test_a_killed_run_on_spark_is_taken_up_and_every_row_is_there_once(tmp_path: Path, spark: str) -> None:  # noqa: F811
    sales = [
        {"id": n, "name": "n", "total": Decimal(-1 if n % 10 == 5 else n), "at": None, "paid": None} for n in range(300)
    ]
    folder = prepared(tmp_path / "project", "spark", sales)
    assert accord(folder, "bulk.after-write:4") == -signal.SIGKILL
    assert 0 < len(rows_of(folder)) < 270
    assert accord(folder) == 0
    assert len(rows_of(folder)) == len({number for number, _ in rows_of(folder)}) == 270
    assert [key for key in rejected(folder) if key.isdigit() and int(key) % 10 == 5] == [
        str(n) for n in range(5, 300, 10)
    ]
    assert accord(folder) == 0  # nothing is left to read, and Spark is not begun for that
    assert len(rows_of(folder)) == 270


LAKE = """
system: lake
connector: files
settings: {folder: lake, stable: 0s}
entities:
  sales:
    pattern: raw/**/*.parquet
    partition: [country, day]
    keep: true
    key: id
    fields: {id: integer, country: string?, day: date, total: {type: decimal, min: 0}}
  mapped:
    dataset: mapped
    partition: [country]
    pattern: mapped/**/*.parquet
    keep: true
    key: id
    fields: {id: integer, country: string?, day: date, total: decimal}
"""
TO_LAKE = """
flow: nightly
on: manual
engine: {engine}
read: {{entity: lake.sales, chunk: 40}}
stop_after: 50% rejects
steps:
  - validate: lake.sales
  - {{write: lake.mapped, mode: {mode}, with: {{id: id, country: country, day: day, total: total * 2}}}}
"""


def lake(folder: Path, engine: str, mode: str = "append") -> Path:
    """Sales in folders country=…/day=…, as Spark lays them out; one of the folders is malformed."""
    flow = TO_LAKE.format(engine=engine, mode=mode)
    made = make(folder, flow, **{"systems/lake.yaml": LAKE, "accord.yaml": PROJECT})
    for number, country in enumerate(["DE", "C%C3%B4te d'Ivoire", "__HIVE_DEFAULT_PARTITION__"]):
        path = made / f"lake/raw/country={country}/day=2026-01-0{number + 1}/part-0.parquet"
        path.parent.mkdir(parents=True)
        ids = [number * 1000 + row for row in range(90)]
        totals = [Decimal(-1 if id % 10 == 5 else id) for id in ids]
        pl.DataFrame({"id": ids, "total": totals}).write_parquet(path)
        os.utime(path, ns=(number, number))  # files are read by their age
    bad = made / "lake/raw/country=DE/day=yesterday/part-0.parquet"
    bad.parent.mkdir()
    pl.DataFrame({"id": [7], "total": [Decimal(7)]}).write_parquet(bad)
    return made


def mapped_of(folder: Path) -> list[tuple[Any, ...]]:
    frames = []
    for path in sorted((folder / "lake/mapped").glob("**/*.parquet")):
        country = pl.lit(path.parent.name, pl.String).alias("country")
        frames.append(pl.read_parquet(path, glob=False).select("id", "day", "total", country))
    return sorted(pl.concat(frames).rows()) if frames else []


@pytest.mark.timeout(2 * RUN_DEADLINE_S)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_data_set_is_read_with_its_folders_and_written_by_the_cluster(
    tmp_path: Path,
    spark: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    by_polars = run(lake(tmp_path / "polars", "polars", mode))

    def refused(self: DatasetFiles, path: Path, frame: pl.DataFrame) -> None:
        raise AssertionError("the engine wrote a file of the data set itself")

    monkeypatch.setattr(DatasetFiles, "put", refused)  # not in the processes of the cluster
    by_spark = run(lake(tmp_path / "spark", "spark", mode))
    assert (by_polars.record.state, by_spark.record.state) == ("done", "done"), by_spark.record.error
    assert by_spark.counts == by_polars.counts == (271, 243, 28, 0)
    assert seen(by_spark) == seen(by_polars)
    assert by_spark.record.writes == by_polars.record.writes and by_spark.record.differences() == []
    assert mapped_of(tmp_path / "spark") == mapped_of(tmp_path / "polars")
    [malformed] = [one for one in by_spark.rejects if "day=yesterday" in one.reason]
    assert "raw/country=DE/day=yesterday/part-0.parquet" in malformed.reason
    assert not list((tmp_path / "spark/lake/.accord-loads").glob("**/staged"))


@pytest.mark.timeout(4 * RUN_DEADLINE_S)
@pytest.mark.parametrize("point", ["bulk.after-write:4", "bulk.noted:3"])
def test_a_killed_load_whose_files_the_cluster_writes_has_every_row_once(
    tmp_path: Path,
    spark: str,  # noqa: F811
    point: str,
) -> None:
    folder = lake(tmp_path / "project", "spark")
    assert accord(folder, point) == -signal.SIGKILL
    some = mapped_of(folder)
    assert 0 < len(some) < 243
    assert list((folder / "lake/.accord-loads").glob("**/staged/*/*.parquet"))  # the cluster was ahead
    assert accord(folder) == 0
    rows = mapped_of(folder)
    wanted = [n * 1000 + row for n in range(3) for row in range(90) if row % 10 != 5]
    assert [(id, total) for id, _, total, _ in rows] == [(id, 2 * id) for id in wanted]
    assert set(some) <= set(rows)
    assert len(rejected(folder)) == 28
    assert not list((folder / "lake/.accord-loads").glob("**/staged"))


SHOP = """
system: shop
connector: sql
settings: {{url: "{url}"}}
entities:
  orders:
    key: [region, id]
    fields:
      region: string
      id: integer
      total: {{type: decimal, min: 0}}
"""
WAREHOUSE = """
system: warehouse
connector: sql
settings: {{url: "{url}"}}
entities:
  orders:
    table: spark_target
    key: number
    fields: {{number: string, total: decimal}}
"""
DOUBLED = """
mapping: order
from: shop.orders
to: warehouse.orders
fields: {number: region + text(id), total: total * 2}
"""
FROM_TABLE = """
flow: nightly
on: manual
engine: spark
read: {entity: shop.orders, chunk: 40000, partitions: 2}
steps:
  - validate: shop.orders
  - {write: warehouse.orders, mapping: order, mode: append}
"""


@pytest.mark.server
@pytest.mark.timeout(3 * RUN_DEADLINE_S)
def test_a_killed_run_from_table_to_table_is_taken_up_and_every_row_is_there_once(
    tmp_path: Path,
    spark: str,  # noqa: F811
    postgres: Server,  # noqa: F811
) -> None:
    database, rows = fresh("postgresql", tmp_path, postgres), 450_000  # three parts
    database.execute(
        "DROP TABLE IF EXISTS orders, spark_target",
        "CREATE TABLE orders (region text, id bigint, total numeric, PRIMARY KEY (region, id))",
        "INSERT INTO orders SELECT chr(97 + mod(i, 7)), i, CASE WHEN mod(i, 5000) = 0 THEN -1 ELSE i END "
        f"FROM generate_series(1, {rows}) i",
        "CREATE TABLE spark_target (number text, total numeric)",  # no key of its own: a row twice would show
    )
    more = {
        "systems/shop.yaml": SHOP.format(url=database.url),
        "systems/warehouse.yaml": WAREHOUSE.format(url=database.url),
        "mappings/order.yaml": DOUBLED,
        "accord.yaml": PROJECT,
    }
    folder = make(tmp_path / "project", FROM_TABLE, **more)
    counted = "SELECT count(*), count(DISTINCT number), sum(total) FROM spark_target"
    # in the second part: the chunk is there, its checkpoint is not
    assert accord(folder, "bulk.after-write:7") == -signal.SIGKILL
    assert database.rows(counted)[0][0] > 240_000
    assert accord(folder) == 0
    good = rows - rows // 5000
    total = 2 * sum(n for n in range(1, rows + 1) if n % 5000)
    assert database.rows(counted) == [(good, good, total)]
    assert len(rejected(folder)) == rows // 5000
    database.execute("DROP TABLE orders, spark_target")


@pytest.mark.server
@pytest.mark.timeout(2 * RUN_DEADLINE_S)
def test_the_password_of_a_database_is_not_in_what_spark_is_given(
    tmp_path: Path,
    spark: str,  # noqa: F811
    postgres: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pyspark.serializers import CloudPickleSerializer, CPickleSerializer

    password, given = "correct-horse-battery", []
    database = fresh("postgresql", tmp_path, postgres)
    database.execute(
        "DROP TABLE IF EXISTS orders, spark_target",
        "CREATE TABLE orders (region text, id bigint, total numeric, PRIMARY KEY (region, id))",
        "CREATE TABLE spark_target (number text, total numeric)",
        "INSERT INTO orders SELECT 'a', i, i FROM generate_series(1, 1000) i",
    )
    by_password = f'{database.url}", password: "${{secret:shop_password}}'
    more = {
        "systems/shop.yaml": SHOP.format(url=by_password),
        "systems/warehouse.yaml": WAREHOUSE.format(url=database.url),
        "mappings/order.yaml": DOUBLED,
        "accord.yaml": PROJECT,
    }
    monkeypatch.setenv("ACCORD_SECRET_SHOP_PASSWORD", password)
    folder = make(tmp_path / "project", FROM_TABLE, **more)
    for serializer in (CloudPickleSerializer, CPickleSerializer):
        original = serializer.dumps

        def dumps(self: Any, obj: Any, original: Any = original) -> bytes:
            given.append(original(self, obj))
            return given[-1]

        monkeypatch.setattr(serializer, "dumps", dumps)
    ran = run(folder)
    assert (ran.record.state, ran.counts) == ("done", (1000, 1000, 0, 0)), ran.record.error
    assert any(b"accord.engine.bulk.spark.job" in each for each in given)  # the function that workers run
    assert len(given) >= 2 and not [each for each in given if password.encode() in each]
    database.execute("DROP TABLE orders, spark_target")


def test_what_spark_cannot_do_is_said_by_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = """
flow: nightly
on: manual
engine: spark
read: {entity: shop.orders, cursor: changed_at}
steps:
  - {write: warehouse.orders, with: {number: 'coalesce(ref(text(id), of="shop.orders", to="warehouse.orders"), "?")', total: total}}
"""
    folder = make(tmp_path, flow)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pyspark" else found(name, *more)
    )
    _, faults = check_project(folder)
    codes = {fault.code: fault for fault in faults.errors}
    assert {"flow.spark-missing", "flow.spark-source", "flow.spark-cursor", "flow.spark-ref"} <= codes.keys(), (
        faults.errors
    )
    assert "accord-integration[spark]" in codes["flow.spark-missing"].mend


def test_without_java_the_message_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(session.NoJava, match="Java 17") as caught:
        session.session_of(SparkSpec(master="local[1]"))
    assert "default-jre-headless" in caught.value.mend
