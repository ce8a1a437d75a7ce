"""Budgets kept between answers, and gates that wait before a limit instead of running into it. In virtual time."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Callable

import pytest

from accord.engine.fair import lane_of
from accord.engine.gate import Gate
from accord.engine.ledger import UNKNOWN_RESET_S, Ledger
from accord.observe import Observer
from accord.record import Done, Outcome, Retry
from accord.sdk.budget import Budget
from accord.sdk.connector import RateLimit
from unit.engine.virtual import LoopClock, run_virtual

LIVE, BACKFILL = lane_of("f", "normal", False), lane_of("f", "normal", True)


class Windows:
    """A server that takes ``limit`` requests in each ``window_s`` and tells so in every answer, ``latency_s`` later."""

    def __init__(self, limit: int, window_s: float, latency_s: float = 0.05) -> None:
        self.limit = limit
        self.window_s = window_s
        self.latency_s = latency_s
        self.refused = 0
        self.served: list[float] = []
        self._window = -1
        self._used = 0

    async def answer(self, tell: Callable[[Budget], None]) -> Outcome:
        now_s = asyncio.get_running_loop().time()
        if (window := int(now_s // self.window_s)) != self._window:
            self._window, self._used = window, 0
        self._used += 1
        resets_in_s = (window + 1) * self.window_s - now_s
        left = max(0, self.limit - self._used)
        is_refused = self._used > self.limit
        await asyncio.sleep(self.latency_s)
        resets_in_s = math.ceil(max(0.0, resets_in_s - self.latency_s))
        tell(Budget(name="n", left=left, limit=self.limit, resets_in_s=resets_in_s))
        if is_refused:
            self.refused += 1
            return Retry("429", after_s=float(resets_in_s), throttled=True)
        self.served.append(now_s)
        return Done()


def _gate(concurrent: int = 16) -> Gate:
    return Gate("s", RateLimit(concurrent=concurrent), LoopClock(), Observer(stream=io.StringIO()))


async def _load(gate: Gate, server: Windows, for_s: float, callers: int = 40) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + for_s

    async def caller() -> None:
        while loop.time() < ends:
            if not gate.enter_now() and not await gate.enter(LIVE):
                await asyncio.sleep(max(0.05, gate.wait_s()))
                continue
            began_s = gate.now_s()
            gate.leave(await server.answer(gate.told), began_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


@pytest.mark.parametrize(("limit", "window_s"), [(100, 10.0), (10, 1.0), (1_000, 60.0), (3, 5.0)])
def test_windows_are_used_up_and_hardly_anything_is_refused(limit: int, window_s: float) -> None:
    async def run() -> None:
        gate, server = _gate(), Windows(limit, window_s)
        await _load(gate, server, 20 * window_s)
        assert len(server.served) >= 0.9 * 20 * limit
        assert server.refused <= 0.02 * len(server.served) + 2

    run_virtual(run)


def test_others_use_of_the_same_key_is_seen() -> None:
    async def run() -> None:
        gate = Gate("s", RateLimit(adaptive=False), LoopClock(), Observer(stream=io.StringIO()))
        assert gate.enter_now()
        gate.told(Budget(name="n", left=2, limit=1_000, resets_in_s=0.5))
        gate.leave(Done())
        began_s = gate.now_s()
        assert [await gate.enter(LIVE) for _ in range(3)] == [True] * 3
        assert gate.now_s() - began_s >= 0.5, "the third had to wait for the next window"

    run_virtual(run)


def test_a_long_wait_is_told_instead_of_waited_for() -> None:
    async def run() -> None:
        gate = _gate()
        assert gate.enter_now()
        gate.told(Budget(name="n", left=0, limit=100, resets_in_s=30.0))
        gate.leave(Done())
        assert not await gate.enter(LIVE)
        assert not gate.may_try()
        assert gate.release_limit(500) == 0
        assert 29.0 < gate.wait_s() <= 30.0
        await asyncio.sleep(30.0)
        assert gate.may_try()
        assert gate.release_limit(500) == 116, "what fits, and as many as may be under way"

    run_virtual(run)


def test_backfill_leaves_a_reserve_to_live_messages() -> None:
    ledger = Ledger()
    ledger.told(Budget(name="day", left=505, limit=5_000, resets_in_s=3_600), 1, 0.0)
    assert ledger.wait_s(BACKFILL, 0, 1.0) == 0.0
    for _ in range(10):
        ledger.take()
    assert ledger.wait_s(BACKFILL, 0, 1.0) == pytest.approx(3_599.0)
    assert ledger.wait_s(LIVE, 0, 1.0) == 0.0


def test_a_share_of_what_is_left() -> None:
    ledger = Ledger()
    ledger.share = 0.25
    ledger.told(Budget(name="n", left=5, limit=100, resets_in_s=10), 1, 0.0)
    assert ledger.requests_left(0.0) == 1.25
    assert ledger.wait_s(LIVE, 0, 0.0) == 0.0
    ledger.take()
    ledger.take()
    assert ledger.wait_s(LIVE, 0, 0.0) == 10.0


def test_a_leaking_bucket_fills_by_itself() -> None:
    ledger = Ledger()
    ledger.told(Budget(name="cost", left=40, limit=1_000, refill_per_s=50, cost=100), 1, 0.0)
    assert ledger.wait_s(LIVE, 0, 0.0) == pytest.approx(1.2)
    assert ledger.wait_s(LIVE, 0, 1.3) == 0.0


def test_when_nobody_knows_the_end_one_request_finds_out() -> None:
    ledger = Ledger()
    ledger.told(Budget(name="day", left=0, limit=5_000), 1, 0.0)
    assert ledger.wait_s(LIVE, 0, 1.0) == UNKNOWN_RESET_S - 1.0
    assert ledger.wait_s(LIVE, 0, UNKNOWN_RESET_S) == 0.0
    assert 0.0 < ledger.wait_s(LIVE, 1, UNKNOWN_RESET_S) < 1.0, "the one under way will tell"


def test_an_answer_overtaken_by_later_ones_adds_nothing() -> None:
    ledger = Ledger()
    ledger.told(Budget(name="n", left=10, limit=100, resets_in_s=10), 1, 0.0)
    ledger.told(Budget(name="n", left=90, limit=100, resets_in_s=8), 3, 2.0)
    assert ledger.requests_left(2.0) == 8, "two more are under way"
    ledger.told(Budget(name="n", left=99, limit=100, resets_in_s=10), 2, 11.0)
    assert ledger.requests_left(11.0) == 98, "a new window"
