"""Sources that change their columns between runs: what is told, what is frozen, and that nothing is lost or read anew."""

from __future__ import annotations

import json

import pytest
from tests.unit.engine.bulk.nightly import FILES, make, put_orders, rows_of, run, run_sql
from tests.unit.engine.bulk.test_run import FROM_FILES

from accord.engine.bulk.shape import Change, Seen, changes, declared, is_wider, seen_of
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.shape import Shape

SHOP = FILES["systems/shop.yaml"]
SHARE = FILES["systems/share.yaml"]


def says(system: str, policy: str) -> str:
    return system.replace("    key: id", f"    key: id\n    on_schema_change: {policy}")


@pytest.mark.parametrize(
    ("was", "now", "wider"),
    [
        ("VARCHAR(10)", "VARCHAR(20)", True),
        ("VARCHAR(20)", "VARCHAR(10)", False),
        ("VARCHAR(20)", "TEXT", True),
        ("INTEGER", "BIGINT", True),
        ("BIGINT", "INTEGER", False),
        ("NUMERIC(10, 2)", "NUMERIC(12, 2)", True),
        ("NUMERIC(10, 2)", "NUMERIC(10, 4)", False),
        ("Float32", "Float64", True),
        ('VARCHAR(10) COLLATE "utf8mb4_bin"', 'VARCHAR(20) COLLATE "utf8mb4_bin"', True),
        ("REAL", "DOUBLE PRECISION", True),
        ("integer", "number", True),
        ("integer", "string", False),
        ("DATE", "VARCHAR(10)", False),
    ],
)
def test_which_type_is_wider(was, now, wider):
    assert is_wider(was, now) is wider


def test_a_shape_is_compared_with_what_was_seen_of_the_entity_as_it_is_declared():
    fields = {"id": Field(type=t.Integer()), "note": Field(type=t.String(), nullable=True)}
    entity = Entity(name="shop.orders", fields=fields)
    first = Shape(place="a.csv", columns={"id": "Int32", "extra": "String"})
    assert changes(entity, Seen(), [first]) == []
    seen = seen_of(entity, Seen(), [first])
    now = Shape(place="b.csv", columns={"id": "Int64", "note": "String"})
    assert [str(one) for one in changes(entity, seen, [now])] == [
        "b.csv: column 'note' is new",
        "b.csv: column 'id' is widened (Int32 → Int64)",
    ]
    gone = Shape(place="c.csv", columns={"note": "String"})
    assert changes(entity, Seen(), [gone]) == [Change(place="c.csv", column="id", kind="missing")]
    assert changes(entity, Seen(), [Shape(place="c.jsonl", columns={}, is_whole=False)]) == []
    other = Entity(name="shop.orders", fields={"id": Field(type=t.Decimal())})
    assert declared(other) != declared(entity)
    assert changes(other, seen, [now]) == []


def test_new_and_widened_columns_are_told_with_what_they_touch_and_the_run_goes_on(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(1, "a", 1, None)])
    assert run(folder).record.changes == []
    run_sql(
        folder / "shop.db",
        "ALTER TABLE orders RENAME TO old;"
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT, total NUMERIC, changed_at TEXT, colour TEXT);"
        "INSERT INTO orders SELECT *, 'red' FROM old;",
    )
    second = run(folder).record
    assert (second.state, second.passed) == ("done", 1)
    assert second.changes == [
        "table orders: column 'colour' is new",
        "table orders: column 'id' is widened (INTEGER → BIGINT);"
        " flow nightly reads it into warehouse.orders.number (mapping order)",
    ]
    assert run(folder).record.changes == []


