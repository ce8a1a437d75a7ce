"""A run is cut off while a chunk is on its way, and the source holds other rows when it is taken up: none is lost, none there twice."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from tests.unit.engine.bulk.nightly import NIGHTLY, Ran, make, put_orders, rows_of, run, run_sql

ONCE = "on_error: {attempts: 1}\n"
APPENDS = NIGHTLY.replace("mapping: order", "with: {number: name, total: total}, mode: append").replace(
    ".orders, w", ".log, w"
)
CHANGES = APPENDS.replace("chunk: 10}", "chunk: 10, cursor: changed_at, overlap: 1m}")
AT = "2026-01-01 10:00:{:02}"
LATER = "2026-01-02 10:00:00"
FIELDS = "key: number, fields: {number: string, total: decimal}"
TARGETS = {
    "sqlite": "",
    "duckdb": "connector: duckdb\nsettings: {file: warehouse.duckdb}\n"
    f"entities:\n  log: {{{FIELDS}}}\n  orders: {{{FIELDS}}}\n",
    "parquet": "connector: files\nsettings: {folder: out}\n"
    f"entities:\n  log: {{dataset: log, {FIELDS}}}\n  orders: {{dataset: orders, {FIELDS}}}\n",
}


def make_for(kind: str, folder: Path, flow: str) -> Path:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return make(
        folder,
        flow + ONCE,
        **({"systems/warehouse.yaml": "system: warehouse\n" + TARGETS[kind]} if TARGETS[kind] else {}),
    )


def names_in(kind: str, folder: Path) -> list[str]:
    match kind:
        case "sqlite":
            return sorted(name for name, _ in rows_of(folder, "log"))
        case "duckdb":
            with duckdb.connect(str(folder / "warehouse.duckdb")) as db:
                return sorted(name for (name,) in db.execute("SELECT number FROM log").fetchall())
        case _:
            return sorted(
                name for path in (folder / "out/log").glob("*.parquet") for name in pl.read_parquet(path)["number"]
            )


class Cut(Exception):
    pass


def run_cut_off(folder: Path, point: str, nth: int) -> Ran:
    """Ends as if the process had, when it passes the point for the ``nth`` time."""
    passes = 0

    def passed(name: str) -> None:
        nonlocal passes
        passes += name == point
        if name == point and passes == nth:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accord.observe.crash_points._armed", passed)
        ran = run(folder)
    assert passes == nth, "the run never came there"
    assert ran.record.state == "failed"
    return ran


def names(*numbers: int) -> list[str]:
    return sorted(f"n{number}" for number in numbers)


def put(folder: Path, *numbers: int, total: int = 1, at: str = "") -> None:
    put_orders(folder, [(n, f"n{n}", total, at or AT.format(n)) for n in numbers])


@pytest.mark.parametrize("kind", TARGETS)
def test_a_last_chunk_that_would_be_longer_now(tmp_path: Path, kind: str) -> None:
    folder = make_for(kind, tmp_path, CHANGES)
    put(folder, *range(1, 15))
    run_cut_off(folder, "bulk.before-checkpoint", 2)
    put(folder, 15, 16, at=LATER)
    resumed, after = run(folder), run(folder)
    assert [one.record.state for one in (resumed, after)] == ["done", "done"]
    assert [one.record.differences() for one in (resumed, after)] == [[], []]
    assert names_in(kind, folder) == names(*range(1, 17))
    assert (resumed.record.rows, after.record.passed) == (14, 2)
    assert run(folder).record.passed == 0


@pytest.mark.parametrize("kind", TARGETS)
def test_rows_of_the_chunk_are_gone_and_others_would_move_up(tmp_path: Path, kind: str) -> None:
    folder = make_for(kind, tmp_path, APPENDS)
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.before-checkpoint", 2)
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id IN (12, 14)")
    resumed = run(folder)
    assert (resumed.record.state, resumed.record.differences(), resumed.record.rows) == ("done", [], 30)
    assert names_in(kind, folder) == names(*range(1, 31))


def test_a_row_of_the_chunk_was_changed_and_is_at_the_end_now(tmp_path: Path) -> None:
    upserts = NIGHTLY.replace("chunk: 10}", "chunk: 10, cursor: changed_at, overlap: 1s}")
    folder = make(tmp_path, upserts + ONCE)
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.before-checkpoint", 2)
    put(folder, 15, total=99, at=LATER)
    assert run(folder).record.differences() == []
    run(folder)
    assert rows_of(folder) == sorted((f"R{n}", 99 if n == 15 else 1) for n in range(1, 31))


def test_a_reject_that_was_mended_at_its_source_is_still_one(tmp_path: Path) -> None:
    folder = make(tmp_path, APPENDS + ONCE)
    put(folder, *range(1, 31))
    put(folder, 15, total=-1)
    cut = run_cut_off(folder, "bulk.before-checkpoint", 2)
    assert [letter.key for letter in cut.rejects] == ["15"]
    put(folder, 15, total=1)
    resumed = run(folder)
    assert (resumed.record.rejected, resumed.record.differences()) == (1, [])
    assert [letter.key for letter in resumed.rejects] == ["15"]
    assert names_in("sqlite", folder) == names(*(set(range(1, 31)) - {15}))


@pytest.mark.parametrize("point", ["bulk.noted", "bulk.before-write"])
def test_a_chunk_that_no_target_has_is_what_the_source_holds_now(tmp_path: Path, point: str) -> None:
    folder = make(tmp_path, APPENDS + ONCE)
    put(folder, *range(1, 31))
    run_cut_off(folder, point, 2)
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id = 12")
    resumed = run(folder)
    assert (resumed.record.state, resumed.record.rows, resumed.record.differences()) == ("done", 29, [])
    assert names_in("sqlite", folder) == names(*(set(range(1, 31)) - {12}))


def test_a_row_that_is_refused_now_in_the_place_of_another_is_kept_too(tmp_path: Path) -> None:
    folder = make(tmp_path, APPENDS + ONCE)
    put(folder, *range(1, 31))
    put(folder, 15, 21, total=-1)
    run_cut_off(folder, "bulk.noted", 2)
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id = 15")
    resumed = run(folder)
    assert (resumed.record.state, resumed.record.rejected, resumed.record.differences()) == ("done", 1, [])
    assert sorted(letter.key for letter in resumed.rejects) == ["15", "21"]
    assert names_in("sqlite", folder) == names(*(set(range(1, 31)) - {15, 21}))


def test_a_refused_row_that_was_changed_and_is_refused_again_is_kept_as_both(tmp_path: Path) -> None:
    folder = make(tmp_path, APPENDS + ONCE)
    put(folder, *range(1, 31))
    put(folder, 15, total=-1)
    run_cut_off(folder, "bulk.noted", 2)
    put(folder, 15, total=-2)
    resumed = run(folder)
    assert (resumed.record.state, resumed.record.rejected, resumed.record.differences()) == ("done", 1, [])
    assert [letter.key for letter in resumed.rejects] == ["15", "15"]
    assert len({letter.id for letter in resumed.rejects}) == 2


TWO = APPENDS.replace("  - {write", "  - {write: warehouse.orders, mapping: order, mode: append}\n  - {write")


def test_what_one_target_has_and_another_has_not_stops_the_run_only_if_it_changed(tmp_path: Path) -> None:
    folder = make(tmp_path, TWO + ONCE)
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.after-write", 3)
    same = run(folder)
    assert (same.record.state, same.record.differences()) == ("done", [])
    assert names_in("sqlite", folder) == names(*range(1, 31))
    assert len(rows_of(folder)) == 30


def test_what_one_target_has_of_a_chunk_that_changed_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path, TWO + ONCE)
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.after-write", 3)
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id = 12")
    changed = run(folder)
    assert (changed.record.state, changed.record.code) == ("failed", "engine.bulk-changed")
    assert "chunk 1" in changed.record.error and "--fresh" in changed.record.error
    assert names_in("sqlite", folder) == names(*range(1, 11))
    run_sql(folder / "warehouse.db", "DELETE FROM orders; DELETE FROM log")
    fresh = run(folder, fresh=True)
    assert (fresh.record.state, fresh.record.differences()) == ("done", [])
    assert len(rows_of(folder)) == len(rows_of(folder, "log")) == 29


def test_what_one_target_has_of_a_chunk_is_written_over_by_an_upsert(tmp_path: Path) -> None:
    folder = make(tmp_path, TWO.replace("mode: append", "mode: upsert") + ONCE)
    run_sql(folder / "warehouse.db", "CREATE UNIQUE INDEX one ON log (number)")
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.after-write", 3)
    put(folder, 12, total=7)
    done = run(folder)
    assert (done.record.state, done.record.differences()) == ("done", [])
    assert rows_of(folder) == sorted((f"R{n}", 7 if n == 12 else 1) for n in range(1, 31))
    assert len(rows_of(folder, "log")) == 30


def swap(folder: Path) -> None:
    """Rows 12 and 13 of the shop: the targets are given the same rows in another order."""
    put_orders(folder, [(12, "n13", 1, AT.format(12)), (13, "n12", 1, AT.format(13))])


def test_another_order_of_the_rows_is_the_same_chunk_to_targets_that_have_it_whole(tmp_path: Path) -> None:
    folder = make(tmp_path, TWO + ONCE)
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.after-write", 3)
    swap(folder)
    same = run(folder)
    assert (same.record.state, same.record.differences()) == ("done", [])
    assert names_in("sqlite", folder) == names(*range(1, 31))
    assert len(rows_of(folder)) == 30


def test_another_order_of_the_rows_is_another_chunk_when_a_target_has_refused_some_by_their_place(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path, APPENDS + ONCE)
    run_sql(folder / "warehouse.db", "CREATE UNIQUE INDEX one ON log (number); INSERT INTO log VALUES ('n13', 0)")
    put(folder, *range(1, 31))
    run_cut_off(folder, "bulk.before-checkpoint", 2)
    swap(folder)
    changed = run(folder)
    assert (changed.record.state, changed.record.code) == ("failed", "engine.bulk-changed")
