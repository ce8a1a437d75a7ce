"""A small warehouse project on disk: a shop in SQLite, files of a share, and a warehouse in SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accord.engine.build import engine_of
from accord.engine.bulk.state import RunRecord
from accord.project import Project, load_project

FILES = {
    "accord.yaml": "name: nightly\n",
    "systems/shop.yaml": """
system: shop
connector: sql
settings: {url: "sqlite:///shop.db"}
entities:
  orders:
    key: id
    page_rows: 7
    fields:
      id: integer
      name: string
      total: {type: decimal, min: 0}
      changed_at: {type: datetime, nullable: true}
""",
    "systems/share.yaml": """
system: share
connector: files
settings: {folder: share, stable: 0s}
entities:
  orders:
    pattern: in/*.csv
    page_rows: 5
    key: id
    fields: {id: integer, name: string, total: {type: decimal, min: 0}}
""",
    "systems/warehouse.yaml": """
system: warehouse
connector: sql
settings: {url: "sqlite:///warehouse.db"}
entities:
  orders:
    key: number
    fields: {number: string, total: decimal}
  log:
    key: number
    fields: {number: string, total: decimal}
""",
    "mappings/order.yaml": """
mapping: order
from: shop.orders
to: warehouse.orders
fields: {number: '"R" + text(id)', total: total}
""",
    "mappings/file-order.yaml": """
mapping: file-order
from: share.orders
to: warehouse.orders
fields: {number: '"F" + text(id)', total: total}
""",
}
NIGHTLY = """
flow: nightly
on: manual
read: {entity: shop.orders, chunk: 10}
steps:
  - validate: shop.orders
  - filter: name != "test"
  - {write: warehouse.orders, mapping: order}
"""
SHOP = "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, total NUMERIC, changed_at TEXT)"
WAREHOUSE = """
CREATE TABLE orders (number TEXT PRIMARY KEY, total NUMERIC CHECK (total < 1000));
CREATE TABLE log (number TEXT, total NUMERIC);
"""


def make(folder: Path, flow: str = NIGHTLY, **more: str) -> Path:
    for name, text in {**FILES, "flows/nightly.yaml": flow, **more}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run_sql(folder / "shop.db", SHOP)
    run_sql(folder / "warehouse.db", WAREHOUSE)
    (folder / "share/in").mkdir(parents=True)
    return folder


def run_sql(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def put_orders(folder: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """(id, name, total, changed_at) each."""
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as db, db:
        db.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)", [(*row, None, None)[:4] for row in rows])


def rows_of(folder: Path, table: str = "orders") -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "warehouse.db")) as db:
        return db.execute(f"SELECT number, total FROM {table} ORDER BY number").fetchall()


class Ran:
    """A run and the rejects of the flow after it."""

    def __init__(self, record: RunRecord, rejects: list[Any]) -> None:
        self.record = record
        self.rejects = rejects

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """(rows, passed, rejected, filtered)"""
        return self.record.rows, self.record.passed, self.record.rejected, self.record.filtered


def run(project: Project | Path, flow: str = "nightly", **how: Any) -> Ran:
    loaded = load_project(project) if isinstance(project, Path) else project

    async def work() -> Ran:
        engine = engine_of(loaded)
        try:
            control = await engine.open_journal()
            await engine.connect()
            record = await engine.bulk.run_here(flow, **how)
            return Ran(record, await control.dead_letters(flow=flow, with_payload=True))
        finally:
            await engine.stop()

    return asyncio.run(work())


def replay(folder: Path, seq: int, body: str) -> list[Any]:
    """Replays a mended reject in a running engine; the rejects that are left when it has settled."""
    loaded = load_project(folder)

    async def work() -> list[Any]:
        engine = engine_of(loaded, address="127.0.0.1:0")
        await engine.start()
        try:
            await engine.control.replay(seq, body=body.encode())
            async with asyncio.timeout(20):
                while any(s["ready"] + s["running"] + s["waiting"] for s in (await engine.control.status())["flows"]):
                    await asyncio.sleep(0.02)
            return await engine.control.dead_letters()
        finally:
            await engine.stop()

    return asyncio.run(work())
