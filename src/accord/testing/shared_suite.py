"""The suite every store passes that several engines share (``accord.journal.shared.SharedStore``).

Subclass ``SharedSuite``, give it a ``SharedHarness`` for your store, and let pytest collect it::

    class TestMyStore(SharedSuite):
        @pytest.fixture
        def harness(self, tmp_path):
            return MyHarness(tmp_path)

Call ``pytest.register_assert_rewrite("accord.testing.shared_suite")`` in your ``conftest.py`` to see compared values. The last test,
``test_random_lives``, lets three members join, take, give, die and fall silent at random and compares with ``SharedModel``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from accord.errors import JournalError
from accord.journal.operations import (
    Accept,
    Bury,
    CrossReference,
    Discard,
    MarkSeen,
    Operation,
    Prune,
    Rejected,
    ReleaseDue,
    ReleaseHeld,
    Replay,
    SaveCursors,
    Settle,
    State,
    StepResult,
)
from accord.journal.shared import LEASE_S, PARTS
from accord.record import Cursor
from accord.testing.journal_suite import START, letter, seqs
from accord.testing.shared_harness import (
    EVERY_PART,
    GONE_CODES,
    Company,
    SharedHarness,
    accept,
    code_of,
    final_code,
    in_part,
    key_of,
)
from accord.testing.shared_machine import SharedModel


class SharedSuite:
    """Subclasses provide the fixture ``harness``; ``machine_examples`` bounds the random lives."""

    machine_examples = 15

    @pytest.fixture
    def play(self, harness: SharedHarness) -> Callable[[Callable[[Company], Coroutine[Any, Any, None]]], None]:
        """Runs a test with a company, then looks for violations."""

        async def run(test: Callable[[Company], Coroutine[Any, Any, None]]) -> None:
            await harness.start()
            company = Company(harness)
            try:
                await test(company)
            finally:
                for store in company.stores:
                    await store.close()
                violations = await asyncio.to_thread(harness.violations)
                await harness.stop()
            assert violations == []

        return lambda test: asyncio.run(run(test))

    # who owns what

    def test_members_and_owners_are_seen_by_all(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, one = await company.join("a")
            second, two = await company.join("b")
            assert one.id < two.id
            assert await first.take([3, 4]) == {3, 4}
            assert await second.take([4, 5]) == {5}
            for store in (first, second):
                census = await store.census()
                assert census.members == {one.id: one, two.id: two}
                assert census.owners == {3: one.id, 4: one.id, 5: two.id}

        play(test)

    def test_two_who_take_the_same_parts_share_them_out(self, play: Any) -> None:
        async def test(company: Company) -> None:
            stores = [(await company.join())[0] for _ in range(3)]
            taken = await asyncio.gather(*(store.take(EVERY_PART) for store in stores))
            assert sorted(part for parts in taken for part in parts) == list(EVERY_PART)

        play(test)

    def test_who_leaves_is_seen_to_and_keeps_its_parts(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            await first.leave()
            census = await second.census()
            assert [member.is_leaving for _, member in sorted(census.members.items())] == [True, False]
            assert len(census.owners) == PARTS
            assert await accept(first, in_part(1, 0))

        play(test)

    def test_who_closes_leaves_its_parts_to_others_and_their_messages_as_recovered(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            await accept(first, in_part(1, 0))
            company.stores.remove(first)
            await first.close()
            census = await second.census()
            assert (len(census.members), len(census.owners)) == (1, PARTS // 2)
            assert await second.take(EVERY_PART) == set(range(0, PARTS, 2))
            assert [lease.is_recovered for lease in await second.lease("f", 0, 10)] == [True]

        play(test)

    # what only an owner may do

    def test_messages_of_others_are_neither_accepted_nor_changed(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            assert await code_of(accept(second, in_part(9, 1), in_part(1, 0))) == "journal.not-owner"
            assert await first.messages() == []
            (seq, dead) = await accept(first, in_part(1, 0), in_part(2, 2))
            await first.commit([Settle(seq=dead, state=State.DEAD, dead=letter())])
            cursors = (Cursor("c", b"1"),)
            late: list[Operation] = [
                Settle(seq=seq, state=State.DONE, cursors=cursors), Replay(dead), Discard(dead, "no")
            ]  # fmt: skip
            assert await second.commit(late) == [False, False, False]
            assert await second.cursor("c") is None
            assert await first.counts() == {("f", "ready"): 1, ("f", "dead"): 1}

        play(test)

    def test_a_member_reads_its_own_parts_and_counts_the_whole_journal(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            mine = await accept(first, *(in_part(n, 0) for n in (1, 2)), in_part(3, 2), in_part(4, 4))
            theirs = await accept(second, in_part(5, 1), in_part(6, 3), in_part(7, 5))
            late, later = START + dt.timedelta(seconds=1), START + dt.timedelta(seconds=2)
            await first.commit(
                [
                    Settle(seq=mine[2], state=State.WAITING, due=later),
                    Settle(seq=mine[3], state=State.HELD, held_by="erp"),
                ]
            )
            await second.commit(
                [
                    Settle(seq=theirs[1], state=State.WAITING, due=late),
                    Settle(seq=theirs[2], state=State.HELD, held_by="erp"),
                ]
            )
            assert seqs(await first.lease("f", 0, 10)) == [mine[0]]
            assert seqs(await second.lease("f", 0, 10)) == [theirs[0]]
            found = await first.next_of_keys("f", [key_of(0), key_of(1)])
            assert [lease and lease.seq for lease in found] == [mine[0], None]
            assert (await first.next_due(), await second.next_due()) == (later, late)
            assert (await first.held(), await second.held()) == ({"erp": 1}, {"erp": 1})
            assert await first.open_counts([0, 2]) == {"f": 3}
            assert await second.open_counts([1]) == {"f": 1}
            for store in (first, second):
                assert await store.counts() == {("f", "ready"): 3, ("f", "waiting"): 2, ("f", "held"): 2}
                assert len(await store.messages()) == 7
            due, held = ReleaseDue(later, 10), ReleaseHeld("erp", 10)
            assert [seqs(leases) for leases in await first.commit([due, held])] == [[mine[2]], [mine[3]]]
            assert (await first.next_due(), await first.held()) == (None, {})
            assert (await second.next_due(), await second.held()) == (late, {"erp": 1})
            await first.commit([Settle(seq=seq, state=State.DONE) for seq in mine])
            prune = Prune(before=START + dt.timedelta(1), seen_before=START, limit=10)
            assert await second.commit([prune]) == [0]
            assert await first.commit([prune]) == [4]

        play(test)

    def test_marks_events_references_and_cursors_are_everybodys(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            (seq,) = await accept(first, in_part(1, 0, event_id="e"))
            (again,) = await second.commit([Accept((in_part(2, 1, event_id="e"),))])
            assert [(one.seq, one.is_duplicate) for one in again.messages] == [(seq, True)]
            assert await first.commit([MarkSeen("s", "1", 7, START)]) == [True]
            assert await second.commit([MarkSeen("s", "1", 8, START)]) == [False]
            reference = CrossReference("shop.customers", "7", "crm.clients", "c7")
            await first.commit(
                [Settle(seq=seq, state=State.DONE, references=(reference,)), SaveCursors((Cursor("c", b"1"),))]
            )
            assert await second.references([("crm.clients", "c7", "shop.customers")]) == ["7"]
            assert await second.cursor("c") == b"1"

        play(test)

    def test_a_member_buries_messages_of_anybodys_parts(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            rejected = tuple(Rejected(in_part(n, n), letter()) for n in (0, 1))
            (found,) = await first.commit([Bury(rejected, (Cursor("bulk", b"1"),))])
            seqs_of = [one.seq for one in found.messages]
            assert seqs(await second.dead_letters()) == sorted(seqs_of)
            assert await second.cursor("bulk") == b"1"
            assert await first.commit([Replay(seqs_of[1])]) == [False]
            assert await second.commit([Replay(seqs_of[1])]) == [True]

        play(test)

    def test_members_that_write_the_same_at_once_all_succeed(self, play: Any) -> None:
        async def test(company: Company) -> None:
            stores = await company.two()

            async def write(number: int) -> None:
                for n in range(30):
                    ids = [str(one) for one in (range(n, n + 5) if number else range(n + 4, n - 1, -1))]
                    group: list[Operation] = [MarkSeen("s", one, number, START) for one in ids]
                    group += [Accept((in_part(100 + number * 1000 + n, number, event_id=f"e{n}"),))]
                    group += [
                        Settle(seq=0, state=State.DONE),
                        *(SaveCursors((Cursor(one, b"%d" % number),)) for one in ids),
                    ]
                    await stores[number].commit(group)

            await asyncio.gather(write(0), write(1))
            counts = await stores[0].counts()
            assert counts == {("f", "ready"): 30}  # of each event, one message

        play(test)

    # handover

    def test_what_is_given_away_goes_on_in_order_and_is_not_recovered(self, play: Any) -> None:
        async def test(company: Company) -> None:
            (first, _), (second, heir) = await company.join(), await company.join()
            await first.take(EVERY_PART)
            ahead = await accept(second, *[]) if await second.take(EVERY_PART) else []
            before = await accept(first, in_part(1, 0), in_part(2, 0), in_part(3, 1))
            await first.commit(
                [Settle(seq=before[0], state=State.READY, results=(StepResult("a", b"1"),), in_doubt=("b",))]
            )
            await first.give([0], heir.id)
            assert await code_of(accept(first, in_part(4, 0))) == "journal.not-owner"
            census = await second.census()
            assert (census.owners[0], await second.take(EVERY_PART), ahead) == (heir.id, frozenset(), [])
            after = await accept(second, in_part(5, 0))
            assert before[1] < after[0]
            (lease,) = await second.lease("f", 0, 10)
            assert (lease.seq, lease.is_recovered, lease.in_doubt, lease.results) == (
                before[0], False, frozenset({"b"}), {"a": b"1"},
            )  # fmt: skip
            await second.commit([Settle(seq=before[0], state=State.DONE)])
            assert seqs(await second.lease("f", 0, 10)) == [before[1]]
            await second.give([0], 0)
            assert await first.take([0]) == {0}
            assert [lease.is_recovered for lease in await first.lease("f", 0, 10)] == [False, False]
            assert (await accept(first, in_part(6, 0)))[0] > after[0]

        play(test)

    def test_numbers_grow_within_a_part_whoever_owns_it(self, play: Any) -> None:
        async def test(company: Company) -> None:
            (first, one), (second, two) = await company.join(), await company.join()
            await first.take([0, 2])
            await second.take([1])
            given: list[int] = []
            owner, other = (first, one), (second, two)
            for number in range(6):
                await accept(first, in_part(100 + number, 2))
                await accept(second, in_part(200 + number, 1))
                given += await accept(owner[0], in_part(number, 0))
                await owner[0].give([0], other[1].id)
                await other[0].census()
                owner, other = other, owner
            assert given == sorted(set(given))

        play(test)

    def test_the_parts_of_the_dead_are_recovered(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            seq, dead = await accept(first, in_part(1, 0), in_part(2, 2))
            (theirs,) = await accept(second, in_part(3, 1))
            await first.commit([Settle(seq=dead, state=State.DEAD, dead=letter())])
            await company.succeed(first, second)
            await second.commit([Replay(dead)])
            (new,) = await accept(second, in_part(4, 4))
            recovered = {lease.seq: lease.is_recovered for lease in await second.lease("f", 0, 10)}
            assert recovered == {seq: True, dead: False, theirs: False, new: False}
            third, heir = await company.join()
            await second.give(EVERY_PART, heir.id)  # without having run any
            await third.census()
            assert {lease.seq: lease.is_recovered for lease in await third.lease("f", 0, 10)} == recovered

        play(test)

    def test_a_replay_of_an_earlier_owner_is_in_doubt_when_that_owner_died(self, play: Any) -> None:
        async def test(company: Company) -> None:
            (first, _), (second, two) = await company.join(), await company.join()
            await first.take([0])
            (seq,) = await accept(first, in_part(1, 0))
            await first.commit([Settle(seq=seq, state=State.DEAD, dead=letter())])
            await first.commit([Replay(seq)])
            await first.give([0], two.id)
            await second.census()
            assert [lease.is_recovered for lease in await second.lease("f", 0, 10)] == [False]
            await company.succeed(second, first, [0])
            assert [lease.is_recovered for lease in await first.lease("f", 0, 10)] == [True]

        play(test)

    # fencing

    def test_who_was_silent_for_longer_than_its_lease_can_write_nothing_any_more(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            (seq,) = await accept(first, in_part(1, 0))
            await company.harness.silence(first, LEASE_S - 1)
            assert len((await second.census()).members) == 2
            await company.harness.silence(first, LEASE_S + 1)
            census = await second.census()
            assert (len(census.members), len(census.owners)) == (1, PARTS // 2)
            assert await second.take([0]) == {0}
            late: list[Operation] = [
                Accept((in_part(2, 2),)),
                Settle(seq=seq, state=State.DONE),
                SaveCursors((Cursor("c", b"1"),)),
            ]
            for operation in late:
                assert await final_code(partial(first.commit, [operation])) == "journal.fenced"
            assert await code_of(first.census()) == "journal.fenced"
            assert await code_of(first.take([2])) == "journal.fenced"
            assert await second.counts() == {("f", "ready"): 1}
            assert await second.cursor("c") is None
            assert await second.commit([Settle(seq=seq, state=State.DONE)]) == [True]

        play(test)

    def test_a_census_renews_the_lease(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            await company.harness.silence(first, LEASE_S + 1)
            await first.census()
            assert len((await second.census()).members) == 2
            assert await accept(first, in_part(1, 0))

        play(test)

    def test_a_dead_one_is_gone_at_the_next_census_and_joins_anew(self, play: Any) -> None:
        async def test(company: Company) -> None:
            first, second = await company.two()
            await company.harness.kill(first)
            company.stores.remove(first)
            assert len((await second.census()).members) == 1
            assert await code_of(accept(first, in_part(1, 0))) in GONE_CODES
            again, member = await company.join("node 1")
            assert sorted((await second.census()).members)[-1] == member.id
            assert await again.take(EVERY_PART) == set(range(0, PARTS, 2))
            with contextlib.suppress(JournalError):
                await first.close()

        play(test)

    def test_random_lives(self, harness: SharedHarness) -> None:
        class Machine(SharedModel):
            def make_harness(self) -> SharedHarness:
                return harness

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.machine_examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
