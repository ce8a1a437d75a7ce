"""Data sets in folders ``field=value``: what is written so is read back, by rows and by columns, and what folders do not say is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.connectors.files.share import Share, pages_of, records, share

from accord.connectors.files import CONNECTOR
from accord.connectors.files.partitions import NULL_PARTITION, Partitions, folder_name
from accord.connectors.files.source import extra_of
from accord.errors import Faults
from accord.mapping.columns.dtypes import records_of
from accord.record import Entity
from accord.record.batch import Batch
from accord.record.columns import schema_of
from accord.sdk.bulk import BulkRead, Chunk, LoadMode, LoadSpec
from accord.settings.node import Node

FIELDS = {
    "id": "integer",
    "country": "string?",
    "year": "integer?",
    "day": "date?",
    "price": "decimal?",
    "at": "datetime?",
    "paid": "boolean?",
}
BY = ["country", "year", "day", "price", "at", "paid"]
ROWS = [
    (1, "DE", 2026, dt.date(2026, 1, 31), Decimal("1.50"), dt.datetime(2026, 1, 31, 9, 5, tzinfo=dt.UTC), True),
    (2, "a=b/ü %2F", -5, dt.date(1999, 12, 1), Decimal("-0.000001"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), False),
    (3, None, None, None, None, None, None),
    (4, "", 0, dt.date(2026, 1, 31), Decimal(0), dt.datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=dt.UTC), True),
    (5, " spaced ", 1, dt.date(2026, 1, 31), Decimal("123456789012345678.5"), None, None),
]


def data_set(files: Share, form: str = "parquet", by: list[str] = BY, **more: Any) -> Entity:
    pattern = f"sales/**/*.{form}*"
    return files.entity(
        fields=FIELDS, dataset="sales", format=form, partition=by, **{"pattern": pattern, "keep": True, **more}
    )


def frame_of(entity: Entity) -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=schema_of(entity.fields), orient="row")


def written(files: Share, entity: Entity) -> None:
    async def scene() -> None:
        async with files.open() as connection:
            load = connection.load(entity, LoadSpec(id="l", mode=LoadMode.APPEND))  # type: ignore[attr-defined]
            await load.begin()
            await load.write(Chunk(0, frame_of(entity)))
            await load.finish()
            await load.leave()

    asyncio.run(scene())


async def batches_of(files: Share, entity: Entity, request: BulkRead | None = None) -> list[Batch]:
    async with files.open() as connection:
        found = connection.read_bulk(entity, request or BulkRead())  # type: ignore[attr-defined]
        return [batch async for batch in found]


def in_columns(files: Share, entity: Entity, request: BulkRead | None = None) -> list[dict[str, Any]]:
    batches = asyncio.run(batches_of(files, entity, request))
    assert [one.is_last for one in batches] == [False] * (len(batches) - 1) + [True]
    fields = {n: f for n, f in entity.fields.items() if n in batches[0].frame.columns}
    return sorted((r for b in batches for r in records_of(b.frame, fields)), key=lambda one: one["id"])


def by_rows(files: Share, entity: Entity) -> list[dict[str, Any]]:
    async def scene() -> list[dict[str, Any]]:
        async with files.open() as connection:
            return records(await pages_of(connection, entity))

    return asyncio.run(scene())


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_data_set_is_read_back_as_it_was_written(tmp_path: Path, form: str) -> None:
    files = share(tmp_path)
    entity = data_set(files, form)
    written(files, entity)
    expected = records_of(frame_of(entity), entity.fields)
    assert in_columns(files, entity) == expected
    plain = sorted(by_rows(files, entity), key=lambda one: int(one["id"]))
    dated = [(r["country"], r["year"], r["day"], r["at"], r["price"], r["paid"]) for r in plain]
    as_text = {True: lambda v: v.isoformat().replace("+00:00", "Z"), False: lambda v: v}
    wanted = [
        tuple(as_text[isinstance(r[n], dt.date)](r[n]) for n in ("country", "year", "day", "at", "price", "paid"))
        for r in expected
    ]
    assert dated == wanted
    few = BulkRead(fields=frozenset({"id", "year"}))
    assert in_columns(files, entity, few) == [{"id": r["id"], "year": r["year"]} for r in expected]


def test_parts_for_other_processes_have_the_fields_of_the_folders(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = data_set(files)
    written(files, entity)

    async def scene() -> list[dict[str, Any]]:
        async with files.open() as connection, connection.parts(entity, BulkRead()) as parts:  # type: ignore[attr-defined]
            frames = [batch.frame for part in parts for batch in part.batches({})]
        return [record for frame in frames for record in records_of(frame, entity.fields)]

    found = asyncio.run(scene())
    assert sorted(found, key=lambda one: one["id"]) == records_of(frame_of(entity), entity.fields)


def test_what_spark_leaves_beside_a_data_set_is_not_read(tmp_path: Path) -> None:
    files = share(tmp_path)
    fields = {"id": "integer", "country": "string?"}
    entity = files.entity(fields=fields, pattern="lake/**/*.csv", partition=["country"], keep=True)
    files.put("lake/country=FR/part-0.csv", "id\n1\n")
    files.put(f"lake/country={NULL_PARTITION}/part-1.csv", "id,country\n2,in the file\n")
    files.put("lake/country=C%C3%B4te d%27Ivoire/part-2.csv", "id\n3\nbad\n")
    files.put("lake/_temporary/0/country=FR/part-9.csv", "id\n9\n")
    files.put("lake/.sales.1/country=FR/part-8.csv", "id\n8\n")
    files.put("lake/_SUCCESS", "")
    want = [{"id": 1, "country": "FR"}, {"id": 2, "country": None}, {"id": 3, "country": "Côte d'Ivoire"}]
    assert in_columns(files, entity) == want
    assert sorted(by_rows(files, entity), key=lambda one: str(one["id"])) == [
        *want,
        {"id": "bad", "country": "Côte d'Ivoire"},
    ]
    odd = [row for batch in asyncio.run(batches_of(files, entity)) for row in batch.odd]
    assert [(row.record, row.reason) for row in odd] == [({"id": "bad", "country": "Côte d'Ivoire"}, "")]


@pytest.mark.parametrize(
    ("folder", "what"),
    [
        ("year=abc", "'year=abc' holds no integer"),
        ("year=", "'year=' holds no integer"),
        ("year=99999999999999999999", "holds no integer"),
        ("year", "in no folder 'year=…'"),
        ("=2026", "in no folder 'year=…'"),
        ("year=1/year=2", "in two folders 'year='"),
    ],
)
def test_a_malformed_folder_is_told_with_its_file_and_stops_no_other(tmp_path: Path, folder: str, what: str) -> None:
    files = share(tmp_path)
    entity = data_set(files, "csv", ["year"])
    files.put(f"sales/{folder}/bad.csv", "id\n1\n2\n")
    files.put("sales/year=2026/good.csv", "id\n3\n")
    batches = asyncio.run(batches_of(files, entity))
    assert [r["id"] for b in batches for r in records_of(b.frame, entity.fields)] == [3]
    [odd] = [row for batch in batches for row in batch.odd]
    assert what in odd.reason and f"sales/{folder}/bad.csv" in odd.reason
    reasons = [one["accord_reason"] for one in by_rows(files, entity) if "accord_reason" in one]
    assert len(reasons) == 1 and what in reasons[0]


@pytest.mark.parametrize("keep", [True, False])
def test_a_cursor_in_folders_spares_files_outside(tmp_path: Path, keep: bool) -> None:
    files = share(tmp_path)
    fields = {"id": "integer", "day": "date?"}
    entity = files.entity(fields=fields, pattern="log/*/*.parquet", partition=["day"], keep=keep)
    for number in range(1, 6):
        path = files.put(f"log/day=2026-01-0{number}/x.parquet", b"")
        pl.DataFrame({"id": [number]}).write_parquet(path)
    files.put("log/day=2026-01-01/y.parquet", b"this is no Parquet, and is never opened")
    request = BulkRead(cursor="day", since=dt.date(2026, 1, 3), until=dt.date(2026, 1, 5))
    batches = asyncio.run(batches_of(files, entity, request))
    assert [batch.odd for batch in batches] == [()] * len(batches)
    assert [r for b in batches for r in records_of(b.frame, entity.fields)] == [
        {"id": 3, "day": dt.date(2026, 1, 3)},
        {"id": 4, "day": dt.date(2026, 1, 4)},
    ]
    assert len({batch.origin for batch in batches}) == (2 if keep else 6)  # files that are to go are told of


VALUES = {
    "string": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12),
    "integer": st.integers(-(2**63) + 1, 2**63 - 1),
    "decimal": st.decimals(-(10**27), 10**27, places=9, allow_nan=False).filter(bool),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "date": st.dates(dt.date(1000, 1, 1)),
    "datetime": st.datetimes(dt.datetime(1000, 1, 2), timezones=st.just(dt.UTC)),
}


@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_value_comes_back_from_the_name_of_its_folder(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    entity = Share(tmp_path).entity(key="id", fields={"id": "integer", "by": f"{kind}?"}, partition=["by"])
    partitions = Partitions(entity, extra_of(entity), "UTC")
    value = data.draw(st.none() | VALUES[kind])
    found = partitions.values(f"x/{folder_name('by', value)}/f.csv")
    [column] = partitions.columns(found, 2)
    with decimal.localcontext(prec=50):
        assert column.to_list() == [value, value]


def test_what_cannot_be_the_name_of_a_folder_is_a_fault(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = files.entity(fields={"id": "integer", "lines": {"list": "string"}}, dataset="sales", partition=["lines"])
    faults = Faults()
    CONNECTOR.check(files.settings(), {"orders": entity}, Node(None), faults)
    assert [fault.code for fault in faults.errors] == ["connector.files-field"]
