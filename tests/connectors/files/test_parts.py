"""Parts of a large Parquet file: a read that is taken up behind any chunk gives the chunks that a read from the beginning gives."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from accord.connectors.files import CONNECTOR, parts
from accord.connectors.files.spec import FilesEntity, FilesSettings
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.bulk import BulkRead

ROWS, CHUNK = 1_000, 30


def test_chunks_are_the_same_wherever_a_read_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 100)  # no whole number of chunks
    (tmp_path / "lake").mkdir()
    pl.DataFrame({"id": range(ROWS)}).write_parquet(tmp_path / "lake/sales.parquet")
    entity = Entity(
        name="lake.sales", fields={"id": Field(type=t.Integer())}, key=("id",), extra=FilesEntity(pattern="*.parquet")
    )
    settings = FilesSettings(folder="lake", stable=dt.timedelta())
    context: Any = SimpleNamespace(system="lake", http=None, folder=tmp_path, state_folder=tmp_path)

    async def chunks(position: Any) -> list[tuple[Any, list[int]]]:
        connection: Any = CONNECTOR.connect(settings, {"sales": entity}, context)
        await connection.open()
        try:
            async with connection.parts(entity, BulkRead(rows=CHUNK, position=position)) as found:
                batches = [batch for part in found for batch in part.batches({})]
        finally:
            await connection.close()
        return [(batch.position, batch.frame["id"].to_list()) for batch in batches if batch.frame.height]

    whole = asyncio.run(chunks(None))
    assert [row for _, rows in whole for row in rows] == list(range(ROWS))
    for at in range(len(whole) - 1):
        taken_up = asyncio.run(chunks(whole[at][0]))
        assert [rows for _, rows in taken_up] == [rows for _, rows in whole[at + 1 :]]


def test_a_read_taken_up_at_a_position_of_a_part_leaves_out_the_files_before_it(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    for number in range(3):
        path = tmp_path / f"lake/{number}.csv"
        path.write_text("id\n" + "".join(f"{number * 100 + row}\n" for row in range(50)))
        os.utime(path, ns=(number, number))
    entity = Entity(
        name="lake.sales",
        fields={"id": Field(type=t.Integer())},
        key=("id",),
        extra=FilesEntity(pattern="*.csv", keep=True),  # they stay, so only the position knows of them
    )
    settings = FilesSettings(folder="lake", stable=dt.timedelta())
    context: Any = SimpleNamespace(system="lake", http=None, folder=tmp_path, state_folder=tmp_path)

    async def chunks(position: Any) -> list[tuple[Any, list[int]]]:
        connection: Any = CONNECTOR.connect(settings, {"sales": entity}, context)
        async with connection.parts(entity, BulkRead(rows=CHUNK, position=position)) as found:
            batches = [batch for part in found for batch in part.batches({})]
        return [(batch.position, batch.frame["id"].to_list()) for batch in batches if batch.frame.height]

    whole = asyncio.run(chunks(None))
    assert len(whole) == 6
    for at in range(len(whole)):
        taken_up = asyncio.run(chunks(whole[at][0]))
        assert [rows for _, rows in taken_up] == [rows for _, rows in whole[at + 1 :]]
        assert [position for position, _ in taken_up] == [position for position, _ in whole[at + 1 :]]
