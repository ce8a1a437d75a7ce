"""Bulk loads of the duckdb connector pass the bulk suite; what it writes record by record is read back."""

from __future__ import annotations

import asyncio
import decimal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from tests.unit.engine.bulk import nightly

from accord.connectors.duckdb import CONNECTOR
from accord.connectors.duckdb.spec import DuckdbSettings
from accord.engine.scratch import scratch_connection
from accord.errors import Faults
from accord.mapping.contract import compile_contract
from accord.project import load_project
from accord.record import Done, Entity, Field, Partial, Reconnect
from accord.record import types as t
from accord.sdk.bulk import BulkRead, Chunk, LoadMode, LoadSpec
from accord.sdk.connector import Connection, Context, LoadFailed, WriteItem, WriteMode
from accord.sdk.http import encode_json
from accord.testing.bulk_suite import CHECKS, FIELDS, frame, is_for, load, loaded, record

VERSIONS = {
    "valid_from": Field(type=t.DateTime()),
    "valid_to": Field(type=t.DateTime(), nullable=True),
    "is_current": Field(type=t.Boolean()),
}


MAPPING = "mapping: order\nfrom: shop.orders\nto: warehouse.orders\nfields: {number: text(total), total: total}\n"
STRICT = """CREATE TABLE sales (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, amount DECIMAL(5,2), day DATE, "at" TIMESTAMPTZ,
  ok BOOLEAN, extra VARCHAR)"""
HOLD = """import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("select 1").fetchall()
print("has it", flush=True)
sys.stdin.read()
"""
COUNT = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute('select count(*) from sales').fetchall()[0][0])"


class FileSubject:
    modes = frozenset(LoadMode)
    is_strict = False
    run = "r"

    def __init__(self, folder: Path, *, is_history: bool = False) -> None:
        self._folder = folder
        self.entity = Entity(name="warehouse.sales", fields=FIELDS, key=("id",))
        self._read = self.entity
        if is_history:
            self._read = Entity(name="warehouse.sales", fields={**FIELDS, **VERSIONS}, key=("id",))
        self._typed = compile_contract(self._read, None, Faults(), types_only=True).check

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        context = Context(system="warehouse", http=None, folder=self._folder, state_folder=self._folder)  # type: ignore[arg-type]
        connection = CONNECTOR.connect(DuckdbSettings(file="data/w.duckdb"), {"sales": self.entity}, context)
        try:
            await connection.open()
            yield connection
        finally:
            await connection.close()

    async def shown(self) -> list[dict[str, Any]]:
        async with self.connection() as connection:
            records = [record async for page in connection.read(self._read) for record in page.records]
        for one in records:
            if one["extra"] is not None:
                one["extra"] = encode_json(one["extra"]).decode()
        return sorted((self._typed(one) for one in records), key=lambda one: one["id"])


@pytest.mark.parametrize("name", [name for name in CHECKS if is_for(name, FileSubject.modes, is_strict=False)])
def test_bulk_suite(tmp_path: Path, name: str) -> None:
    asyncio.run(CHECKS[name](FileSubject(tmp_path, is_history="history" in name)))


def test_a_refused_row_stands_alone(tmp_path: Path) -> None:
    """In a table of the user's own, with constraints."""
    subject = FileSubject(tmp_path)

    async def run() -> None:
        async with subject.connection() as connection:
            await connection._file.run(lambda session: session.run(STRICT))  # type: ignore[attr-defined]
        records = [record(n) for n in range(50)]
        records[7] = record(7, None)
        records[20] = record(3)
        async with load(subject, LoadMode.APPEND, "strict") as made:
            written = await made.write(Chunk(0, frame(records)))
            assert [reject.row for reject in written.rejects] == [7, 20], written
            assert written.rejects[0].path == "name"
            assert written.rows == 48
            assert (await made.write(Chunk(0, frame(records)))).rejects == written.rejects
            await made.finish()
        assert len(await subject.shown()) == 48

    asyncio.run(run())


