"""Fair queueing: shares by weight, order within a lane, nobody starves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from accord.engine.fair import WEIGHTS, FairQueue, Lane, lane_of

FLOOD, TRICKLE = lane_of("flood", "normal", False), lane_of("trickle", "normal", False)


def test_a_trickle_is_next_behind_a_flood() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(5_000):
        queue.push(FLOOD, f"flood {number}")
    assert [queue.pop() for _ in range(3)] == ["flood 0", "flood 1", "flood 2"]
    queue.push(TRICKLE, "trickle")
    assert "trickle" in [queue.pop() for _ in range(2)]


def test_live_work_goes_before_backfill_which_still_has_its_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    live, backfill = lane_of("a", "normal", False), lane_of("a", "normal", True)
    for _ in range(1_000):
        queue.push(backfill, "backfill")
    for _ in range(1_000):
        queue.push(live, "live")
    served = Counter(queue.pop() for _ in range(170))
    assert served["live"] == 160
    assert served["backfill"] == 10


def test_an_idle_lane_saves_up_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(200):
        queue.push(FLOOD, "flood")
    for _ in range(100):
        queue.pop()
    for _ in range(100):
        queue.push(TRICKLE, "trickle")
    assert Counter(queue.pop() for _ in range(100)) == {"flood": 50, "trickle": 50}


lanes = st.builds(Lane, st.sampled_from("abcd"), st.sampled_from([1, *WEIGHTS.values()]))


@given(st.lists(st.tuples(lanes, st.integers(0, 3)), max_size=200))
def test_every_entry_leaves_once_and_lanes_keep_their_order(pushes: list[tuple[Lane, int]]) -> None:
    """``pushes``: a lane, and how many are served after it came."""
    queue: FairQueue[tuple[Lane, int]] = FairQueue()
    out: list[tuple[Lane, int]] = []
    for number, (lane, serves) in enumerate(pushes):
        queue.push(lane, (lane, number))
        out += [queue.pop() for _ in range(min(serves, len(queue)))]
    out += [queue.pop() for _ in range(len(queue))]
    assert sorted(number for _, number in out) == list(range(len(pushes)))
    for lane in {lane for lane, _ in pushes}:
        numbers = [number for one, number in out if one == lane]
        assert numbers == sorted(numbers)


@given(st.lists(lanes, min_size=2, max_size=5, unique=True), st.integers(1, 20))
def test_who_waits_shares_by_weight(waiting: list[Lane], rounds: int) -> None:
    """Of any two lanes that always wait, neither gets more than one turn ahead of its share."""
    queue: FairQueue[Lane] = FairQueue()
    for lane in waiting:
        for _ in range(rounds * 64 + 1):
            queue.push(lane, lane)
    served = Counter(queue.pop() for _ in range(rounds * len(waiting)))
    for one in waiting:
        for other in waiting:
            ahead = served[one] / one.weight - served[other] / other.weight
            assert ahead <= 1 / one.weight + 1 / other.weight + 1e-9
