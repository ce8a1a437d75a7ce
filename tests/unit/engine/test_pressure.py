"""Who hears at once and who a little later, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from accord.engine.dispatch import FlowQueue
from accord.engine.pressure import FRESH_MAX, HELD_S_MAX, LATE_FOR_S, LATE_S, QUIET_ROUNDS, ROUND_S, Pressure


class Queue:
    fresh_count = 0


class Bench:
    """``late_s``: how late the loop is at each look."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self.at = 1000.0
        self.queue = Queue()
        self.answered: list[str] = []
        self.pressure = Pressure(cast(Mapping[str, FlowQueue], {"orders": self.queue}), self.now)

    def now(self) -> float:
        return self.at

    async def look(self) -> None:
        """Until the next look has been taken, ``late_s`` too late."""
        self.at += ROUND_S + self.late_s
        timer = self.pressure._timer
        while self.pressure._timer is timer:
            await asyncio.sleep(0)

    def hold(self, name: str) -> None:
        self.pressure.hold(lambda: self.answered.append(name))


def run(work: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        bench.pressure.watch()
        try:
            await asyncio.wait_for(work(bench), 20)
        finally:
            bench.pressure.close()

    asyncio.run(main())


def test_answers_wait_while_the_loop_is_late_and_fresh_messages_pile_up() -> None:
    async def work(bench: Bench) -> None:
        bench.late_s = LATE_S * 2
        bench.queue.fresh_count = FRESH_MAX
        await bench.look()
        assert not bench.pressure.is_high, "no more in memory than deliveries need"
        bench.queue.fresh_count += 1
        await bench.look()
        assert bench.pressure.is_high
        bench.hold("first")
        await bench.look()
        assert bench.answered == []
        bench.queue.fresh_count = 0
        await bench.look()
        assert (bench.pressure.is_high, bench.answered) == (False, ["first"])

    run(work)


def test_a_slow_system_holds_back_nobody() -> None:
    async def work(bench: Bench) -> None:
        bench.queue.fresh_count = FRESH_MAX * 4  # it piles up, and the processor has time
        await bench.look()
        assert not bench.pressure.is_high

    run(work)


def test_nobody_waits_for_longer_than_the_bound() -> None:
    async def work(bench: Bench) -> None:
        bench.late_s = LATE_S * 2
        bench.queue.fresh_count = FRESH_MAX + 1
        await bench.look()
        bench.hold("first")
        looks = 0
        while not bench.answered:
            await bench.look()
            assert bench.pressure.is_high
            looks += 1
        assert looks * (ROUND_S + bench.late_s) <= HELD_S_MAX + ROUND_S + bench.late_s

    run(work)


def test_closing_answers_everybody() -> None:
    async def work(bench: Bench) -> None:
        bench.hold("first")
        bench.hold("second")
        bench.pressure.close()
        assert bench.answered == ["first", "second"]

    run(work)


def test_an_idle_engine_is_not_looked_at() -> None:
    async def work(bench: Bench) -> None:
        for _ in range(QUIET_ROUNDS):
            assert bench.pressure._timer is not None
            await bench.look()
        assert bench.pressure._timer is None
        bench.pressure.watch()
        assert bench.pressure._timer is not None

    run(work)


def test_late_is_remembered_for_a_moment() -> None:
    """An answer measured now may have waited then."""

    async def work(bench: Bench) -> None:
        await bench.look()
        assert not bench.pressure.is_late()
        bench.late_s = LATE_S * 2
        await bench.look()
        bench.late_s = 0.0
        await bench.look()
        assert bench.pressure.is_late()
        bench.at += LATE_FOR_S
        assert not bench.pressure.is_late()

    run(work)