OF_THEIRS = """CREATE TABLE names (name VARCHAR PRIMARY KEY); INSERT INTO names SELECT 'name ' || range FROM range(50);
CREATE TABLE sales (id BIGINT NOT NULL, name VARCHAR NOT NULL REFERENCES names (name), amount DECIMAL(5,2) CHECK (amount >= 0), day DATE,
  "at" TIMESTAMPTZ, ok BOOLEAN, extra VARCHAR CHECK (length(extra) < 30){more})"""
OF_VERSIONS = ", valid_from TIMESTAMPTZ NOT NULL, valid_to TIMESTAMPTZ, is_current BOOLEAN NOT NULL, CHECK (valid_to > valid_from)"


@pytest.mark.parametrize("mode", LoadMode)
def test_rows_that_only_the_target_refuses_are_told_in_every_mode(tmp_path: Path, mode: LoadMode) -> None:
    is_history = mode is LoadMode.HISTORY
    subject = FileSubject(tmp_path, is_history=is_history)

    async def run() -> None:
        async with subject.connection() as connection:
            statement = OF_THEIRS.format(more=OF_VERSIONS * is_history)
            await connection._file.run(lambda session: session.run(statement))  # type: ignore[attr-defined]
        good = {"name": "name 1", "amount": decimal.Decimal(1), "extra": None}
        records = [{**record(n), **good} for n in range(6)]
        records[0]["name"] = None
        records[1]["amount"] = decimal.Decimal(-1)
        records[2]["amount"] = decimal.Decimal(100_000)
        records[3]["name"] = "nobody"
        records[4]["extra"] = '"' + "x" * 40 + '"'
        async with load(subject, mode, "refused") as made:
            written = await made.write(Chunk(0, frame(records)))
            told = await made.finish()
        assert [reject.row for reject in written.rejects] == [0, 1, 2, 3, 4], written
        assert written.rejects[0].path == "name"
        assert all(reject.reason for reject in written.rejects)
        assert told.inserted == 1
        assert [one["id"] for one in await subject.shown()] == [5]

    asyncio.run(run())


LARGEST = "1234567890123456789012345678.0123456789"
SHOP = """
system: shop
connector: duckdb
settings: {file: shop.duckdb}
entities:
  orders: {key: id, fields: {id: integer, name: string, total: {type: decimal, min: 0}}}
"""


def test_a_number_is_shown_the_same_by_rows_and_by_columns(tmp_path: Path) -> None:
    shop = {"systems/shop.yaml": SHOP, "mappings/order.yaml": MAPPING}
    folder = nightly.make(tmp_path, nightly.NIGHTLY, **shop)
    with duckdb.connect(str(folder / "shop.duckdb")) as db:
        db.execute("CREATE TABLE orders (id BIGINT, name VARCHAR, total DECIMAL(38,10))")
        db.execute(f"INSERT INTO orders VALUES (1, 'x', 1.50), (2, 'x', 100), (3, 'x', 0), (4, 'x', {LARGEST})")
    assert nightly.run(folder).counts == (4, 3, 1, 0)  # the warehouse takes totals below 1000

    async def read() -> list[str]:
        system = load_project(folder).systems["shop"]
        async with scratch_connection(system, folder) as connection:
            await connection.open()
            pages = connection.read(system.entities["orders"])
            return [str(record["total"]) async for page in pages for record in page.records]

    assert asyncio.run(read()) == ["1.5", "100", "0", LARGEST]
    assert nightly.rows_of(folder) == [("0", 0), ("1.5", 1.5), ("100", 100)]


