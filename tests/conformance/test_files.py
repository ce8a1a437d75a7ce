"""The files connector passes the connector suite: a folder read and written, one file per record and lines appended."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.connectors.files.share import Share, share

from accord.connectors.files import CONNECTOR
from accord.sdk.connector import WriteMode
from accord.testing.connector_suite import EntityCase, Status, Subject, check_names, run_check

FIELDS = {"id": "integer", "name": "string"}


def _reading(files: Share) -> EntityCase:
    """Records arrive as CSV files of their own."""
    numbers = itertools.count()

    async def seed(records: Sequence[dict[str, Any]]) -> None:
        number = next(numbers)
        path = files.put(f"in/{number:03}.csv", "id,name\n" + "".join(f"{r['id']},{r['name']}\n" for r in records))
        os.utime(path, (1000 + number, 1000 + number))

    async def touch(record: dict[str, Any]) -> None:
        await seed([record])

    return EntityCase(entity="orders", records=[{"id": i, "name": f"n{i}"} for i in range(5)], seed=seed, touch=touch)


def _writing(files: Share, entity: str, refused: dict[str, Any] | None) -> EntityCase:
    async def stored() -> list[dict[str, Any]]:
        found = []
        for path in sorted((files.root / entity).glob("*")):
            lines = path.read_bytes().splitlines()
            found += [msgspec.json.decode(line) for line in lines]
        return found

    async def seed(records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            files.put(f"{entity}/{record['id']}.json", msgspec.json.encode(record))

    return EntityCase(
        entity=entity,
        records=[{"id": i, "name": f"n{i}"} for i in range(5)],
        stored=stored,
        seed=seed if entity == "kept" else None,
        changed=lambda r: {**r, "name": r["name"] + "!"},
        refused=refused,
        modes=[WriteMode.UPSERT, WriteMode.DELETE] if entity == "kept" else [WriteMode.CREATE],
    )


@asynccontextmanager
async def subject(folder: Path) -> AsyncIterator[Subject]:
    files = share(folder)
    entities = {
        "orders": files.entity("orders", pattern="in/*.csv", page_rows=2, fields=FIELDS),
        "sent": files.entity("sent", name="sent/{id}-{effect_id}.json", fields=FIELDS),
        "kept": files.entity("kept", name="kept/{id}.json", fields=FIELDS),
        "log": files.entity("log", append="log/all.jsonl", fields=FIELDS),
    }
    yield Subject(
        kind=CONNECTOR,
        settings=files.settings(),
        entities=entities,
        folder=folder,
        cases=[
            _reading(files),
            _writing(files, "sent", {"id": "../../x", "name": "n"}),
            _writing(files, "kept", {"id": "../../x", "name": "n"}),
            _writing(files, "log", None),
        ],
        unreachable=files.settings(folder="not-mounted"),
    )


@pytest.mark.parametrize("name", check_names())
def test_conformance(name: str, tmp_path: Path) -> None:
    result = asyncio.run(run_check(name, lambda: subject(tmp_path)))
    assert result.status is not Status.FAILED, result.why
