"""Runs of bulk flows between real databases and files."""

from __future__ import annotations

import sqlite3

from tests.unit.engine.bulk.nightly import FILES, NIGHTLY, make, put_orders, replay, rows_of, run, run_sql

from accord.errors import JournalFull
from accord.journal.group import Journal
from accord.journal.operations import Bury

APPEND = NIGHTLY.replace(
    "warehouse.orders, mapping: order", "warehouse.log, with: {number: name, total: total}, mode: append"
)
CHANGES = APPEND.replace("chunk: 10", "cursor: changed_at, overlap: 1m, chunk: 10")
FROM_FILES = """
flow: nightly
on: {files: share.orders}
read: share.orders
steps:
  - validate: share.orders
  - {write: warehouse.orders, mapping: file-order}
"""


def test_rows_are_mapped_filtered_and_rejected_and_all_add_up(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(n, "test" if n % 10 == 0 else "x", -1 if n % 10 == 5 else n) for n in range(1, 36)])
    ran = run(folder)
    assert (ran.record.state, ran.record.error, ran.record.differences()) == ("done", "", [])
    assert ran.counts == (35, 28, 4, 3)
    assert len(rows_of(folder)) == 28
    assert rows_of(folder)[0] == ("R1", 1)
    letters = [(letter.code, letter.path, letter.step) for letter in ran.rejects]
    assert letters == [("record.range", "total", "0.validate")] * 4
    assert [letter.origin for letter in ran.rejects][:2] == ["table orders row 5", "table orders row 15"]
    again = run(folder)
    assert (again.counts, again.record.again, len(again.rejects)) == ((35, 28, 4, 3), 4, 4)
    assert again.record.writes[0].checksum == ran.record.writes[0].checksum != "0"
    assert len(rows_of(folder)) == 28


def test_nothing_to_do(tmp_path):
    folder = make(tmp_path)
    ran = run(folder)
    assert (ran.record.state, ran.counts, ran.record.differences()) == ("done", (0, 0, 0, 0), [])


def test_a_target_refuses_rows_and_a_mended_one_goes_on_where_it_was(tmp_path):
    two = NIGHTLY + "  - {write: warehouse.log, with: {number: name, total: total}, mode: append}\n"
    folder = make(
        tmp_path, two.replace("  - {write: warehouse.orders, mapping: order}\n", "") + NIGHTLY.splitlines()[-1]
    )
    put_orders(folder, [(1, "a", 5), (2, "b", 5000), (3, "c", 7)])
    ran = run(folder)
    assert ran.counts == (3, 2, 1, 0)
    assert [(one.given, one.written, one.refused) for one in ran.record.writes] == [(3, 3, 0), (3, 2, 1)]
    assert ran.record.differences() == []
    (letter,) = ran.rejects
    assert (letter.step, letter.code) == ("3.write", "connector.sql-value")
    assert replay(folder, letter.seq, '{"id": 2, "name": "b", "total": 50}') == []
    assert rows_of(folder) == [("R1", 5), ("R2", 50), ("R3", 7)]
    assert [number for number, _ in rows_of(folder, "log")] == ["a", "b", "c"]  # b was there: it is not written again


def test_too_many_rejects_stop_the_load_before_it_does_harm(tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("steps:", "stop_after: 20% rejects\nsteps:"))
    put_orders(folder, [(n, "x", -1 if n > 10 else n) for n in range(1, 31)])
    ran = run(folder)
    assert (ran.record.state, ran.record.code) == ("failed", "engine.bulk-rejects")
    assert "--accept-rejects" in ran.record.error
    assert len(rows_of(folder)) == 10  # the first chunk
    assert 0 < len(ran.rejects) < 20
    again = run(folder)
    assert (again.record.state, again.record.id, len(rows_of(folder))) == ("failed", ran.record.id, 10)
    accepted = run(folder, accept=True)
    assert (accepted.record.state, accepted.counts, len(rows_of(folder))) == ("done", (30, 10, 20, 0), 10)
    assert (accepted.record.id, len(accepted.rejects)) == (ran.record.id, 20)


def test_an_open_run_is_given_up_only_when_told(tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("steps:", "stop_after: 0\nsteps:"))
    put_orders(folder, [(1, "x", -1)])
    first = run(folder)
    put_orders(folder, [(1, "x", 1)])
    fresh = run(folder, fresh=True)
    assert (fresh.record.state, fresh.record.id != first.record.id) == ("done", True)
    assert rows_of(folder) == [("R1", 1)]


