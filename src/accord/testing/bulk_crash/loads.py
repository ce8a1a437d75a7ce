"""One load after another of one target: killed at random moments and at crash points, run again to its end, then counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from accord.engine.bulk.state import BulkState, state_cursor
from accord.journal.operations import State
from accord.journal.stores.sqlite_verify import verify
from accord.observe.crash_points import POINTS, VARIABLE
from accord.sdk.bulk import LoadMode
from accord.testing.bulk_crash.source import SOURCES, Orders, Shown
from accord.testing.bulk_crash.targets import Target
from accord.testing.crash.lives import Nursery

KILL_POINTS = (*(point for point in POINTS if point.startswith("bulk.")), "commit.before-sync", "commit.after-sync")
FLOW = "load"
KILLS_OF_A_LOAD_MAX = 3
RUN_WITHIN_S = 120.0
CHUNKS = 16
_ONCE = ("bulk.before-finish", "bulk.after-finish")  # passed once in a load
_SHOP = """
system: shop
connector: sql
settings: {url: "sqlite:///shop.db"}
entities:
  orders: {key: id, fields: {id: integer, name: string, total: {type: decimal, min: 0}}}
"""
_SHARE = """
system: shop
connector: files
settings: {folder: share, stable: 0s}
entities:
  orders: {pattern: in/*.csv, key: id, fields: {id: integer, name: string, total: {type: decimal, min: 0}}}
"""
_MAPPING = """
mapping: order
from: shop.orders
to: warehouse.orders
fields: {number: '"R" + text(id)', name: name, total: total}
"""
_FLOW = """
flow: {flow}
on: manual
read: {{entity: shop.orders, chunk: {chunk}}}
stop_after: 10% rejects
steps:
  - validate: shop.orders
  - {{write: warehouse.orders, mapping: order, mode: {mode}{more}}}
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``kills``: at random moments, of each target over all its modes. ``points``: crash points, each once in every mode of a target;
    every ``points_every``-th of them only. ``is_measured_often``: how long a load takes is measured in every mode, not in the first one
    only. ``seconds_max``: no load begins after so long."""

    kills: int = 100
    rows: int = 4000
    seed: int = 1
    points: tuple[str, ...] = KILL_POINTS
    points_every: int = 1
    is_measured_often: bool = True
    seconds_max: float = 3600.0


class Cell(msgspec.Struct, kw_only=True):
    """What became of the loads of one target in one mode. Rows are counted over all loads; ``faults`` names what else was wrong."""

    target: str
    mode: str
    loads: int = 0
    kills: int = 0
    at_points: int = 0
    reruns: int = 0
    rows: int = 0
    lost: int = 0
    twice: int = 0
    rejects: int = 0
    rejects_wrong: int = 0
    faults: list[str] = []
    points: dict[str, int] = {}


class Loads:
    """Use ``run`` once. ``folder`` must exist; a load's project is removed when it was right."""

    def __init__(self, folder: Path, target: Target, plan: Plan, nursery: Nursery) -> None:
        self._folder = folder
        self._target = target
        self._plan = plan
        self._nursery = nursery
        self._chance = random.Random(f"{plan.seed}/{target.name}")
        self._count = 0

    async def run(self) -> list[Cell]:
        ends = time.monotonic() + self._plan.seconds_max
        quota = -(-self._plan.kills // len(self._target.modes))
        cells = []
        first = self._chance.randrange(self._plan.points_every)
        length_s = RUN_WITHIN_S
        for shift, mode in enumerate(self._target.modes, first):
            cell = Cell(target=self._target.name, mode=mode.value)
            cells.append(cell)
            points = list(self._plan.points[shift % self._plan.points_every :: self._plan.points_every])
            if shift == first or self._plan.is_measured_often:
                length_s = await self._load(cell, mode, [], RUN_WITHIN_S)
            while (cell.kills < quota or points) and time.monotonic() < ends:
                at = [points.pop()] if points else []
                wanted = min(KILLS_OF_A_LOAD_MAX - len(at), quota - cell.kills)
                length_s = await self._load(cell, mode, [*at, *[""] * max(0, wanted)], length_s)
                if cell.faults:
                    break
        return cells

    async def _load(self, cell: Cell, mode: LoadMode, blows: list[str], length_s: float) -> float:
        """One load to its end. ``blows``: crash points, or '' for a moment within ``length_s``, the time a whole load takes: the answer is
        the shortest one so far."""
        self._count += 1
        name = f"load_{self._target.name}_{self._count}"
        folder = self._folder / name
        orders = Orders(self._plan.rows, self._chance.randrange(2**32))
        source = SOURCES[self._count % len(SOURCES)]
        await asyncio.to_thread(self._prepare, name, folder, mode, orders, source)
        killed: list[str] = []
        is_done = False
        began_s = time.monotonic()
        for blow in blows:
            code, at = await self._killed_run(folder, blow, length_s)
            if code == -signal.SIGKILL:
                killed.append(at)
                cell.kills += not blow
                cell.at_points += bool(blow)
                if blow:
                    cell.points = {**cell.points, blow: cell.points.get(blow, 0) + 1}
                is_done = await asyncio.to_thread(_is_done, folder)
                if not is_done:
                    continue
            is_done = is_done or code == 0
            if not is_done:
                cell.faults = [*cell.faults, f"{name}: ended with {code}: {_tail(folder)}"]
            break
        cell.reruns += bool(killed)
        if not is_done:
            code = await self._run(folder, {}, RUN_WITHIN_S)
            if code != 0:
                cell.faults = [*cell.faults, f"{name}: ended with {code} after kills at {killed}: {_tail(folder)}"]
        took_s = time.monotonic() - began_s
        cell.loads += 1
        found = await asyncio.to_thread(self._counted, cell, name, folder, mode, orders)
        if found:
            cell.faults = [*cell.faults, *(f"{name} ({source}, killed at {killed}): {one}" for one in found)]
        else:
            await asyncio.to_thread(self._target.forget, name)
            await asyncio.to_thread(shutil.rmtree, folder)
        return length_s if killed else min(length_s, took_s)

    async def _killed_run(self, folder: Path, blow: str, length_s: float) -> tuple[int | None, str]:
        """Its exit code, and the moment that was chosen."""
        if blow:
            at = f"{blow}:{1 if blow in _ONCE else self._chance.randint(1, CHUNKS // 2)}"
            return await self._run(folder, {VARIABLE: at}, RUN_WITHIN_S), at
        after_s = self._chance.uniform(0.0, length_s)
        return await self._run(folder, {}, after_s), f"{after_s:.3f} s"

    async def _run(self, folder: Path, environment: dict[str, str], within_s: float) -> int | None:
        """`accord bulk run`, killed after ``within_s``; its exit code."""
        log = folder / "accord.log"
        life = await self._nursery.start(["bulk", "run", FLOW, "-p", str(folder)], environment, log)
        if await life.wait(within_s) is None:
            life.signal(signal.SIGKILL)
        return await life.wait()

    def _prepare(self, name: str, folder: Path, mode: LoadMode, orders: Orders, source: str) -> None:
        more = ", deleted_share_max: 1" if mode is LoadMode.DELETE_MISSING else ""
        files = {
            "accord.yaml": "name: crash\n",
            "systems/shop.yaml": _SHARE if source == "files" else _SHOP,
            "systems/warehouse.yaml": self._target.system(name, mode),
            "mappings/order.yaml": _MAPPING,
            "flows/load.yaml": _FLOW.format(flow=FLOW, chunk=-(-self._plan.rows // CHUNKS), mode=mode.value, more=more),
        }
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        orders.put(folder, source)
        self._target.prepare(name, folder, mode, orders.before(mode))

    def _counted(self, cell: Cell, name: str, folder: Path, mode: LoadMode, orders: Orders) -> list[str]:
        """Adds to the cell's counts; what was wrong."""
        refuses = mode in self._target.refuses
        expected = Counter(orders.expected(mode, refuses=refuses))
        rows, left = self._target.shown(name, folder, mode)
        found = Counter(rows)
        rejected = Counter(_rejected(folder))
        due = Counter(orders.rejected(refuses=refuses))
        wrong = (rejected - due) + (due - rejected)
        lost, twice = expected - found, found - expected
        cell.rows += expected.total()
        cell.lost += lost.total()
        cell.twice += twice.total()
        cell.rejects += due.total()
        cell.rejects_wrong += wrong.total()
        return [*_told(lost, twice, wrong, left), *verify(folder / ".accord/journal.db"), *_files_left(folder)]


def _told(lost: Counter[Shown], twice: Counter[Shown], wrong: Counter[str], left: list[str]) -> Iterator[str]:
    counts: tuple[tuple[str, Counter[Any]], ...] = (("lost", lost), ("too many", twice), ("rejects wrong", wrong))
    for what, rows in counts:
        if rows:
            yield f"{rows.total()} {what}, such as {next(iter(rows))}"
    if left:
        yield f"left over: {', '.join(left)}"


def _is_done(folder: Path) -> bool:
    """The run's end is in the journal: the process was killed after it, and one more would begin the next run."""
    journal = folder / ".accord/journal.db"
    if not journal.exists():
        return False
    with contextlib.closing(sqlite3.connect(journal)) as db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'cursors'").fetchone() is None:
            return False
        found = db.execute("SELECT position FROM cursors WHERE name = ?", (state_cursor(FLOW),)).fetchone()
    state = msgspec.json.decode(found[0], type=BulkState) if found else BulkState()
    return state.run is not None and state.run.state == "done"


def _rejected(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / ".accord/journal.db")) as db:
        return [key for (key,) in db.execute("SELECT key FROM messages WHERE state = ?", (int(State.DEAD),))]


def _files_left(folder: Path) -> list[str]:
    """Files that were read to their end go away."""
    return [f"{path.name} was read and is still there" for path in sorted(folder.glob("share/in/*"))]


def _tail(folder: Path) -> str:
    log = folder / "accord.log"
    return " ".join(log.read_text(errors="replace")[-600:].split()) if log.exists() else ""
