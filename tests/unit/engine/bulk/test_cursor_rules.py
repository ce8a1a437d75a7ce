"""Reading changes by a cursor, when clocks are wrong, keys change, rows or columns go; and what never goes row by row."""

from __future__ import annotations

import datetime as dt
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, rows_of, run, run_sql

from accord.engine.bulk import mapping

CHANGES = NIGHTLY.replace("chunk: 10", "cursor: changed_at, overlap: 1m, full_every: 7d, chunk: 10")
UPSERTS = CHANGES.replace("mapping: order", "mapping: order, mode: delete_missing, deleted_share_max: 1")
APPENDS = CHANGES.replace(
    "warehouse.orders, mapping: order", "warehouse.log, with: {number: name, total: total}, mode: append"
).replace("full_every: 7d, ", "")


def at(ago: dt.timedelta) -> str:
    return (dt.datetime.now(dt.UTC) - ago).strftime("%Y-%m-%d %H:%M:%S")


def forget_the_whole_reading(folder: Path) -> None:
    """As if ``full_every`` had passed."""
    with sqlite3.connect(folder / ".accord/journal.db") as db:
        (raw,) = db.execute("SELECT position FROM cursors WHERE name = 'bulk:nightly'").fetchone()
        raw = raw if isinstance(raw, bytes) else raw.encode()
        assert b'"whole":"' in raw
        moved = re.sub(rb'"whole":"\d{4}', b'"whole":"2001', raw)
        db.execute("UPDATE cursors SET position = ? WHERE name = 'bulk:nightly'", (moved,))


@pytest.mark.parametrize("flow", [APPENDS, UPSERTS])
def test_a_time_in_the_future_does_not_hide_what_comes_after_it(tmp_path: Path, flow: str) -> None:
    folder = make(tmp_path, flow)
    put_orders(folder, [(1, "a", 1, at(dt.timedelta(hours=1))), (2, "skewed", 2, at(dt.timedelta(days=-365)))])
    assert run(folder).counts == (2, 2, 0, 0)
    put_orders(folder, [(3, "c", 3, at(dt.timedelta(seconds=20)))])
    second = run(folder)
    assert (second.record.is_whole, second.record.differences()) == (False, [])
    assert run(folder).record.state == "done"
    table = "log" if flow == APPENDS else "orders"
    names = ["a", "c", "skewed"] if flow == APPENDS else ["R1", "R2", "R3"]
    assert [name for name, _ in rows_of(folder, table)] == names


def test_a_clock_put_back_beyond_the_overlap_is_made_good_by_the_whole_reading(tmp_path: Path) -> None:
    folder = make(tmp_path, UPSERTS)
    put_orders(folder, [(1, "a", 1, at(dt.timedelta(hours=1)))])
    run(folder)
    put_orders(folder, [(2, "b", 2, at(dt.timedelta(hours=2)))])
    assert run(folder).counts == (1, 1, 0, 0)
    assert [name for name, _ in rows_of(folder)] == ["R1"]
    forget_the_whole_reading(folder)
    whole = run(folder)
    assert (whole.record.is_whole, whole.counts) == (True, (2, 2, 0, 0))
    assert [name for name, _ in rows_of(folder)] == ["R1", "R2"]


def test_deleted_rows_and_changed_keys_go_from_the_target_at_the_whole_reading(tmp_path: Path) -> None:
    folder = make(tmp_path, UPSERTS)
    put_orders(folder, [(n, "x", n, at(dt.timedelta(hours=2))) for n in range(1, 5)])
    run(folder)
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id = 2")
    run_sql(folder / "shop.db", f"UPDATE orders SET id = 30, changed_at = '{at(dt.timedelta(minutes=5))}' WHERE id = 3")
    changes = run(folder)
    assert (changes.record.is_whole, changes.record.writes[0].mode) == (False, "upsert")
    assert rows_of(folder) == [("R1", 1), ("R2", 2), ("R3", 3), ("R30", 3), ("R4", 4)]
    forget_the_whole_reading(folder)
    assert run(folder).record.writes[0].deleted == 2
    assert rows_of(folder) == [("R1", 1), ("R30", 3), ("R4", 4)]


def test_a_renamed_column_moves_no_row_and_the_run_goes_on_when_it_is_declared(tmp_path: Path) -> None:
    folder = make(tmp_path, CHANGES)
    put_orders(folder, [(1, "a", 1, at(dt.timedelta(hours=1)))])
    run(folder)
    put_orders(folder, [(2, "b", 2, at(dt.timedelta(minutes=1)))])
    run_sql(folder / "shop.db", "ALTER TABLE orders RENAME COLUMN total TO amount")
    stopped = run(folder)
    assert (stopped.record.state, stopped.record.rows) == ("failed", 0)
    assert "total" in stopped.record.error
    system = folder / "systems/shop.yaml"
    system.write_text(system.read_text().replace("    page_rows: 7", "    columns: {total: amount}\n    page_rows: 7"))
    assert run(folder).record.state == "done"
    assert rows_of(folder) == [("R1", 1), ("R2", 2)]


CONDITIONS = """
mapping: order
from: shop.orders
to: warehouse.orders
fields: {number: '"R" + text(id)', total: total if total > 5 else 0}
tests:
  - given: {id: 1, name: a, total: 7, changed_at: null}
    expect: {number: R1, total: 7}
"""
BASKETS = """
system: share
connector: files
settings: {folder: share, stable: 0s}
entities:
  orders:
    pattern: in/*.jsonl
    key: id
    fields:
      id: {type: integer, min: 1}
      total: decimal
      lines: {list: {object: {sku: string, price: decimal}}}
"""
SPLIT = """
flow: nightly
on: manual
read: share.orders
steps:
  - validate: share.orders
  - {write: warehouse.orders, with: {number: text(id), total: total if total > 5 else 0}}
  - split: lines
    steps: [{write: warehouse.log, with: {number: "text(parent.id) + '/' + sku", total: price}, mode: append}]
"""


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went through the ordinary flow, each time."""
    asked: list[int] = []
    run_rows = mapping.run_rows

    def counted(flow: Any, messages: Any) -> Any:
        asked.append(len(messages))
        return run_rows(flow, messages)

    monkeypatch.setattr(mapping, "run_rows", counted)
    return asked


def test_conditions_and_a_mappings_own_tests_stay_in_columns(tmp_path: Path, by_rows: list[int]) -> None:
    folder = make(tmp_path, NIGHTLY, **{"mappings/order.yaml": CONDITIONS})
    put_orders(folder, [(n, "x", -1 if n == 50 else n % 20) for n in range(1, 101)])
    assert run(folder).counts == (100, 99, 1, 0)
    assert sum(by_rows) == 1, "only the row that does not satisfy its contract goes the way of rows"


def test_a_split_stays_in_columns(tmp_path: Path, by_rows: list[int]) -> None:
    folder = make(tmp_path, SPLIT, **{"systems/share.yaml": BASKETS})
    (folder / "mappings/file-order.yaml").unlink()
    lines = [{"sku": "A", "price": 1.5}, {"sku": "B", "price": 2.5}]
    orders = [{"id": -1 if n == 7 else n, "total": n, "lines": lines} for n in range(1, 101)]
    (folder / "share/in/a.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    assert run(folder).counts == (100, 99, 1, 0)
    assert len(rows_of(folder, "log")) == 198
    assert sum(by_rows) == 1
