"""Data sets of the files connector pass the bulk suite; what they hold is read by others' readers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from backports import zstd

from accord.connectors.files import CONNECTOR
from accord.connectors.files.spec import FilesEntity, FilesSettings
from accord.errors import Faults
from accord.mapping.contract import compile_contract
from accord.record import Entity
from accord.record.columns import schema_of
from accord.sdk.bulk import Chunk, LoadMode
from accord.sdk.connector import Connection, Context
from accord.sdk.http import encode_json
from accord.testing.bulk_suite import CHECKS, FIELDS, frame, is_for, load, loaded, record

FORMATS = ("parquet", "csv", "jsonl", "csv.gz", "csv.zst", "jsonl.gz", "jsonl.zst")
UNPACK = {".csv": bytes, ".jsonl": bytes, ".gz": gzip.decompress, ".zst": zstd.decompress}


class FolderSubject:
    modes = frozenset({LoadMode.APPEND, LoadMode.REPLACE})
    is_strict = False
    run = "r"

    def __init__(self, folder: Path, format: Any, *, partition: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.format = format
        plain, _, packed = format.partition(".")
        extra = FilesEntity(dataset="sales", format=plain, packed=packed or None, partition=partition)
        self.entity = Entity(name="lake.sales", fields=FIELDS, key=("id",), extra=extra)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        (self.folder / "lake").mkdir(exist_ok=True)
        context = Context(system="lake", http=None, folder=self.folder, state_folder=self.folder)  # type: ignore[arg-type]
        connection = CONNECTOR.connect(FilesSettings(folder="lake"), {"sales": self.entity}, context)
        await connection.open()
        yield connection
        await connection.close()

    async def shown(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / "lake/sales").rglob(f"*.{self.format}"))
        frames = [self._read(path) for path in files]
        whole = pl.concat(frames) if frames else frame([])
        return whole.sort("id").rows(named=True)

    def _read(self, path: Path) -> pl.DataFrame:
        if self.format == "parquet":
            return pl.read_parquet(path)
        content = UNPACK[path.suffix](path.read_bytes())
        if self.format.startswith("csv"):
            found = pl.read_csv(content, infer_schema=False)
            found = found.with_columns(
                ok=pl.col("ok") == "true",
                at=pl.col("at").str.to_datetime(time_zone="UTC"),
                day=pl.col("day").str.to_date(),
            )
            return found.cast(dict(schema_of(FIELDS)))  # type: ignore[arg-type]
        decode = compile_contract(self.entity, None, Faults()).decode
        records = [decode(line) for line in content.splitlines()]
        for one in records:
            if one.get("extra") is not None:
                one["extra"] = encode_json(one["extra"]).decode()
        return frame([{**record(0), **one} for one in records])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [name for name in CHECKS if is_for(name, FolderSubject.modes, is_strict=False)])
def test_bulk_suite(tmp_path: Path, name: str, format: str) -> None:
    asyncio.run(CHECKS[name](FolderSubject(tmp_path, format)))


def test_partitions_are_folders_others_understand(tmp_path: Path) -> None:
    subject = FolderSubject(tmp_path, "parquet", partition=("day", "name"))
    records = [record(n, f"n/{n % 2}" if n else None, ok=True) for n in range(6)]
    asyncio.run(loaded(subject, LoadMode.APPEND, "parts", records[:3], records[3:]))
    folder = tmp_path / "lake/sales"
    assert sorted(path.name for path in (folder / "day=__HIVE_DEFAULT_PARTITION__").iterdir()) == [
        "name=__HIVE_DEFAULT_PARTITION__",
        "name=n%2F0",
        "name=n%2F1",
    ]
    found = pl.read_parquet(folder, glob=True, hive_partitioning=True).sort("id")
    assert found["name"].to_list() == [one["name"] for one in records]


def test_a_replace_that_was_killed_between_its_renames_is_finished(tmp_path: Path) -> None:
    subject = FolderSubject(tmp_path, "parquet")

    async def run() -> None:
        await loaded(subject, LoadMode.APPEND, "base", [record(1, "old")])
        async with load(subject, LoadMode.REPLACE, "swap") as made:
            await made.write(Chunk(0, frame([record(2, "new")])))
            made._place.rename(made._old)  # type: ignore[attr-defined]
        async with load(subject, LoadMode.REPLACE, "swap") as again:
            assert (await again.write(Chunk(0, frame([record(2, "new")])))).was_there
            await again.finish()
        assert [one["name"] for one in await subject.shown()] == ["new"]
        assert sorted(path.name for path in (tmp_path / "lake").iterdir()) == [".accord-loads", "sales"]

    asyncio.run(run())


def test_half_a_chunk_is_written_again(tmp_path: Path) -> None:
    """Killed after some files of the chunk and before its marker."""
    subject = FolderSubject(tmp_path, "csv", partition=("ok",))

    async def run() -> None:
        records = [record(1, ok=True), record(2, ok=False)]
        async with load(subject, LoadMode.APPEND, "half") as made:
            await made.write(Chunk(0, frame(records)))
            (marker,) = (tmp_path / "lake/.accord-loads").rglob("*.json")
            marker.unlink()
            next((tmp_path / "lake/sales/ok=false").iterdir()).unlink()
        async with load(subject, LoadMode.APPEND, "half") as again:
            assert not (await again.write(Chunk(0, frame(records)))).was_there
        assert len(list((tmp_path / "lake/sales").rglob("*.csv"))) == 2

    asyncio.run(run())
