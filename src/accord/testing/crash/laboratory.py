"""Lanes side by side, one result."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from accord.observe.crash_points import POINTS
from accord.testing.crash.counts import Tally
from accord.testing.crash.grounds import Ground, SqliteGround
from accord.testing.crash.lane import RANDOM, Lane, LaneResult, Plan
from accord.testing.crash.project import TARGETS

TOLD_EVERY_S = 30.0  # a full run takes half an hour


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``dead``: dead letters beyond those that had to be. ``holds_left``: effects that should have been taken back.
    ``network``: what the fault proxy did, by toxic."""

    tallies: dict[str, Tally]
    kills: dict[str, int]
    messages: int
    dead: int
    holds_left: int
    refusals: int
    violations: tuple[str, ...]
    network: dict[str, int]
    seconds: float
    store: str
    points: tuple[str, ...] = tuple(POINTS)

    @property
    def faults(self) -> list[str]:
        """What must not be; empty when every guarantee held."""
        found = [*self.violations]
        for target in TARGETS:
            one = self.tallies[target.name]
            repeats = 0 if target.may_repeat else one.duplicated
            for what, count in (
                ("lost", one.lost),
                ("duplicated", repeats),
                ("out of order", one.out_of_order),
                ("unknown", one.unknown),
            ):
                if count:
                    found.append(f"{target.name}: {count} {what}")
        if self.dead:
            found.append(f"{self.dead} dead letters too many")
        if self.holds_left:
            found.append(f"{self.holds_left} effects were not taken back")
        return found

    @property
    def points_missed(self) -> list[str]:
        return [point for point in self.points if not self.kills.get(point)]

    def table(self) -> str:
        """Markdown."""
        lines = [
            "| target | guarantee | effects due | recorded | lost | duplicated | out of order |",
            "|---|---|--:|--:|--:|--:|--:|",
        ]
        for target in TARGETS:
            one = self.tallies[target.name]
            lines.append(
                f"| {target.kind} ({target.name}) | {target.guarantee} | {one.sent:,} | {one.recorded:,} | {one.lost} |"
                f" {one.duplicated}{' (allowed)' if target.may_repeat else ''} | {one.out_of_order} |"
            )
        return "\n".join(lines)

    def kills_table(self) -> str:
        """Markdown: where the engine was killed, how often."""
        lines = ["| killed at | what is true there | times |", "|---|---|--:|"]
        for point in self.points:
            lines.append(f"| `{point}` | {POINTS[point]} | {self.kills.get(point, 0)} |")
        for name in sorted(set(self.kills) - set(POINTS) - {RANDOM}):
            lines.append(
                f"| {name} | under an engine at work, which goes on and is killed later | {self.kills[name]} |"
            )
        lines.append(f"| a random moment | from the start of the process on | {self.kills.get(RANDOM, 0)} |")
        return "\n".join(lines)

    def summary(self) -> str:
        """One paragraph of figures."""
        total = sum(self.kills.values())
        return (
            f"{total:,} kills, {self.messages:,} messages in {self.seconds:.0f} s"
            f" ({total / self.seconds:.1f} kills/s); {self.kills.get(RANDOM, 0):,} kills at random moments,"
            f" {len(self.points) - len(self.points_missed)} of {len(self.points)} crash points reached;"
            f" {len(self.violations)} violations found by `accord journal verify`, {self.dead} dead letters too many,"
            f" {self.holds_left} effects not taken back."
            + "".join(f" Network: {name} {count:,}." for name, count in sorted(self.network.items()))
        )


async def run_laboratory(
    folder: Path,
    plan: Plan,
    lanes: int = 1,
    store: str = "sqlite",
    tell: Callable[[int, int], None] = lambda kills, messages: None,
) -> Report:
    """Splits kills and messages over ``lanes`` engines at once, each in a folder of its own under ``folder``. ``tell`` hears now and then
    how many kills and messages there were so far."""
    grounds = [_ground(store, folder / f"lane{n}") for n in range(lanes)]
    part = msgspec.structs.replace(plan, kills=-(-plan.kills // lanes), messages=-(-plan.messages // lanes))
    plans = [msgspec.structs.replace(part, seed=plan.seed + lane) for lane in range(lanes)]
    engines = [Lane(folder / f"lane{n}", one, grounds[n]) for n, one in enumerate(plans)]
    telling = asyncio.create_task(_tell(engines, tell))
    try:
        results = await asyncio.gather(*(lane.run() for lane in engines))
    finally:
        telling.cancel()
    return _sum(results, tuple(point for point in plan.points if point in grounds[0].points), grounds[0].name)


async def _tell(lanes: list[Lane], tell: Callable[[int, int], None]) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        tell(sum(lane.kills.total() for lane in lanes), sum(lane.taken for lane in lanes))


def _ground(store: str, folder: Path) -> Ground:
    if store == "sqlite":
        return SqliteGround(folder)
    if store == "jetstream":
        from accord.testing.crash.jetstream import JetStreamGround  # its client is an extra

        return JetStreamGround(folder)
    from accord.testing.crash.postgresql import PostgresqlGround  # its driver is an extra

    return PostgresqlGround()


def _sum(results: list[LaneResult], points: tuple[str, ...], store: str) -> Report:
    kills: Counter[str] = Counter()
    for one in results:
        kills.update(one.kills)
    return Report(
        tallies={t.name: sum((one.tallies[t.name] for one in results), Tally()) for t in TARGETS},
        kills=dict(kills),
        messages=sum(one.messages for one in results),
        dead=sum(one.dead for one in results),
        holds_left=sum(one.holds_left for one in results),
        refusals=sum(one.refusals for one in results),
        violations=tuple(v for one in results for v in one.violations),
        network=dict(sum((Counter(one.network) for one in results), Counter())),
        seconds=max(one.seconds for one in results),
        store=store,
        points=points,
    )
