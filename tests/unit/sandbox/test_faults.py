"""The fault board: what is set, when it ends, what a system cannot have."""

from __future__ import annotations

import pytest

from accord.sandbox.faults import FaultBoard, FaultRequest, UnsupportedFaultError


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def board(clock: Clock, *supported: str) -> FaultBoard:
    return FaultBoard(7, supported, clock) if supported else FaultBoard(7, clock=clock)


def test_a_fault_ends_by_itself() -> None:
    clock = Clock()
    faults = board(clock)
    faults.apply(FaultRequest(down=True, for_s=30))
    assert faults.is_on("down")
    assert faults.seconds_left("down") == pytest.approx(30)
    clock.now += 30
    assert not faults.is_on("down")
    assert faults.in_force() == {}


def test_faults_add_up_until_cleared() -> None:
    faults = board(Clock())
    faults.apply(FaultRequest(slow_s=2))
    faults.apply(FaultRequest(error=500, share=0.25))
    assert faults.in_force() == {"slow_s": 2, "error": 500}
    faults.apply(FaultRequest(clear=True, unavailable=True))
    assert faults.in_force() == {"unavailable": 1}


def test_the_rate_limit_lets_its_rate_pass() -> None:
    clock = Clock()
    faults = board(clock)
    faults.apply(FaultRequest(rate_limit_per_s=5))
    passed = [faults.limited_for_s() for _ in range(6)]
    assert passed[:5] == [0.0] * 5
    assert passed[5] == pytest.approx(0.2)
    clock.now += 0.2
    assert faults.limited_for_s() == 0.0


def test_shares_are_drawn_from_the_seed() -> None:
    first, second = board(Clock()), board(Clock())
    for faults in (first, second):
        faults.apply(FaultRequest(lose_answers=0.2))
    drawn = [first.is_answer_lost() for _ in range(2_000)]
    assert drawn == [second.is_answer_lost() for _ in range(2_000)]
    assert 300 < sum(drawn) < 500


def test_an_impossible_fault_is_refused_whole() -> None:
    faults = board(Clock(), "down", "slow_s")
    with pytest.raises(UnsupportedFaultError, match=r"cannot be error; it can: down, slow_s"):
        faults.apply(FaultRequest(error=500, down=True))
    assert faults.in_force() == {}
