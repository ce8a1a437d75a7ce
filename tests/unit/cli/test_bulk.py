"""`accord bulk` and `accord rejects` on a project without a running engine."""

from __future__ import annotations

import csv
import json

import pytest
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, rows_of


@pytest.fixture
def folder(tmp_path):
    made = make(tmp_path, NIGHTLY)
    put_orders(made, [(n, "test" if n == 4 else "x", -n if n in (2, 3) else n) for n in range(1, 8)])
    return made


def test_run_prints_how_it_adds_up_and_list_and_show_tell_it_again(run, folder):
    ran = run("bulk", "run", "nightly", "-p", str(folder))
    assert "7 read = 4 passed + 2 rejected + 1 filtered" in ran.out
    assert "warehouse.orders (upsert): 4 given = 4 written + 0 refused" in ran.out
    (shown,) = json.loads(run("bulk", "list", "--json", "-p", str(folder)).out)
    assert (shown["run"]["state"], shown["run"]["rows"]) == ("done", 7)
    assert "7 read = 4 passed" in run("bulk", "show", "nightly", "-p", str(folder)).out
    assert "nightly" in run("status", "-p", str(folder)).out
    assert "exactly-once by chunk" in run("check", "-p", str(folder)).out


def test_check_tells_which_values_are_shown_as_they_were_written(run, folder):
    assert "was written" not in run("check", "-p", str(folder)).out
    mapping = folder / "mappings/order.yaml"
    mapping.write_text(mapping.read_text().replace("text(id)", "text(total)"))
    assert "it shows how total was written" in " ".join(run("check", "-p", str(folder)).out.split())


def test_a_profile_of_what_was_read_is_shown(run, folder):
    missing = run("bulk", "profile", "nightly", "-p", str(folder))
    assert (missing.code, "no profile" in missing.err) == (1, True)
    run("bulk", "run", "nightly", "-p", str(folder))
    shown = run("bulk", "profile", "nightly", "-p", str(folder)).out
    assert "7 of 7 rows" in shown
    assert "'x' 6, 'test' 1" in shown
    found = json.loads(run("bulk", "profile", "nightly", "--json", "-p", str(folder)).out)
    assert (found["fields"]["id"]["low"], found["fields"]["id"]["high"], found["fields"]["id"]["distinct"]) == (1, 7, 7)


def test_unknown_flows_and_nothing_to_resume_are_told(run, folder):
    for words, said in (
        (("run", "nightli"), "Did you mean 'nightly'"),
        (("resume", "nightly"), "is open"),
        (("stop", "nightly"), "under way"),
    ):
        told = run("bulk", *words, "-p", str(folder))
        assert told.code == 1
        assert said in told.err


def test_a_run_with_too_many_rejects_fails_and_goes_on_when_told(run, tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("steps:", "stop_after: 1\nsteps:"))
    put_orders(folder, [(n, "x", -n) for n in range(1, 4)])
    failed = run("bulk", "run", "nightly", "-p", str(folder))
    assert failed.code == 1
    assert "more than 1 rejects" in failed.err
    assert "3 rejected" in run("bulk", "resume", "nightly", "--accept-rejects", "-p", str(folder)).out


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rejects_are_exported_mended_and_replayed(run, folder, form):
    run("bulk", "run", "nightly", "-p", str(folder))
    listed = run("rejects", "list", "--flow", "nightly", "-p", str(folder)).out
    assert "2 record.range total" in listed
    file = folder / f"bad.{form}"
    run("rejects", "export", "--flow", "nightly", "-p", str(folder), str(file))
    if form == "csv":
        rows = list(csv.DictReader(file.read_text().splitlines()))
        assert [row["origin"] for row in rows] == ["table orders row 2", "table orders row 3"]
        rows[0]["record.total"] = "20.5"
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines[0]["record"]["total"] = 20.5
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (
        "1 mended and replayed, 0 still refused, 1 unchanged"
        in run("rejects", "mend", "-p", str(folder), str(file)).out
    )
    left = json.loads(run("rejects", "list", "--json", "-p", str(folder)).out)
    assert [one["key"] for one in left] == ["3"]
    assert "1 replayed" in run("rejects", "replay", "-p", str(folder)).out
    assert len(rows_of(folder)) == 4  # the engine runs what is replayed


def test_a_record_that_is_still_wrong_is_not_replayed(run, folder):
    run("bulk", "run", "nightly", "-p", str(folder))
    file = folder / "bad.jsonl"
    run("rejects", "export", "-p", str(folder), str(file))
    file.write_text(file.read_text().replace("-2", "-20"))
    said = run("rejects", "mend", "-p", str(folder), str(file))
    assert said.code == 1
    assert "0 mended and replayed, 1 still refused, 1 unchanged" in said.out
    assert "total" in said.err