def test_a_frozen_source_moves_no_row_until_somebody_says_so(tmp_path):
    folder = make(tmp_path, **{"systems/shop.yaml": says(SHOP, "freeze")})
    put_orders(folder, [(1, "a", 1)])
    run(folder)
    put_orders(folder, [(2, "b", 2)])
    run_sql(folder / "shop.db", "ALTER TABLE orders ADD COLUMN colour TEXT")
    frozen = run(folder).record
    assert (frozen.state, frozen.code, frozen.rows) == ("failed", "engine.bulk-shape", 0)
    assert "table orders: column 'colour' is new" in frozen.error
    assert "on_schema_change" in frozen.error
    assert rows_of(folder) == [("R1", 1)]
    (folder / "systems/shop.yaml").write_text(says(SHOP, "{new: evolve}"))
    mended = run(folder).record
    assert (mended.state, mended.rows, mended.id) == ("done", 2, frozen.id)
    assert rows_of(folder) == [("R1", 1), ("R2", 2)]


def test_a_column_that_is_gone_is_frozen_or_null_as_the_entity_says(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(1, "a", 1, "2026-01-01T00:00:00Z")])
    run(folder)
    run_sql(folder / "shop.db", "ALTER TABLE orders DROP COLUMN changed_at")
    frozen = run(folder).record
    assert (frozen.code, "'changed_at' is missing" in frozen.error) == ("engine.bulk-shape", True)
    (folder / "systems/shop.yaml").write_text(says(SHOP, "null_value"))
    assert run(folder).record.passed == 1
    put_again = "ALTER TABLE orders ADD COLUMN changed_at TEXT; UPDATE orders SET changed_at = '2026-01-01T00:00:00Z'"
    run_sql(folder / "shop.db", put_again)
    assert run(folder).record.changes == ["table orders: column 'changed_at' is new"]
    run_sql(folder / "shop.db", "ALTER TABLE orders DROP COLUMN changed_at")
    gone = run(folder).record
    assert (gone.state, gone.changes) == ("done", ["table orders: column 'changed_at' is missing"])
    assert rows_of(folder) == [("R1", 1)]


def test_a_field_that_is_never_null_stays_frozen(tmp_path):
    folder = make(tmp_path, **{"systems/shop.yaml": says(SHOP, "null_value")})
    put_orders(folder, [(1, "a", 1)])
    run(folder)
    run_sql(folder / "shop.db", "ALTER TABLE orders DROP COLUMN name")
    frozen = run(folder).record
    assert (frozen.code, frozen.rows) == ("engine.bulk-shape", 0)
    assert "name: type?" in frozen.error


def test_a_renamed_column_of_a_file_stops_the_run_and_the_file_stays(tmp_path):
    shares = SHARE.replace("name: string", "name: string?")
    folder = make(tmp_path, FROM_FILES, **{"systems/share.yaml": shares})
    arrived = folder / "share/in"
    (arrived / "a.csv").write_text("id,name,total\n1,a,5\n")
    assert run(folder).record.changes == []
    (arrived / "b.csv").write_text("id,label,total\n2,b,6\n")
    frozen = run(folder).record
    assert (frozen.code, frozen.rows) == ("engine.bulk-shape", 0)
    assert frozen.changes == ["in/b.csv: column 'label' is new", "in/b.csv: column 'name' is missing"]
    assert (arrived / "b.csv").exists()
    (arrived / "b.csv").write_text("id,name,total\n2,b,6\n")
    done = run(folder).record
    assert (done.state, done.changes, len(rows_of(folder))) == ("done", [], 2)


def test_json_lines_whose_values_change_their_type_are_told_and_rows_decide(tmp_path):
    shares = SHARE.replace("*.csv", "*.jsonl")
    folder = make(tmp_path, FROM_FILES, **{"systems/share.yaml": shares})
    arrived = folder / "share/in"
    (arrived / "a.jsonl").write_text(json.dumps({"id": 1, "name": "a", "total": 5}) + "\n")
    run(folder)
    (arrived / "b.jsonl").write_text(
        json.dumps({"id": "no", "name": "b", "total": 6}) + "\n" + json.dumps({"id": 3, "name": "c", "total": 7}) + "\n"
    )
    ran = run(folder)
    assert ran.record.changes == [
        "in/b.jsonl: column 'id' is retyped (integer → string);"
        " flow nightly reads it into warehouse.orders.number (mapping file-order)"
    ]
    assert ran.counts == (2, 1, 1, 0)
