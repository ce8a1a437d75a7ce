"""Profiles of runs: what is counted, what is kept of personal data, and what is told when data changes."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
from tests.unit.engine.bulk.nightly import FILES, NIGHTLY, make, put_orders, run, run_sql

from accord.engine.build import engine_of
from accord.engine.bulk.profile import HASHES_KEPT, Profile, Profiler
from accord.engine.bulk.quality import findings, read_profiles
from accord.engine.bulk.reading import Read
from accord.engine.bulk.targets import Targets
from accord.project import load_project
from accord.record import Field, Retry
from accord.record import types as t
from accord.record.batch import Batch, OddRow
from accord.record.columns import schema_of
from accord.record.watch import Quality
from accord.sdk.connector import LoadFailed

FIELDS = {
    "id": Field(type=t.Integer()),
    "status": Field(type=t.String(), nullable=True),
    "mail": Field(type=t.String(), personal="contact"),
    "total": Field(type=t.Decimal()),
    "at": Field(type=t.DateTime()),
    "tags": Field(type=t.List(t.String())),
}
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def rows(first: int, count: int, status: str = "paid") -> Read:
    numbers = range(first, first + count)
    frame = pl.DataFrame(
        {
            "id": list(numbers),
            "status": [None if n % 4 == 0 else status for n in numbers],
            "mail": [f"secret{n}@example.org" for n in numbers],
            "total": list(numbers),
            "at": [START + dt.timedelta(days=n) for n in numbers],
            "tags": [["x"] for _ in numbers],
        },
        schema=schema_of(FIELDS),
        strict=False,
    )
    return Read(Batch(frame=frame, position=None))


def profiled(*reads: Read, run: str = "1", is_cut_off: bool = False) -> Profile:
    profiler = Profiler(FIELDS, Profile(run=run, started=START))
    for read in reads:
        profiler.add(read)
        if is_cut_off:
            kept = msgspec.json.encode(profiler.profile)
            profiler = Profiler(FIELDS, msgspec.json.decode(kept, type=Profile))
    return profiler.ended(sum(read.rows for read in reads))


def test_chunks_are_counted_together_however_often_the_run_is_cut_off():
    reads = rows(0, 60), rows(60, 40, "new")
    made = profiled(*reads)
    assert msgspec.json.encode(made) == msgspec.json.encode(profiled(*reads, is_cut_off=True))
    assert (made.rows, made.sampled, made.read) == (100, 100, 100)
    of = made.fields
    assert (of["id"].nulls, of["id"].distinct, of["id"].low, of["id"].high) == (0, 100, 0, 99)
    assert (of["status"].nulls, of["status"].values, of["status"].is_complete) == (25, {"paid": 45, "new": 30}, True)
    assert of["status"].patterns == {"a": 75}
    assert (of["total"].low, of["total"].high) == ("0", "99")
    assert of["at"].high == "2026-04-10T00:00:00Z"
    assert (of["tags"].distinct, of["tags"].values) == (None, {})


def test_of_personal_fields_there_are_counts_only():
    made = profiled(rows(1, 100))
    assert made.fields["mail"].distinct == 100
    assert b"secret" not in msgspec.json.encode(made)


def test_many_values_are_estimated_and_kept_in_little_room():
    made = profiled(*(rows(n * 10_000, 10_000) for n in range(5)))
    distinct = made.fields["id"].distinct
    assert distinct is not None
    assert 40_000 < distinct < 60_000  # three standard errors of 256 hashes
    assert not made.fields["id"].is_complete
    assert len(made.fields["id"].values) <= 10
    assert made.fields["id"].hashes == []
    profiler = Profiler(FIELDS, Profile(run="1", started=START))
    profiler.add(rows(0, 10_000))
    assert len(profiler.profile.fields["id"].hashes) == HASHES_KEPT


def test_records_that_came_one_by_one_are_profiled_as_well():
    odd = tuple(OddRow(n, {"id": n, "status": "x", "mail": "m", "total": 1}) for n in range(3))
    made = profiled(Read(Batch(frame=pl.DataFrame(schema=schema_of(FIELDS)), position=None, odd=odd)))
    assert (made.rows, made.fields["id"].high, made.fields["at"].nulls) == (3, 2, 3)


def test_a_sudden_change_is_told_and_a_usual_night_is_not():
    bears = Quality(volume=0.5, nulls=0.05, new_values=True)
    last = [profiled(rows(0, 100), run=str(n)) for n in range(3)]
    assert findings(bears, profiled(rows(0, 120), run="9"), last) == []
    assert findings(None, profiled(rows(0, 1), run="9"), last) == []
    assert findings(bears, profiled(rows(0, 1), run="9"), []) == []
    few = findings(bears, profiled(rows(1, 40, "lost"), run="9"), last)
    assert few == ["40 rows were read, usual are 100 (volume: 50%)", "status: new values 'lost' (new_values)"]


QUALITY = FILES["systems/shop.yaml"].replace(
    "    page_rows: 7", "    page_rows: 7\n    quality: {volume: 50%, nulls: 5 points, new_values: true}"
)


def test_a_run_keeps_its_profile_and_says_what_is_different(tmp_path):
    folder = make(tmp_path, NIGHTLY, **{"systems/shop.yaml": QUALITY.replace("name: string", "name: string?")})
    put_orders(folder, [(n, "x", n) for n in range(1, 36)])
    assert run(folder).record.quality == []
    put_orders(folder, [(n, None if n < 10 else "y", n) for n in range(1, 36)])
    second = run(folder).record
    assert (second.state, second.quality) == (
        "done",
        [
            "name: 25.7% are null, usual are 0.0% (nulls: 5 points)",
            "name: new values 'y' (new_values)",
        ],
    )
    run_sql(folder / "shop.db", "DELETE FROM orders WHERE id > 5")
    assert run(folder).record.quality[0] == "5 rows were read, usual are 35 (volume: 50%)"


def kept_of(folder: Path) -> list[Profile]:
    async def kept() -> list[Profile]:
        engine = engine_of(load_project(folder))
        try:
            await engine.open_journal()
            return await read_profiles(engine.journal, "nightly")
        finally:
            await engine.stop()

    return asyncio.run(kept())


def test_a_run_that_is_taken_up_counts_every_row_once(tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("steps:", "stop_after: 1\nsteps:"))
    put_orders(folder, [(n, "x", -1 if n in (15, 16) else n) for n in range(1, 36)])
    first = run(folder).record
    assert (first.state, first.rows) == ("failed", 10)
    second = run(folder, accept=True).record
    assert (second.state, second.rows, second.id) == ("done", 35, first.id)

    (profile,) = kept_of(folder)
    assert (profile.run, profile.rows, profile.read) == (first.id, 35, 35)
    assert (profile.fields["total"].values["-1"], profile.fields["id"].distinct) == (2, 35)


def test_a_chunk_that_is_read_again_since_its_target_was_away_is_counted_once(tmp_path, monkeypatch):
    folder = make(tmp_path, NIGHTLY)
    put_orders(folder, [(n, "x", n) for n in range(1, 36)])
    write, written = Targets.write, []

    async def away_once(self, begun, mapped):
        written.append(begun.number)
        if len(written) == 2:
            raise LoadFailed(Retry("it is away"))
        return await write(self, begun, mapped)

    monkeypatch.setattr(Targets, "write", away_once)
    assert (run(folder).record.state, written) == ("done", [0, 1, 1, 2, 3])
    (profile,) = kept_of(folder)
    assert (profile.rows, profile.read, sum(profile.fields["name"].values.values())) == (35, 35, 35)
