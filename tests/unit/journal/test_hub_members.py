"""Members of a hub: their own parts, fencing, recovery of what a dead one had, and groups that share a sync."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.errors import JournalError
from accord.journal.hub import hub as hub_module
from accord.journal.hub.roll import BEATS_MAX, Roll, Seat
from accord.journal.operations import Accept, ReleaseDue, ReleaseHeld, Replay, SaveCursors, Settle, State
from accord.journal.parts import PartedStore, is_in, mask_of
from accord.journal.search import MessageQuery
from accord.journal.shared import PARTS
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.record import Cursor
from accord.testing.journal_suite import START, message
from unit.journal.hubs import Hall, accept, parts_of, until

A, B = "a", "b"  # keys of different parts of flow f
assert parts_of(A) != parts_of(B)


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PartedStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "journal.db")


def of_key(key: str) -> Callable[[int], str]:
    return lambda _number: key


def test_a_mask_holds_every_part_within_64_signed_bits() -> None:
    mask = mask_of(range(PARTS))
    assert mask == -1
    assert all(is_in(mask, part) for part in range(PARTS))
    top = mask_of([PARTS - 1, 3])
    assert top == -(2**63) + 8
    assert [part for part in range(PARTS) if is_in(top, part)] == [3, PARTS - 1]


def test_each_member_sees_its_own_parts_alone(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            assert await one.take(parts_of(A)) == set(parts_of(A))
            assert await two.take([*parts_of(A), *parts_of(B)]) == set(parts_of(B))
            await accept(one, 1, 2, key=of_key(A))
            await accept(two, 3, key=of_key(B))

            assert [lease.message.key for lease in await one.lease("f", 0, 10)] == [A]
            assert [lease.message.key for lease in await two.lease("f", 0, 10)] == [B]
            of_one = await one.next_of_keys("f", [A, B])
            assert [lease and lease.message.id for lease in of_one] == ["m1", None]
            assert await one.open_counts([*parts_of(A), *parts_of(B)]) == {"f": 2}
            assert await two.open_counts(parts_of(B)) == {"f": 1}
            assert await one.counts() == await two.counts() == {("f", "ready"): 3}
            census = await one.census()
            assert {member.name: member.address for member in census.members.values()} == {
                "one": "address of one",
                "two": "address of two",
            }
            assert len(census.owners) == 2

    asyncio.run(work())


def test_waiting_and_held_messages_are_released_by_their_owner_alone(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await one.take(parts_of(A))
            await two.take(parts_of(B))
            (first,) = await accept(one, 1, key=of_key(A))
            (second,) = await accept(two, 2, key=of_key(B))
            soon, later = START + dt.timedelta(seconds=1), START + dt.timedelta(seconds=2)
            await one.commit([Settle(seq=first, state=State.WAITING, due=later)])
            await two.commit([Settle(seq=second, state=State.WAITING, due=soon)])
            assert (await one.next_due(), await two.next_due()) == (later, soon)
            (released,) = await one.commit([ReleaseDue(later, 10)])
            assert [lease.seq for lease in released] == [first]
            assert (await one.next_due(), await two.next_due()) == (None, soon)

            assert await one.held() == {}
            await one.commit([Settle(seq=first, state=State.HELD, held_by="erp")])
            await two.commit([Settle(seq=second, state=State.HELD, held_by="erp")])
            assert await one.held() == await two.held() == {"erp": 1}
            (released,) = await two.commit([ReleaseHeld("erp", 10)])
            assert [lease.seq for lease in released] == [second]
            assert (await one.held(), await two.held()) == ({"erp": 1}, {})
            await one.commit([Settle(seq=first, state=State.DONE)])
            assert await one.held() == {}

    asyncio.run(work())


def test_what_a_dead_member_had_is_recovered_and_what_it_gave_away_is_not(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await one.take([*parts_of(A), *parts_of(B)])
            await accept(one, 1, key=of_key(A))
            await accept(one, 2, key=of_key(B))
            await one.give(parts_of(A), (await two.census()).owners[parts_of(A)[0]] + 1)
            await two.census()
            (given,) = await two.lease("f", 0, 10)
            assert (given.message.id, given.is_recovered) == ("m1", False)
            assert await two.take(parts_of(B)) == set()

            await one.close()
            await until(lambda: hall.names == {"two"}, "the closed connection ends the membership")
            assert await two.take(parts_of(B)) == set(parts_of(B))
            await accept(two, 3, key=of_key(B))
            leases = {lease.message.id: lease.is_recovered for lease in await two.lease("f", 0, 10)}
            assert leases == {"m1": False, "m2": True}
            await two.commit([Settle(seq=2, state=State.DONE)])
            (fresh,) = await two.next_of_keys("f", [B])
            assert fresh is not None
            assert (fresh.message.id, fresh.is_recovered) == ("m3", False)

    asyncio.run(work())


def test_a_replayed_letter_is_recovered_once_its_owner_has_died_as_well(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await one.take(parts_of(A))
            (seq,) = await accept(one, 1, key=of_key(A))
            await one.commit([Settle(seq=seq, state=State.DEAD)])
            await one.commit([Replay(seq)])
            (replayed,) = await one.lease("f", 0, 10)
            assert not replayed.is_recovered
            await one.close()
            await until(lambda: hall.names == {"two"}, "the closed connection ends the membership")
            await two.take(parts_of(A))
            (taken,) = await two.lease("f", 0, 10)
            assert taken.is_recovered

    asyncio.run(work())


def test_a_silent_member_is_fenced_and_nothing_of_it_is_kept(
    store: PartedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "BEAT_S", 3600.0)  # beats are the test's

    async def work() -> None:
        silent: list[Seat] = []
        async with Hall(store, silent.append) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await one.take(parts_of(A))
            (seq,) = await accept(one, 1, key=of_key(A))
            for _ in range(BEATS_MAX):
                hall.hub.roll.beat()
            await two.census()
            assert silent == []
            hall.hub.roll.beat()
            assert [seat.member.name for seat in silent] == ["one"]
            assert {m.name for m in (await two.census()).members.values()} == {"two"}
            assert await two.take(parts_of(A)) == set(parts_of(A))

            for attempt in (one.commit([Settle(seq=seq, state=State.DONE)]), accept(one, 2), one.census()):
                with pytest.raises(JournalError) as raised:
                    await attempt
                assert raised.value.code == "journal.fenced"
            assert one.unavailable() is not None
            assert await two.counts() == {("f", "ready"): 1}

    asyncio.run(work())


def test_parts_are_given_by_their_owner_to_a_member_and_nobody_else(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await one.take([5])
            for giver, to in ((two, 0), (one, 99)):
                with pytest.raises(JournalError) as raised:
                    await giver.give([5], to)
                assert raised.value.code == "journal.not-owner"
            await one.give([5], 0)
            assert (await one.census()).owners == {}
            await one.leave()
            assert [m.is_leaving for m in (await two.census()).members.values()] == [True, False]
            assert await two.take([5, 77]) == {5}

    asyncio.run(work())


def test_a_member_hears_of_its_own_fault_and_others_commit(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            one, two = await hall.member("one"), await hall.member("two")
            await two.take(parts_of("2"))
            await one.take(range(PARTS))
            naive = Accept((message(9, time=dt.datetime(2026, 1, 1)),))
            await accept(one, 1)
            failing = asyncio.ensure_future(one.commit([naive]))
            fine: list[Any] = await asyncio.gather(accept(two, 2), accept(one, 3))
            assert [len(seqs) for seqs in fine] == [1, 1]
            with pytest.raises(JournalError) as raised:
                await failing
            assert raised.value.code == "journal.operation"
            assert await two.counts() == {("f", "ready"): 3}

    asyncio.run(work())


def test_what_comes_at_once_from_all_members_is_one_commit(store: PartedStore) -> None:
    async def work() -> None:
        async with Hall(store) as hall:
            members = [await hall.member(f"m{n}") for n in range(3)]
            cursors = (Cursor("c", b"1"),)
            await asyncio.gather(*(member.commit([SaveCursors(cursors)]) for member in members))
            assert (hall.hub.commits, hall.hub.operations) == (1, 3)

    asyncio.run(work())


def test_a_member_whose_hub_is_gone_is_told_and_its_commit_stays_open(store: PartedStore) -> None:
    async def work() -> None:
        lost: list[str] = []
        async with Hall(store) as hall:
            one = await hall.member("one", lambda: lost.append("one"))
            await hall.hub.close()
            open_commit = asyncio.ensure_future(accept(one, 1))  # may or may not have been written
            await until(lambda: lost == ["one"], "the member hears of the closed connection")
            assert not open_commit.done()
            with pytest.raises(JournalError) as raised:
                await one.census()
            assert raised.value.code == "journal.fenced"
            open_commit.cancel()

    asyncio.run(work())


def test_large_groups_come_through_whole(tmp_path: Path) -> None:
    async def work() -> None:
        async with Hall(SqliteStore(tmp_path / "journal.db")) as hall:
            one = await hall.member("one")
            await one.take(range(PARTS))
            seqs = await accept(one, *range(1_500), key=lambda n: f"{n}-{'x' * 1_000}")
            assert len(seqs) == 1_500
            assert len(await one.lease("f", 0, 1_500)) == 1_500
            assert len(await one.messages(MessageQuery(flow="f", limit=1_000))) == 1_000

    asyncio.run(work())


def test_a_hub_that_was_held_up_counts_one_beat() -> None:
    roll = Roll()
    seat = roll.join("one", "", 1)
    roll.beat()
    assert roll.is_seated(seat.member.id)
    assert seat.beats == 1
