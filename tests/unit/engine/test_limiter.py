"""The limit of concurrency finds what a system takes, in virtual time."""

from __future__ import annotations

import asyncio
import io
import itertools

import pytest

from accord.engine.fair import lane_of
from accord.engine.gate import Gate
from accord.engine.limiter import LIMIT_START, WINDOW_MAX, GradientLimit
from accord.observe import Observer
from accord.record import Done, Outcome, Retry
from accord.sdk.connector import RateLimit
from unit.engine.virtual import LoopClock, SimulatedSystem, run_virtual

LANE = lane_of("f", "normal", False)
CALLERS = 200


def _gate(concurrent: int = 64, *, adaptive: bool = True) -> Gate:
    return Gate("s", RateLimit(concurrent=concurrent, adaptive=adaptive), LoopClock(), Observer(stream=io.StringIO()))


async def _load(gate: Gate, system: SimulatedSystem, for_s: float, took: list[float] | None = None) -> None:
    """More callers than the system takes, all the time."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + for_s

    async def caller() -> None:
        while loop.time() < ends:
            if not await gate.enter(LANE):
                await asyncio.sleep(0.1)
                continue
            began = loop.time()
            outcome: Outcome = Done() if await system.answer() else Retry("busy", after_s=0.05, throttled=True)
            gate.leave(outcome, began)
            if took is not None:
                took.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


@pytest.mark.parametrize(("workers", "service_s"), [(2, 0.1), (8, 0.05), (24, 0.2), (5, 1.0)])
def test_a_queueing_system_is_kept_busy_and_hardly_queues(workers: int, service_s: float) -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(workers, service_s)
        await _load(gate, system, 100 * service_s)
        served, took = system.served, list[float]()
        await _load(gate, system, 200 * service_s, took)
        assert system.served - served >= 0.95 * workers * 200, "kept busy"
        assert sorted(took)[len(took) // 2] <= 3.2 * service_s, "few of those under way wait"
        assert gate.limiter.limit <= 3 * workers

    run_virtual(run)


def test_a_system_that_takes_everything_gets_everything() -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(1_000, 0.2)
        assert gate.limiter.limit == LIMIT_START
        await _load(gate, system, 2.0)
        assert gate.limiter.limit == 64

    run_virtual(run)


def test_it_follows_a_system_that_shrinks_and_grows() -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(32, 0.1)
        await _load(gate, system, 20.0)
        assert gate.limiter.limit >= 32
        system.workers = 4
        await _load(gate, system, 20.0)
        assert gate.limiter.limit <= 16
        system.workers = 32
        served = system.served
        await _load(gate, system, 20.0)
        assert system.served - served >= 0.9 * 32 * 200

    run_virtual(run)


def test_a_system_that_becomes_slow_for_its_own_reasons_is_not_starved() -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(1_000, 0.05)
        await _load(gate, system, 5.0)
        system.service_s = 0.4
        await _load(gate, system, 30.0)
        assert gate.limiter.limit == 64

    run_virtual(run)


def test_refusals_shrink_it_and_their_end_lets_it_grow() -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(1_000, 0.1, refuses_above=10)
        await _load(gate, system, 60.0)
        assert system.refused < 0.1 * system.served
        system.refuses_above = 1_000
        await _load(gate, system, 10.0)
        assert gate.limiter.limit == 64

    run_virtual(run)


class Told:
    """Answers one after another, so many under way as the limit allows."""

    def __init__(self, limit_max: int = 64) -> None:
        self.limit = GradientLimit(limit_max)
        self.now_s = 100.0

    def answers(self, count: int, took_s: float, in_flight: int = 0) -> None:
        for _ in range(count):
            self.now_s += took_s
            self.limit.answered(self.now_s - took_s, self.now_s, in_flight or self.limit.limit)


def test_one_refusal_told_by_many_counts_once() -> None:
    told = Told()
    told.answers(200, 0.01)
    assert told.limit.limit == 64
    began_s = told.now_s
    for _ in range(40):
        told.limit.overloaded(began_s=began_s, now_s=began_s + 1.0)
    assert told.limit.limit == 38
    told.limit.overloaded(began_s=began_s + 2.0, now_s=began_s + 3.0)
    assert told.limit.limit == 23


def test_one_slow_answer_moves_nothing() -> None:
    told = Told()
    told.answers(400, 0.1)
    for _ in range(100):
        told.answers(30, 0.1)
        told.answers(1, 30.0)
        assert told.limit.limit == 64


def test_it_never_falls_below_one_and_comes_back() -> None:
    told = Told()
    for moment in range(100):
        told.limit.overloaded(began_s=moment + 0.5, now_s=moment + 1.0)
    assert told.limit.limit == 1
    told.answers(20, 0.1)
    assert told.limit.limit > 1


def test_light_use_tells_nothing() -> None:
    told = Told()
    told.answers(100, 0.1, in_flight=4)
    assert told.limit.limit == 16, "it does not grow beyond twice what is used"
    told.answers(500, 5.0, in_flight=2)
    assert told.limit.limit == 16


def test_a_fixed_limit_stays() -> None:
    async def run() -> None:
        gate, system = _gate(32, adaptive=False), SimulatedSystem(2, 0.1)
        await _load(gate, system, 5.0)
        assert gate.limiter.limit == 32
        assert system.refused == 0

    run_virtual(run)


def test_a_share_bounds_it() -> None:
    async def run() -> None:
        gate, system = _gate(), SimulatedSystem(1_000, 0.1)
        gate.set_share(0.25)
        await _load(gate, system, 5.0)
        assert gate.limiter.limit == 16
        gate.set_share(1.0)
        await _load(gate, system, 5.0)
        assert gate.limiter.limit == 64

    run_virtual(run)


def test_what_may_be_our_own_delay_shrinks_nothing() -> None:
    """A process that gets no processor sees every system slow: fewer requests would only make it slower."""
    is_late = False
    limit = GradientLimit(64, lambda: is_late)

    times_s = itertools.count(1000.0)

    def answers(took_s: float) -> None:
        for began_s in itertools.islice(times_s, WINDOW_MAX):
            limit.answered(began_s, began_s + took_s, limit.limit)

    while limit.limit < 64:
        answers(0.005)
    is_late = True
    answers(0.2)
    assert limit.limit == 64
    is_late = False
    answers(0.2)
    assert limit.limit < 64