def test_changes_are_read_by_a_cursor_without_gaps_at_ties_or_duplicates(tmp_path):
    folder = make(tmp_path, CHANGES)
    at = "2026-01-01 10:00:00"
    put_orders(folder, [(n, f"n{n}", n, at) for n in range(1, 16)])
    assert run(folder).counts == (15, 15, 0, 0)
    put_orders(
        folder,
        [(16, "same time", 1, at), (17, "late", 1, "2026-01-01 09:59:30"), (18, "new", 1, "2026-01-02 10:00:00")],
    )
    second = run(folder)
    assert (second.record.passed, second.record.known, second.record.differences()) == (3, 15, [])
    assert len(rows_of(folder, "log")) == 18
    third = run(folder)
    assert (third.record.passed, third.record.known) == (0, 1)
    put_orders(folder, [(18, "changed", 1, "2026-01-02 10:00:30")])
    fourth = run(folder)
    assert (fourth.record.passed, fourth.record.known) == (1, 0)
    names = [name for name, _ in rows_of(folder, "log")]
    assert len(names) == 19
    assert {"same time", "late", "new", "changed"} <= set(names)


def test_files_are_loaded_and_moved_and_their_rejects_name_the_row(tmp_path):
    folder = make(tmp_path, FROM_FILES)
    (folder / "share/in/a.csv").write_text("id,name,total\n" + "".join(f"{n},x,{n}\n" for n in range(1, 9)))
    (folder / "share/in/b.csv").write_text("id,name,total\n9,x,9\nten,x,1\n11,x\n")
    ran = run(folder, when_empty=False)
    assert (ran.record.state, ran.counts) == ("done", (11, 9, 2, 0))
    assert sorted(letter.origin for letter in ran.rejects) == ["in/b.csv row 2", "in/b.csv row 3"]
    assert list((folder / "share/in").iterdir()) == []
    assert len(rows_of(folder)) == 9
    empty = run(folder, when_empty=False)
    assert empty.record.rows == 0
    (folder / "share/in/c.csv").write_text("id,name,total\n12,x,12\n")
    assert run(folder, when_empty=False).counts == (1, 1, 0, 0)


def test_a_source_that_is_gone_is_asked_again_and_then_given_up_with_a_cure(tmp_path):
    folder = make(tmp_path, NIGHTLY + "on_error: {attempts: 2, first: 10ms}\n")
    put_orders(folder, [(1, "a", 5)])
    run_sql(folder / "shop.db", "ALTER TABLE orders RENAME TO elsewhere")
    ran = run(folder)
    assert ran.record.state == "failed"
    assert "orders" in ran.record.error
    run_sql(folder / "shop.db", "ALTER TABLE elsewhere RENAME TO orders")
    assert run(folder).counts == (1, 1, 0, 0)


def test_a_locked_target_is_waited_for(tmp_path):
    impatient = FILES["systems/warehouse.yaml"].replace('.db"}', '.db", statement_timeout: 300ms}')
    flow = NIGHTLY + "on_error: {attempts: 2, first: 10ms}\n"
    folder = make(tmp_path, flow, **{"systems/warehouse.yaml": impatient})
    put_orders(folder, [(1, "a", 5)])
    lock = sqlite3.connect(folder / "warehouse.db")
    lock.execute("BEGIN EXCLUSIVE")
    ran = run(folder)
    lock.rollback()
    lock.close()
    assert (ran.record.state, ran.record.rows) == ("failed", 0)
    assert "accord bulk resume" in ran.record.error
    assert run(folder).counts == (1, 1, 0, 0)
    assert rows_of(folder) == [("R1", 5)]


def test_rejects_the_journal_could_not_take_are_not_lost(tmp_path, monkeypatch):
    folder = make(tmp_path, NIGHTLY + "on_error: {attempts: 2, first: 10ms}\n")
    put_orders(folder, [(n, "x", -1 if n % 5 == 0 else n) for n in range(1, 31)])
    submit = Journal.submit
    failing = [2]

    def submit_or_fail(journal, operation):
        if isinstance(operation, Bury) and operation.rejected:
            failing[0] -= 1
            if failing[0] == 0:
                raise JournalFull("No room is left.", mend="Make room.")
        return submit(journal, operation)

    monkeypatch.setattr(Journal, "submit", submit_or_fail)
    ran = run(folder)
    assert (ran.record.state, ran.counts, ran.record.differences()) == ("done", (30, 24, 6, 0), [])
    assert len(ran.rejects) == 6
