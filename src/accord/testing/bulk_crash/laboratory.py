"""Lanes of loads side by side, one table."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from accord.observe.crash_points import POINTS
from accord.testing.bulk_crash.loads import Cell, Loads, Plan
from accord.testing.bulk_crash.targets import Target
from accord.testing.crash.lives import Nursery

LOADED = ("polars", "accord.engine.bulk.run", "accord.connectors.files.bulk", "accord.connectors.sql.bulk.load")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    cells: tuple[Cell, ...]
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What must not be; empty when every load ended as it should."""
        return [f"{cell.target} {cell.mode}: {fault}" for cell in self.cells for fault in cell.faults]

    def kills_of(self, target: str) -> int:
        """At random moments."""
        return sum(cell.kills for cell in self.cells if cell.target == target)

    def table(self) -> str:
        """Markdown."""
        lines = [
            "| target | mode | loads | kills at random | at points | reruns | rows due | lost | twice | rejects due | wrong |",
            "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for one in self.cells:
            lines.append(
                f"| {one.target} | {one.mode} | {one.loads} | {one.kills} | {one.at_points} | {one.reruns} | {one.rows:,} | {one.lost} |"
                f" {one.twice} | {one.rejects:,} | {one.rejects_wrong} |"
            )
        return "\n".join(lines)

    def points_table(self) -> str:
        """Markdown: at which crash points, how often."""
        counts: Counter[str] = Counter()
        for cell in self.cells:
            counts.update(cell.points)
        lines = ["| killed at | what is true there | times |", "|---|---|--:|"]
        return "\n".join([*lines, *(f"| `{point}` | {POINTS[point]} | {n} |" for point, n in sorted(counts.items()))])

    def summary(self) -> str:
        random, points = sum(one.kills for one in self.cells), sum(one.at_points for one in self.cells)
        loads, rows = sum(one.loads for one in self.cells), sum(one.rows for one in self.cells)
        return (
            f"{random + points:,} kills ({random:,} at random moments, {points:,} at crash points) of {loads:,} loads in"
            f" {self.seconds:.0f} s; {rows:,} rows compared, {sum(one.lost for one in self.cells)} lost,"
            f" {sum(one.twice for one in self.cells)} twice, {sum(one.rejects_wrong for one in self.cells)} rejects wrong."
        )


async def run_laboratory(folder: Path, plan: Plan, targets: Sequence[Target], lanes: int = 1) -> Report:
    """The targets one after another, ``lanes`` of them at once."""
    began_s = time.monotonic()
    waiting = list(targets)
    found: dict[str, list[Cell]] = {}

    async def lane() -> None:
        async with Nursery(LOADED) as nursery:
            while waiting:
                target = waiting.pop(0)
                found[target.name] = await Loads(folder, target, plan, nursery).run()

    await asyncio.gather(*(lane() for _ in range(lanes)))
    cells = tuple(cell for target in targets for cell in found[target.name])
    return Report(cells=cells, seconds=time.monotonic() - began_s)
