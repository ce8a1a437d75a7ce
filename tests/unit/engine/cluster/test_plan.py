"""The plan of parts: balanced, with few moves, the same for everybody."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.engine.cluster.plan import plan, wanted_owners
from accord.journal.shared import PARTS, Census, Member


def census(staying: list[int], owners: dict[int, int], leaving: tuple[int, ...] = ()) -> Census:
    members = {id: Member(id, f"m{id}", "", is_leaving=id in leaving) for id in (*staying, *leaving)}
    return Census(members, owners)


def test_a_lone_member_takes_everything() -> None:
    found = plan(census([7], {}), 7)
    assert found.take == tuple(range(PARTS))
    assert found.give == {}


def test_a_second_member_is_given_half_and_takes_nothing_itself() -> None:
    owners = dict.fromkeys(range(PARTS), 1)
    assert plan(census([1, 2], owners), 2).take == ()
    given_away = plan(census([1, 2], owners), 1).give
    assert len(given_away) == PARTS // 2
    assert set(given_away.values()) == {2}


def test_parts_of_the_dead_are_shared_out() -> None:
    owners = {part: 1 + part % 3 for part in range(PARTS)}
    taken = [plan(census([1, 2], owners), me) for me in (1, 2)]
    assert sorted(part for one in taken for part in one.take) == [part for part in owners if owners[part] == 3]
    assert all(one.give == {} for one in taken)


def test_when_nobody_stays_nothing_moves() -> None:
    found = plan(census([], dict.fromkeys(range(PARTS), 1), leaving=(1, 2)), 1)
    assert (found.take, found.give) == ((), {})


@settings(max_examples=200, deadline=None)
@given(
    staying=st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True),
    leaving=st.lists(st.integers(10, 14), max_size=3, unique=True),
    owners=st.dictionaries(st.integers(0, PARTS - 1), st.integers(1, 16), max_size=PARTS),
)
def test_any_census_becomes_balanced_in_few_moves(
    staying: list[int], leaving: list[int], owners: dict[int, int]
) -> None:
    seen = census(staying, owners, tuple(leaving))
    wanted = wanted_owners(seen)
    sizes = Counter(wanted.values())
    assert sorted(wanted) == list(range(PARTS))
    assert max(sizes.values()) - min(sizes[id] for id in staying) <= 1

    plans = {id: plan(seen, id) for id in (*staying, *leaving)}
    taken = [part for one in plans.values() for part in one.take]
    assert len(taken) == len(set(taken)), "two members take the same part"
    after = {part: owner for part, owner in owners.items() if owner in seen.members}
    for id, one in plans.items():
        after.update(dict.fromkeys(one.take, id))
        after.update(one.give)
    assert after == wanted, "one round of everybody's plan gives what is wanted"

    kept = Counter(owner for part, owner in owners.items() if owner in staying and wanted[part] == owner)
    had = Counter(owner for owner in owners.values() if owner in staying)
    larger = -(-PARTS // len(staying))
    assert all(kept[id] >= min(had[id], PARTS // len(staying)) for id in staying), "moved without need"
    assert all(sizes[id] <= larger for id in staying)
