"""Bulk flows in a running engine: asked for, by the clock, stopped, paused, taken up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.bulk.nightly import NIGHTLY, make, put_orders, rows_of

from accord.engine.build import engine_of
from accord.engine.bulk import state as bulk_state
from accord.engine.bulk.desk import BulkAskFault
from accord.engine.bulk.state import BulkState, RunRecord, cursor_of, state_cursor
from accord.engine.engine import Engine
from accord.journal.operations import SaveCursors
from accord.project import load_project

DEADLINE_S = 30.0


def in_engine(folder: Path, work: Callable[[Engine], Awaitable[None]]) -> None:
    async def play() -> None:
        engine = engine_of(load_project(folder), address="127.0.0.1:0")
        await engine.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await work(engine)
        finally:
            await engine.stop()

    asyncio.run(play())


async def ended(engine: Engine, state: str = "done") -> dict[str, Any]:
    """The run once it has come to this state."""
    while True:
        view = await engine.bulk.view("nightly")
        run: dict[str, Any] | None = view["run"]
        if run is not None and run["state"] == state and not view["is_asked"]:
            return run
        await asyncio.sleep(0.02)


def test_a_run_is_asked_for_and_shown_in_the_status(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(n, "x", n) for n in range(1, 26)])

    async def work(engine: Engine) -> None:
        await engine.control.bulk.ask("nightly", "run")
        run = await ended(engine)
        assert (run["rows"], run["passed"], run["differences"]) == (25, 25, [])
        (shown,) = (await engine.control.status())["bulk"]
        assert (shown["flow"], shown["run"]["id"], shown["next"]) == ("nightly", run["id"], None)
        assert [one["id"] for one in await engine.bulk.runs("nightly")] == [run["id"]]
        with pytest.raises(BulkAskFault):
            await engine.control.bulk.ask("nightly", "stop")
        with pytest.raises(BulkAskFault, match="nightly"):
            await engine.control.bulk.ask("nightli", "run")
        await engine.control.bulk.ask("nightly", "run")
        while (await ended(engine))["id"] == run["id"]:
            await asyncio.sleep(0.02)

    in_engine(folder, work)
    assert len(rows_of(folder)) == 25


def test_a_schedule_runs_it(tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("on: manual", "on: {schedule: {every: 200ms}}"))
    put_orders(folder, [(1, "x", 1)])

    async def work(engine: Engine) -> None:
        first = await ended(engine)
        while len(await engine.bulk.runs("nightly")) < 3:
            await asyncio.sleep(0.05)
        assert first["rows"] == 1

    in_engine(folder, work)


def test_files_that_arrive_are_loaded_and_no_files_leave_no_run(tmp_path):
    flow = """
flow: nightly
on: {files: share.orders, every: 100ms}
read: share.orders
steps: [{write: warehouse.orders, mapping: file-order}]
"""
    folder = make(tmp_path, flow)

    async def work(engine: Engine) -> None:
        await asyncio.sleep(0.3)
        assert (await engine.bulk.view("nightly"))["run"] is None
        (folder / "share/in/a.csv").write_text("id,name,total\n1,x,1\n2,x,2\n")
        assert (await ended(engine))["rows"] == 2

    in_engine(folder, work)
    assert len(rows_of(folder)) == 2


def test_a_run_that_was_cut_off_is_taken_up_when_the_engine_starts(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(n, "x", n) for n in range(1, 6)])
    project = load_project(folder)

    async def cut_off() -> None:
        engine = engine_of(project)
        await engine.open_journal()
        record = RunRecord(id="r1", flow="nightly", started=engine.clock.now())
        record.writes = [bulk_state.WriteCounts(path="2.write", target="warehouse.orders", mode="upsert")]
        await engine.journal.submit(SaveCursors((cursor_of(state_cursor("nightly"), BulkState(run=record)),)))
        await engine.stop()

    asyncio.run(cut_off())

    async def work(engine: Engine) -> None:
        run = await ended(engine)
        assert (run["id"], run["rows"], run["resumed"]) == ("r1", 5, 1)

    in_engine(folder, work)


def test_a_paused_flow_does_not_run_until_it_is_resumed(tmp_path):
    folder = make(tmp_path)
    put_orders(folder, [(1, "x", 1)])

    async def work(engine: Engine) -> None:
        await engine.control.pause("flow", "nightly")
        await engine.control.bulk.ask("nightly", "run")
        await asyncio.sleep(1.2)
        view = await engine.bulk.view("nightly")
        assert (view["run"], view["is_asked"]) == (None, True)
        await engine.control.resume("flow", "nightly")
        assert (await ended(engine))["rows"] == 1

    in_engine(folder, work)


def test_a_run_stops_at_a_chunk_and_goes_on_behind_it(tmp_path):
    folder = make(tmp_path, NIGHTLY.replace("chunk: 10", "chunk: 2"))
    put_orders(folder, [(n, "x", n) for n in range(1, 201)])

    async def play() -> None:
        engine = engine_of(load_project(folder))
        try:
            await engine.open_journal()
            await engine.connect()
            work = asyncio.ensure_future(engine.bulk.run_here("nightly"))
            while (present := engine.bulk.present("nightly")) is None or present.chunk < 3:
                await asyncio.sleep(0)
            engine.bulk.stop_here("nightly")
            stopped = await work
            assert (stopped.state, stopped.is_open, stopped.differences()) == ("stopped", True, [])
            assert 6 <= stopped.rows < 200
            assert stopped.rows == 2 * stopped.chunk
            assert len(rows_of(folder)) == stopped.rows
            done = await engine.bulk.run_here("nightly")
            assert (done.id, done.state, done.rows, done.resumed) == (stopped.id, "done", 200, 1)
        finally:
            await engine.stop()

    asyncio.run(play())
    assert len(rows_of(folder)) == 200
