"""A bulk flow that loads an API in batches: rejects, a lost answer in mid-run, and the guarantee that is shown."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from accord.engine.build import engine_of
from accord.project import load_project
from accord.sdk.http import HttpResponse, InboundRequest, decode_json
from accord.testing.http_server import Answer, json_answer, serve

API = """
system: shop
connector: http
settings:
  address: {address}
  {header}
entities:
  orders:
    key: id
    fields: {{id: integer, name: string}}
    bulk:
      {mode}:
        path: /orders/batch
        size: 20
        answers: {{at: results, ok: {{at: ok, equals: true}}, reason: why}}
"""
FILES = {
    "accord.yaml": "name: nightly\n",
    "systems/warehouse.yaml": """
system: warehouse
connector: sql
settings: {url: "sqlite:///warehouse.db"}
entities:
  sales:
    key: id
    fields: {id: integer, name: string}
""",
    "flows/nightly.yaml": """
flow: nightly
on: manual
read: {entity: warehouse.sales, chunk: 50}
steps:
  - write: shop.orders
    mode: MODE
    with: {id: id, name: name}
""",
}
KEY = "idempotency_header: Idempotency-Key"


def make(folder: Path, address: str, mode: str, header: str = KEY) -> Path:
    given = {**FILES, "systems/shop.yaml": API.format(address=address, mode=mode, header=header)}
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("MODE", mode))
    with contextlib.closing(sqlite3.connect(folder / "warehouse.db")) as db, db:
        db.execute("CREATE TABLE sales (id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO sales VALUES (?, ?)", [(n, f"n{n}") for n in range(130)])
    return folder


async def run(folder: Path) -> Any:
    engine = engine_of(load_project(folder))
    try:
        await engine.open_journal()
        await engine.connect()
        return await engine.bulk.run_here("nightly")
    finally:
        await engine.stop()


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_every_record_is_there_once_or_a_reject(tmp_path: Path, mode: str) -> None:
    written: Counter[int] = Counter()
    answers: dict[str, HttpResponse] = {}

    async def api(request: InboundRequest) -> Answer:
        key = request.headers["idempotency-key"]
        is_lost = len(answers) == 4 and key not in answers
        if key not in answers:
            records = decode_json(request.body)
            written.update(one["id"] for one in records if one["id"] % 40)
            results = [{"ok": bool(one["id"] % 40), "why": "no such product"} for one in records]
            answers[key] = json_answer({"results": results})
        return None if is_lost else answers[key]

    async def scene() -> None:
        async with serve(api) as server:
            record = await run(make(tmp_path, server.address, mode))
            assert len(server.requests) == len(answers) + 1 == 9
        assert (record.state, record.rows, record.rejected) == ("done", 130, 4)
        assert set(written) == {n for n in range(130) if n % 40} and set(written.values()) == {1}

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("mode", "header", "guarantee"),
    [
        ("append", KEY, "exactly-once by chunk"),
        ("append", "timeout: 20s", "at-least-once: the API is told of no way to recognise a batch"),
        ("upsert", "timeout: 20s", "exactly-once by chunk"),
    ],
)
def test_the_guarantee_is_computed(tmp_path: Path, mode: str, header: str, guarantee: str) -> None:
    project = load_project(make(tmp_path, "http://127.0.0.1:9", mode, header))
    [effect] = project.flows["nightly"].effects
    assert effect.guarantee.startswith(guarantee)