def test_records_written_one_by_one_are_written_once(tmp_path: Path) -> None:
    subject = FileSubject(tmp_path)

    async def run() -> None:
        items = [WriteItem(f"e{n}", {"id": n, "name": f"n{n}", "extra": {"a": [n]}}) for n in range(3)]
        async with subject.connection() as connection:
            assert isinstance(await connection.write(subject.entity, WriteMode.CREATE, items), Partial)
            again = [WriteItem(one.effect_id, one.record, in_doubt=True) for one in items]
            repeated = await connection.write(subject.entity, WriteMode.CREATE, again)
            assert repeated == Partial(tuple(Done(was_there=True) for _ in items))
            await connection.write(subject.entity, WriteMode.UPSERT, [WriteItem("u", {"id": 1, "name": "changed"})])
            await connection.write(subject.entity, WriteMode.DELETE, [WriteItem("d", {"id": 0})])
            got = await connection.get(subject.entity, "2")
            assert isinstance(got, Done)
            assert (got.result["name"], got.result["extra"]) == ("n2", {"a": [2]})
        assert [(one["id"], one["name"]) for one in await subject.shown()] == [(1, "changed"), (2, "n2")]

    asyncio.run(run())


def test_a_file_that_another_process_has_open_is_waited_for(tmp_path: Path) -> None:
    subject = FileSubject(tmp_path)

    async def run() -> None:
        await loaded(subject, LoadMode.APPEND, "some", [record(n) for n in range(10)])
        other = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            HOLD,
            str(tmp_path / "data/w.duckdb"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert other.stdin is not None
        assert other.stdout is not None
        await other.stdout.readline()
        context = Context(system="warehouse", http=None, folder=tmp_path, state_folder=tmp_path)  # type: ignore[arg-type]
        connection = CONNECTOR.connect(DuckdbSettings(file="data/w.duckdb"), {}, context)
        outcome = await connection.check()
        assert isinstance(outcome, Reconnect)
        assert outcome.reason == "another process has the file open"
        other.stdin.close()
        await other.wait()
        assert await connection.check() == Done()
        batches = [batch async for batch in connection.read_bulk(subject.entity, BulkRead(rows=4))]  # type: ignore[attr-defined]
        found = [(len(b.frame), b.position, b.first_number, b.is_last) for b in batches]
        assert found == [
            (4, 4, 1, False),
            (4, 8, 5, False),
            (2, 10, 9, True),
        ]
        resumed = [b async for b in connection.read_bulk(subject.entity, BulkRead(rows=4, position=8))]  # type: ignore[attr-defined]
        assert resumed[0].frame["id"].to_list() == [8, 9]
        await connection.close()

    asyncio.run(run())


def test_a_load_of_a_table_that_does_not_fit_says_so(tmp_path: Path) -> None:
    subject = FileSubject(tmp_path)

    async def run() -> None:
        async with subject.connection() as connection:
            await connection._file.run(lambda session: session.run("CREATE TABLE sales (id BIGINT)"))  # type: ignore[attr-defined]
        with pytest.raises(LoadFailed) as caught:
            await loaded(subject, LoadMode.APPEND, "unfit", [record(1)])
        assert msgspec.structs.asdict(caught.value.outcome)["code"] == "connector.duckdb-schema"  # type: ignore[arg-type]

    asyncio.run(run())


def test_whoever_leaves_a_load_unfinished_leaves_the_file_to_others(tmp_path):
    async def run() -> None:
        subject = FileSubject(tmp_path)
        async with subject.connection() as connection:
            spec = LoadSpec(id="one", mode=LoadMode.UPSERT, key=("id",), fields=tuple(FIELDS))
            for number in range(2):  # as after trouble of the source: the first one never came to its end
                made = connection.load(subject.entity, spec)
                await made.begin()
                await made.write(Chunk(number, frame([record(number)])))
                await made.leave()
                asked = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", COUNT, str(tmp_path / "data/w.duckdb")), stdout=asyncio.subprocess.PIPE
                )
                assert (await asked.communicate())[0].decode().strip() == str(number + 1)

    asyncio.run(run())
