"""Files written: whole or not at all, once per effect, never outside the folder."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.files.share import pages_of, records, share

from accord.record import Done, Outcome, Partial, Reject
from accord.sdk.connector import WriteItem, WriteMode

ORDER = {
    "id": 7,
    "name": 'Ådä; "q"',
    "total": Decimal("1234.50"),
    "day": dt.date(2026, 1, 31),
    "at": dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC),
    "paid": True,
}
PLAIN = {**ORDER, "day": "2026-01-31", "at": "2026-01-31T09:00:00Z"}
FIXED = {
    name: {"start": start, "width": 26}
    for name, start in {"id": 1, "name": 27, "total": 53, "day": 79, "at": 105, "paid": 131}.items()
}


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "xml", "fixed"])
def test_what_is_written_is_read_back(tmp_path: Path, form: str) -> None:
    files = share(tmp_path)
    more: dict[str, Any] = {"columns": FIXED} if form == "fixed" else {}
    suffix = "txt" if form == "fixed" else form
    entity = files.entity(
        **{"pattern": f"out/*.{suffix}", "name": f"out/{{id}}-{{effect_id}}.{suffix}", "format": form, **more}
    )

    async def scene() -> None:
        async with files.open() as connection:
            done = await connection.write(entity, WriteMode.CREATE, [WriteItem("e1", ORDER)])
            again = await connection.write(entity, WriteMode.CREATE, [WriteItem("e1", ORDER, in_doubt=True)])
            assert isinstance(done, Done) and not done.was_there and done.result == {"file": f"out/7-e1.{suffix}"}
            assert isinstance(again, Done) and again.was_there
            assert records(await pages_of(connection, entity)) == [PLAIN]
        assert [p.name for p in (files.root / "out").iterdir()] == [f"7-e1.{suffix}"]

    asyncio.run(scene())


def test_upsert_and_delete_by_key(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = files.entity(pattern="*.json", name="{id}.json")

    async def scene() -> None:
        async with files.open() as connection:

            async def write(mode: WriteMode, record: dict[str, Any]) -> Outcome:
                return await connection.write(entity, mode, [WriteItem("e", record)])

            await write(WriteMode.UPSERT, {"id": 1, "name": "a"})
            await write(WriteMode.UPSERT, {"id": 1, "name": "b"})
            assert records(await pages_of(connection, entity)) == [{"id": 1, "name": "b"}]
            gone, absent = [await write(WriteMode.DELETE, {"id": 1}) for _ in range(2)]
            assert isinstance(gone, Done) and not gone.was_there
            assert isinstance(absent, Done) and absent.was_there
            for bad in ("../x", "a/b", "", None, "x" * 200, "..", "a\x00b"):
                refused = await write(WriteMode.UPSERT, {"id": bad, "name": "c"})
                assert isinstance(refused, Reject) and refused.path == "id", bad
        assert list(files.root.iterdir()) == [] and [p.name for p in tmp_path.iterdir()] == ["share"]

    asyncio.run(scene())


def test_append_closes_a_torn_line_and_rejects_alone(tmp_path: Path) -> None:
    files = share(tmp_path)
    fields = {"id": "integer", "name": "string"}
    entity = files.entity(append="log.csv", pattern="log.csv", encoding="cp1252", fields=fields)

    async def scene() -> None:
        async with files.open() as connection:

            async def append(*names: str) -> Outcome:
                items = [WriteItem(f"e{n}", {"id": i, "name": n}) for i, n in enumerate(names)]
                return await connection.write(entity, WriteMode.CREATE, items)

            outcome = await append("a", "日本", "é")
            assert isinstance(outcome, Partial)
            assert [type(o) for o in outcome.outcomes] == [Done, Reject, Done]
            with (files.root / "log.csv").open("a") as torn:
                torn.write("9,to")
            assert isinstance(await append("z"), Done)
        assert (files.root / "log.csv").read_bytes().decode("cp1252") == "id,name\n0,a\n2,é\n9,to\n0,z\n"

    asyncio.run(scene())
