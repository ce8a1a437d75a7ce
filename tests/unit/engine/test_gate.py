"""Breaker and gate on a clock of the test's own."""

from __future__ import annotations

import asyncio
import datetime as dt
import io

from accord.engine.breaker import OPEN_FIRST_S, OPEN_LONGEST_S, Breaker
from accord.engine.fair import lane_of
from accord.engine.gate import Gate
from accord.observe import Observer
from accord.record import Done, Reconnect, Reject, Retry
from accord.sdk.connector import RateLimit


class HandClock:
    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.at, dt.UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def test_three_hard_failures_open_and_one_probe_closes() -> None:
    clock = HandClock()
    breaker = Breaker(clock)
    assert [breaker.failure("gone") for _ in range(3)] == [False, False, True]
    assert not breaker.allow()
    clock.at += OPEN_FIRST_S
    assert breaker.allow()
    assert not breaker.allow(), "only one probe at a time"
    assert breaker.success()
    assert breaker.allow()


def test_a_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    clock = HandClock()
    breaker = Breaker(clock)
    for _ in range(3):
        breaker.failure("gone")
    waits = []
    for _ in range(10):
        clock.at += breaker.wait_s()
        assert breaker.allow()
        breaker.failure("gone")
        waits.append(breaker.wait_s())
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-1] == OPEN_LONGEST_S


def test_soft_failures_weigh_less_and_a_success_forgets_them() -> None:
    breaker = Breaker(HandClock())
    for _ in range(9):
        assert not breaker.failure("500", is_hard=False)
    breaker.success()
    opened = [breaker.failure("500", is_hard=False) for _ in range(10)]
    assert opened == [False] * 9 + [True]


def _gate(limit: RateLimit, clock: HandClock) -> Gate:
    return Gate("s", limit, clock, Observer(stream=io.StringIO()))


def test_the_rate_is_kept_over_time() -> None:
    async def run() -> None:
        clock = HandClock()
        gate = _gate(RateLimit(requests=10, per_s=1.0), clock)
        started = clock.at
        for _ in range(50):
            assert await gate.enter()
            gate.leave(Done())
        assert 3.9 <= clock.at - started <= 4.1

    asyncio.run(run())


def test_a_throttled_answer_pauses_everyone_and_does_not_open_the_breaker() -> None:
    async def run() -> None:
        clock = HandClock()
        gate = _gate(RateLimit(), clock)
        assert await gate.enter()
        gate.leave(Retry("slow down", after_s=7.0, throttled=True))
        assert gate.breaker.is_closed
        assert not gate.may_try()
        assert gate.release_limit(100) == 0
        clock.at += 7.0
        assert gate.may_try()
        assert gate.release_limit(100) == 100

    asyncio.run(run())


def test_a_rejected_record_says_that_the_system_is_well() -> None:
    async def run() -> None:
        clock = HandClock()
        gate = _gate(RateLimit(), clock)
        for _ in range(2):
            assert await gate.enter()
            gate.leave(Reconnect("gone"))
        assert await gate.enter()
        gate.leave(Reject("bad record"))
        assert await gate.enter()
        gate.leave(Reconnect("gone"))
        assert gate.breaker.is_closed

    asyncio.run(run())


def test_concurrency_is_bounded() -> None:
    async def run() -> None:
        gate = _gate(RateLimit(concurrent=2), HandClock())
        assert await gate.enter()
        assert await gate.enter()
        third = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        assert not third.done()
        gate.leave(Done())
        assert await third

    asyncio.run(run())


def test_a_share_of_the_declared_concurrency_and_rate_changes_under_way() -> None:
    async def work() -> None:
        clock = HandClock()
        gate = Gate(
            "s", RateLimit(concurrent=8, requests=8, per_s=1.0, adaptive=False), clock, Observer(stream=io.StringIO())
        )
        for _ in range(8):
            assert await gate.enter()
        gate.set_share(0.25)
        for _ in range(6):
            gate.leave(Done())
        waiting = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        assert not waiting.done(), "two of two are under way"
        gate.leave(Done())
        assert await waiting
        assert clock.at >= 1000.5, "two a second are left of eight"
        more = [asyncio.ensure_future(gate.enter()) for _ in range(3)]
        more[0].cancel()
        await asyncio.sleep(0)
        gate.set_share(1.0)
        assert await asyncio.gather(*more[1:]) == [True, True], "who gave up stands in nobody's way"

    asyncio.run(work())


def test_the_smallest_share_is_one_request_at_a_time() -> None:
    async def work() -> None:
        gate = Gate("s", RateLimit(concurrent=2), HandClock(), Observer(stream=io.StringIO()))
        gate.set_share(0.0)
        assert await gate.enter()
        waiting = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.leave(Done())
        assert await waiting

    asyncio.run(work())


def test_a_trickle_does_not_wait_behind_a_flood() -> None:
    async def run() -> None:
        gate = _gate(RateLimit(concurrent=1, adaptive=False), HandClock())
        assert await gate.enter()
        flood = [asyncio.ensure_future(gate.enter(lane_of("flood", "normal", False))) for _ in range(500)]
        await asyncio.sleep(0)
        trickle = asyncio.ensure_future(gate.enter(lane_of("trickle", "normal", False)))
        for _ in range(2):
            await asyncio.sleep(0)
            gate.leave(Done())
        assert await trickle
        for waiting in flood:
            waiting.cancel()
        await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(run())


def test_who_is_cancelled_while_waiting_or_just_let_in_holds_nothing() -> None:
    async def run() -> None:
        gate = _gate(RateLimit(concurrent=1, adaptive=False), HandClock())
        assert gate.enter_now()
        waiting, let_in = (asyncio.ensure_future(gate.enter()) for _ in range(2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        gate.leave(Done())  # lets the other in ...
        let_in.cancel()  # ... which is cancelled before it hears so
        await asyncio.gather(waiting, let_in, return_exceptions=True)
        assert gate.view().in_flight == 0
        assert gate.enter_now()

    asyncio.run(run())


def test_who_waits_hears_at_once_that_the_system_fell_sick_or_asked_for_a_long_pause() -> None:
    async def run() -> None:
        for outcome in (Reconnect("gone", after_s=5.0), Retry("slow down", after_s=5.0, throttled=True)):
            gate = _gate(RateLimit(concurrent=1), HandClock())
            assert gate.enter_now()
            waiting = [asyncio.ensure_future(gate.enter()) for _ in range(10)]
            await asyncio.sleep(0)
            gate.leave(outcome)
            assert await asyncio.gather(*waiting) == [False] * 10
            assert gate.view().in_flight == 0

    asyncio.run(run())
