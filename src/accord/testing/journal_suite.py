"""The suite every journal store passes.

Subclass ``JournalSuite``, give it a ``StoreHarness`` for your store, and let pytest collect it::

    class TestMyStore(JournalSuite):
        @pytest.fixture
        def harness(self, tmp_path):
            return MyHarness(tmp_path)

Call ``pytest.register_assert_rewrite("accord.testing.journal_suite")`` in your ``conftest.py`` to see compared values.
The last test, ``test_agrees_with_the_model``, runs random operations, failures and crashes against your store and against
``MemoryStore`` and compares every result and every read after each commit.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from accord.errors import JournalError
from accord.journal.operations import (
    Accept,
    Bury,
    CrossReference,
    DeadLetter,
    Discard,
    MarkSeen,
    Move,
    Operation,
    Prune,
    Rejected,
    ReleaseDue,
    ReleaseHeld,
    Replay,
    SaveCursors,
    SaveReferences,
    Settle,
    State,
    StepResult,
)
from accord.journal.search import IN_DOUBT, InDoubt, MessageQuery
from accord.journal.store import AsyncStore, Store
from accord.journal.stores.memory import MemoryStore
from accord.record import Cursor, Message

START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
_LONG_AGO = START - dt.timedelta(days=365)


class StoreHarness(Protocol):
    """How the suite makes, crashes and checks stores. ``now`` is the clock the store must use for settle times."""

    def create(self, now: Callable[[], dt.datetime]) -> Store:
        """An opened store over fresh, empty storage."""
        ...

    def crash(self, store: Store, now: Callable[[], dt.datetime]) -> Store:
        """An opened store over what a power cut at this moment would leave on the disk of ``store``, which is given up."""
        ...

    def violations(self, store: Store) -> list[str]:
        """What an invariant checker finds wrong with the storage; empty when there is no checker."""
        ...


class Blocking:
    """An asynchronous store as the suite calls stores: each call runs on an event loop of its own to its end."""

    def __init__(self, store: AsyncStore) -> None:
        self.store = store
        self._runner: asyncio.Runner | None = None

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work) if self._runner is None else self._runner.run(work)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        return lambda *values, **named: self._run(method(*values, **named))

    def next_of_key(self, flow: str, key: str) -> Any:
        (found,) = self._run(self.store.next_of_keys(flow, [key]))
        return found

    def open(self) -> None:
        self._runner = asyncio.Runner()
        self._run(self.store.open())

    def close(self) -> None:
        self._run(self.store.close())
        if self._runner is not None:
            self._runner.close()
            self._runner = None


class Clock:
    """Stands still unless moved."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> dt.datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += dt.timedelta(seconds=seconds)


def message(number: int, *, flow: str = "f", key: str = "k", event_id: str = "", time: dt.datetime = START) -> Message:
    """A small message whose id is ``m<number>``."""
    return Message(
        id=f"m{number}",
        flow=flow,
        key=key,
        source="shop.orders",
        body=b'{"n": %d}' % number,
        time=time,
        event_id=event_id,
        headers={"accord-topic": "orders/create"},
        trace_id=f"t{number}",
    )


def accept(store: Store, *messages: Message) -> list[int]:
    """Accepts them in one commit; their sequence numbers."""
    (accepted,) = store.commit([Accept(tuple(messages))])
    return [one.seq for one in accepted.messages]


def letter(reason: str = "no such sku") -> DeadLetter:
    return DeadLetter(step="1.write", code="record.rejected", reason=reason, path="sku", details=b"[]")


def seqs(rows: Sequence[Any]) -> list[int]:
    return [row.seq for row in rows]


class JournalSuite:
    """Subclasses provide the fixture ``harness``; ``model_examples`` bounds the random comparison."""

    model_examples = 25

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, harness: StoreHarness, clock: Clock) -> Any:
        store = harness.create(clock.now)
        yield store
        assert harness.violations(store) == []
        store.close()

    # accept and dedupe

    def test_accepted_messages_are_leased_whole_and_in_order(self, store: Store) -> None:
        first, second = message(1, key="a"), message(2, key="b")
        assert accept(store, first, second) == [1, 2]
        leases = store.lease("f", 0, 10)
        assert [lease.message for lease in leases] == [first, second]
        assert [lease.is_recovered for lease in leases] == [False, False]
        assert seqs(store.lease("f", 1, 10)) == [2]
        assert seqs(store.lease("f", 0, 1)) == [1]
        assert store.lease("other", 0, 10) == []

    def test_an_event_seen_before_is_the_first_message_again(self, store: Store) -> None:
        (accepted,) = store.commit([Accept((message(1, event_id="e"), message(2, event_id="e")))])
        assert [(one.seq, one.is_duplicate) for one in accepted.messages] == [(1, False), (1, True)]
        assert [one.is_duplicate for one in store.commit([Accept((message(3, event_id="e"),))])[0].messages] == [True]
        assert store.counts() == {("f", "ready"): 1}

    def test_events_of_other_flows_sources_and_none_are_no_duplicates(self, store: Store) -> None:
        other_source = msgspec.structs.replace(message(3, event_id="e"), source="shop.refunds")
        accept(
            store, message(1, event_id="e"), message(2, event_id="e", flow="g"), other_source, message(4), message(5)
        )
        assert store.counts() == {("f", "ready"): 4, ("g", "ready"): 1}

    def test_a_message_id_is_taken_once(self, store: Store) -> None:
        accept(store, message(1))
        (accepted,) = store.commit([Accept((message(1, event_id="late"),))])
        assert (accepted.messages[0].seq, accepted.messages[0].is_duplicate) == (1, True)
        (again,) = store.commit([Accept((message(9, event_id="late"),))])
        assert (again.messages[0].seq, again.messages[0].is_duplicate) == (1, True)

    def test_a_duplicate_of_a_pruned_message_has_no_sequence_number(self, store: Store) -> None:
        (seq,) = accept(store, message(1, event_id="e"))
        store.commit([Settle(seq=seq, state=State.DONE)])
        assert store.commit([Prune(before=START + dt.timedelta(1), seen_before=_LONG_AGO, limit=10)]) == [1]
        (accepted,) = store.commit([Accept((message(2, event_id="e"),))])
        assert (accepted.messages[0].seq, accepted.messages[0].is_duplicate) == (0, True)

    # order per key

    def test_only_the_oldest_open_message_of_a_key_is_eligible(self, store: Store) -> None:
        accept(store, message(1), message(2), message(3, key="other"), message(4, flow="g"))
        assert seqs(store.lease("f", 0, 10)) == [1, 3]
        store.commit([Settle(seq=1, state=State.HELD, held_by="erp")])
        assert seqs(store.lease("f", 0, 10)) == [3]
        store.commit([Settle(seq=1, state=State.DONE)])
        assert seqs(store.lease("f", 0, 10)) == [2, 3]

    def test_next_of_key_is_the_oldest_open_message_in_any_open_state(self, store: Store) -> None:
        accept(store, message(1), message(2))
        store.commit([Settle(seq=1, state=State.WAITING, due=START)])
        found = store.next_of_key("f", "k")
        assert found is not None and (found.seq, found.state) == (1, State.WAITING)
        store.commit([Settle(seq=1, state=State.DEAD, dead=letter())])
        found = store.next_of_key("f", "k")
        assert found is not None and found.seq == 2
        store.commit([Settle(seq=2, state=State.DONE)])
        assert store.next_of_key("f", "k") is None

    def test_a_replayed_message_goes_before_later_ones_of_its_key(self, store: Store) -> None:
        accept(store, message(1), message(2))
        store.commit([Settle(seq=1, state=State.DEAD, dead=letter())])
        assert seqs(store.lease("f", 0, 10)) == [2]
        assert store.commit([Replay(1)]) == [True]
        assert seqs(store.lease("f", 0, 10)) == [1]
        store.commit([Settle(seq=1, state=State.DONE)])
        assert seqs(store.lease("f", 0, 10)) == [2]

    # settle

    def test_results_add_up_over_settles_and_later_ones_win(self, store: Store) -> None:
        accept(store, message(1))
        a, b, b2 = StepResult("a", b"1"), StepResult("b", b"2"), StepResult("b", b"3")
        assert store.commit([Settle(seq=1, state=State.READY, results=(a, b), attempts=1, in_doubt=("c",))]) == [True]
        (lease,) = store.lease("f", 0, 10)
        assert (lease.results, lease.attempts, lease.in_doubt) == ({"a": b"1", "b": b"2"}, 1, frozenset({"c"}))
        store.commit([Settle(seq=1, state=State.DONE, results=(b2,), reason="filtered")])
        (row,) = store.messages(MessageQuery(id="m1"))
        assert (row.state, row.results, row.reason) == (State.DONE, {"a": b"1", "b": b"3"}, "filtered")
        assert row.settled_at == START

    def test_settling_an_unknown_or_settled_message_changes_nothing(self, store: Store) -> None:
        accept(store, message(1))
        done = Settle(seq=1, state=State.DONE)
        late = Settle(seq=1, state=State.DEAD, dead=letter(), cursors=(Cursor("c", b"1"),))
        assert store.commit([done, late, Settle(seq=77, state=State.DONE)]) == [True, False, False]
        assert store.counts() == {("f", "done"): 1}
        assert store.cursor("c") is None
        assert store.dead_letters() == []

    def test_cursors_move_with_the_messages(self, store: Store) -> None:
        store.commit([Accept((message(1),), (Cursor("poll", b"1"), Cursor("other", b"x")))])
        store.commit([Settle(seq=1, state=State.DONE, cursors=(Cursor("poll", b"2"),))])
        assert (store.cursor("poll"), store.cursor("other"), store.cursor("none")) == (b"2", b"x", None)
        store.commit([SaveCursors((Cursor("poll", b"3"), Cursor("poll", b"4")))])
        assert store.cursor("poll") == b"4"

    def test_cross_references_read_both_ways_and_the_latest_wins(self, store: Store) -> None:
        accept(store, message(1))
        first = CrossReference("shop.customers", "7", "crm.clients", "c7")
        store.commit([Settle(seq=1, state=State.DONE, references=(first,))])
        there, back = ("shop.customers", "7", "crm.clients"), ("crm.clients", "c7", "shop.customers")
        assert store.references([there, back, ("crm.clients", "7", "shop.customers")]) == ["c7", "7", None]
        store.commit([SaveReferences((CrossReference("crm.clients", "c8", "shop.customers", "7"),))])
        assert store.references([there]) == ["c8"]

    # waiting and held

    def test_due_messages_become_ready_again(self, store: Store) -> None:
        accept(store, *(message(n, key=f"k{n}") for n in range(1, 5)))
        due = [START + dt.timedelta(seconds=s) for s in (30, 10, 20, 99)]
        store.commit([Settle(seq=n + 1, state=State.WAITING, due=at, attempts=n) for n, at in enumerate(due)])
        assert store.next_due() == due[1]
        assert store.lease("f", 0, 10) == []
        now = START + dt.timedelta(seconds=30)
        (released,) = store.commit([ReleaseDue(now, 2)])
        assert [(lease.seq, lease.attempts, lease.state) for lease in released] == [
            (2, 1, State.READY),
            (3, 2, State.READY),
        ]
        assert store.commit([ReleaseDue(now, 10, "other")]) == [()]
        assert seqs(store.commit([ReleaseDue(now, 10, "f")])[0]) == [1]
        assert store.next_due() == due[3]

    def test_held_messages_are_counted_and_released_by_system(self, store: Store) -> None:
        accept(store, *(message(n, key=f"k{n}", flow="fg"[n % 2]) for n in range(1, 6)))
        held = [Settle(seq=n, state=State.HELD, held_by="crm" if n == 5 else "erp", attempts=3) for n in range(1, 6)]
        store.commit(held)
        assert store.held() == {"erp": 4, "crm": 1}
        (released,) = store.commit([ReleaseHeld("erp", 3)])
        assert [(lease.seq, lease.attempts) for lease in released] == [(1, 3), (2, 3), (3, 3)]
        assert seqs(store.commit([ReleaseHeld("erp", 3, "f")])[0]) == [4]
        assert store.held() == {"crm": 1}
        assert seqs(store.messages(MessageQuery(state="held"))) == [5]

    def test_a_moved_message_keeps_its_attempts_doubts_and_results(self, store: Store) -> None:
        accept(store, message(1), message(2))
        store.commit(
            [
                Settle(
                    seq=1, state=State.WAITING, due=START, attempts=3, in_doubt=("p",), results=(StepResult("a", b"1"),)
                )
            ]
        )
        assert store.commit([Move(seq=1, state=State.HELD, held_by="~operator", reason="paused")]) == [True]
        assert (store.next_due(), store.held(), store.lease("f", 0, 10)) == (None, {"~operator": 1}, [])
        (row,) = store.messages(MessageQuery(state="held"))
        assert (row.seq, row.due, row.held_by, row.reason) == (1, None, "~operator", "paused")
        assert store.commit([Move(seq=1, state=State.READY, results=(StepResult("b", b"2"),))]) == [True]
        (lease,) = store.lease("f", 0, 10)
        assert (lease.seq, lease.attempts, lease.in_doubt) == (1, 3, frozenset({"p"}))
        assert lease.results == {"a": b"1", "b": b"2"}

    def test_a_message_ended_from_outside_lets_its_key_go_on(self, store: Store) -> None:
        accept(store, message(1), message(2), message(3))
        end = Move(seq=1, state=State.DONE, reason="cancelled")
        assert store.commit([end, end, Move(seq=77, state=State.DONE)]) == [True, False, False]
        assert seqs(store.lease("f", 0, 10)) == [2]
        assert store.commit([Move(seq=3, state=State.DONE)]) == [True]  # not the oldest of its key
        assert seqs(store.lease("f", 0, 10)) == [2]
        assert store.counts() == {("f", "done"): 2, ("f", "ready"): 1}
        (row, *_) = store.messages(MessageQuery(state="done"))
        assert (row.reason, row.settled_at) == ("cancelled", START)

    # dead letters

    def test_a_message_can_be_born_dead_and_moves_cursors(self, store: Store, clock: Clock) -> None:
        accept(store, message(1, event_id="known"))
        clock.advance(5)
        result = (StepResult("a", b"1"),)
        rejected = (
            Rejected(message(2), letter("no such sku"), result),
            Rejected(message(3, event_id="known"), letter()),
            Rejected(message(4, event_id="e"), letter("too long")),
            Rejected(message(5, event_id="e"), letter()),
        )
        (found,) = store.commit([Bury(rejected, (Cursor("bulk", b"1"),))])
        assert [(one.seq, one.is_duplicate) for one in found.messages] == [(2, False), (1, True), (3, False), (3, True)]
        assert store.commit([Bury(rejected[:1], (Cursor("bulk", b"2"),))])[0].messages[0].is_duplicate
        assert store.commit([Bury((), ())])[0].messages == ()
        assert store.cursor("bulk") == b"2"
        letters = store.dead_letters(flow="f")
        assert [(one.seq, one.dead.reason, one.attempts) for one in letters] == [
            (2, "no such sku", 0),
            (3, "too long", 0),
        ]
        assert (letters[0].message, letters[0].at) == (message(2), START + dt.timedelta(seconds=5))
        assert store.counts() == {("f", "ready"): 1, ("f", "dead"): 2}
        assert seqs(store.lease("f", 0, 10)) == [1]
        assert store.commit([Settle(seq=1, state=State.DONE), Settle(seq=2, state=State.DONE), Replay(2)]) == [
            True,
            False,
            True,
        ]
        (lease,) = store.lease("f", 0, 10)
        assert (lease.seq, lease.results) == (2, {"a": b"1"})

    def test_many_are_born_dead_at_once_and_can_be_replayed_at_once(self, store: Store, clock: Clock) -> None:
        result = (StepResult("a", b"1"),)
        rejected = [
            Rejected(message(n, event_id=f"e{n}"), letter(f"row {n}"), result if n % 2 else ()) for n in range(1, 31)
        ]
        bury = Bury(tuple(rejected), (Cursor("bulk", b"1"),))
        found, is_replayed, is_discarded = store.commit([bury, Replay(3), Discard(4, "a test")])
        assert [(one.seq, one.is_duplicate) for one in found.messages] == [(n, False) for n in range(1, 31)]
        assert (is_replayed, is_discarded) == (True, True)
        assert [one.dead.reason for one in store.dead_letters(limit=50)] == [f"row {n}" for n in (1, 2, *range(5, 31))]
        assert store.counts()["f", "dead"] == 28
        (lease,) = store.lease("f", 0, 10)
        assert (lease.seq, lease.results) == (3, {"a": b"1"})
        again = store.commit([Bury((*rejected[:3], Rejected(message(31, event_id="e31"), letter())), ())])[0].messages
        assert [(one.seq, one.is_duplicate) for one in again] == [(1, True), (2, True), (3, True), (31, False)]

    def test_a_dead_letter_is_listed_replayed_and_discarded(self, store: Store, clock: Clock) -> None:
        accept(store, message(1), message(2, flow="g"))
        clock.advance(5)
        result = (StepResult("a", b"1"),)
        store.commit([Settle(seq=n, state=State.DEAD, dead=letter(), results=result, attempts=8) for n in (1, 2)])
        assert seqs(store.dead_letters()) == [1, 2]
        (row,) = store.dead_letters(flow="g")
        assert (row.seq, row.dead, row.attempts, row.at) == (2, letter(), 8, clock.now())
        assert seqs(store.dead_letters(after_seq=1, limit=5)) == [2]
        assert store.commit([Replay(1, b'{"mended": 1}'), Replay(1), Discard(2, "test order"), Discard(2, "again")]) == [
            True, False, True, False,
        ]  # fmt: skip
        assert store.dead_letters() == []
        (lease,) = store.lease("f", 0, 10)
        assert (lease.message.body, lease.attempts, lease.results) == (b'{"mended": 1}', 0, {"a": b"1"})
        (row2,) = store.messages(MessageQuery(state="done"))
        assert (row2.seq, row2.reason, row2.message.body) == (2, "test order", b'{"n": 2}')

    def test_a_replay_from_the_start_forgets_results(self, store: Store) -> None:
        accept(store, message(1))
        store.commit([Settle(seq=1, state=State.DEAD, dead=letter(), results=(StepResult("a", b"1"),))])
        assert store.commit([Replay(1, None, True)]) == [True]
        assert store.lease("f", 0, 10)[0].results == {}

    # dedupe step

    def test_a_mark_is_new_only_to_the_message_that_made_it(self, store: Store) -> None:
        def mark(scope: str, id_: str, seq: int) -> MarkSeen:
            return MarkSeen(scope, id_, seq, START)

        assert store.commit([mark("s", "1", 10), mark("s", "1", 10), mark("s", "1", 11), mark("t", "1", 11)]) == [
            True, True, False, True,
        ]  # fmt: skip
        store.commit([Prune(before=_LONG_AGO, seen_before=START + dt.timedelta(seconds=1), limit=10)])
        assert store.commit([mark("s", "1", 11)]) == [True]

    def test_a_mark_gives_way_to_a_greater_version_only(self, store: Store) -> None:
        def mark(seq: int, version: str, seconds: int = 0) -> MarkSeen:
            return MarkSeen("s", "1", seq, START + dt.timedelta(seconds=seconds), version)

        assert store.commit([mark(1, ""), mark(2, "b"), mark(2, "b"), mark(3, "b"), mark(4, "a"), mark(1, "")]) == [
            True, True, True, False, False, False,
        ]  # fmt: skip
        assert store.commit([mark(5, "b\U0001f600"), mark(6, "b\uffff"), mark(6, "c", 9), mark(7, "")]) == [
            True, False, True, False,
        ]  # fmt: skip
        store.commit([Prune(before=_LONG_AGO, seen_before=START + dt.timedelta(seconds=9), limit=10)])
        assert store.commit([mark(8, "b")]) == [False]  # a renewed mark is kept as long as a new one

    # prune

    def test_prune_takes_old_done_messages_only_oldest_first_and_bounded(self, store: Store) -> None:
        times = [START + dt.timedelta(days=d) for d in (3, 1, 2, 0, 0)]
        accept(store, *(message(n + 1, key=f"k{n}", time=t) for n, t in enumerate(times)))
        store.commit([Settle(seq=n, state=State.DONE, results=(StepResult("a", b"1"),)) for n in (1, 2, 3)])
        store.commit([Settle(seq=4, state=State.DEAD, dead=letter())])
        prune = Prune(before=times[0], seen_before=_LONG_AGO, limit=1)
        assert store.commit([prune]) == [1]
        assert seqs(store.messages()) == [1, 3, 4, 5]
        assert store.commit([prune, prune]) == [1, 0]
        assert seqs(store.messages()) == [1, 4, 5]
        assert store.counts() == {("f", "done"): 1, ("f", "dead"): 1, ("f", "ready"): 1}

    def test_sequence_numbers_are_not_given_twice_after_pruning(
        self, harness: StoreHarness, store: Store, clock: Clock
    ) -> None:
        (first,) = accept(store, message(1))
        store.commit([Settle(seq=first, state=State.DONE)])
        store.commit([Prune(before=START + dt.timedelta(1), seen_before=_LONG_AGO, limit=10)])
        again = harness.crash(store, clock.now)
        assert accept(again, message(2)) == [first + 1]
        again.close()

    # atomicity, crash, reading

    def test_a_group_with_an_operation_that_cannot_be_stored_leaves_nothing(self, store: Store) -> None:
        bad = message(2, key="\ud800")
        with pytest.raises(JournalError) as caught:
            store.commit([Accept((message(1, event_id="e"),)), SaveCursors((Cursor("c", b"1"),)), Accept((bad,))])
        assert caught.value.code == "journal.operation"
        assert (store.messages(), store.cursor("c"), store.counts()) == ([], None, {})
        assert accept(store, message(1, event_id="e")) == [1]

    def test_what_was_committed_survives_a_crash_and_is_known_as_recovered(
        self, harness: StoreHarness, store: Store, clock: Clock
    ) -> None:
        accept(store, message(1, key="a"), message(2, key="b"), message(3, key="c"))
        store.commit([Settle(seq=1, state=State.DONE), Settle(seq=2, state=State.DEAD, dead=letter())])
        again = harness.crash(store, clock.now)
        accept(again, message(4, key="d"))
        again.commit([Replay(2)])
        recovered = {lease.seq: lease.is_recovered for lease in again.lease("f", 0, 10)}
        assert recovered == {2: False, 3: True, 4: False}
        assert harness.violations(again) == []
        again.close()

    def test_messages_are_found_by_flow_key_id_and_state(self, store: Store) -> None:
        accept(store, message(1), message(2, key="b"), message(3, flow="g"))
        store.commit([Settle(seq=1, state=State.DONE), Settle(seq=2, state=State.WAITING, due=START)])
        assert seqs(store.messages(MessageQuery(flow="f"))) == [1, 2]
        assert seqs(store.messages(MessageQuery(key="k"))) == [1, 3]
        assert seqs(store.messages(MessageQuery(id="m3"))) == [3]
        assert seqs(store.messages(MessageQuery(state="ready"))) == [3]
        assert seqs(store.messages(MessageQuery(state="done", flow="f"))) == [1]
        assert [row.due for row in store.messages(MessageQuery(state="waiting"))] == [START]
        assert store.messages(MessageQuery(state="nonsense")) == []
        assert seqs(store.messages(MessageQuery(after_seq=1, limit=1))) == [2]
        assert store.size_bytes() > 0

    def test_messages_with_effects_in_doubt_are_found_and_counted(self, store: Store) -> None:
        accept(store, *(message(n, key=str(n)) for n in range(1, 7)), message(7, flow="g"))
        both = ("1.write", "2.call")
        store.commit(
            [
                Settle(seq=1, state=State.WAITING, due=START, in_doubt=("1.write",)),
                Settle(seq=2, state=State.HELD, held_by="erp", in_doubt=both),
                Settle(seq=3, state=State.DEAD, dead=letter(), in_doubt=both[::-1]),
                Settle(seq=4, state=State.DONE, in_doubt=both),
                Settle(seq=5, state=State.WAITING, due=START),
                Settle(seq=7, state=State.READY, in_doubt=("1.write",)),
            ]
        )
        assert store.in_doubt() == [
            InDoubt("f", ("1.write",), 1),
            InDoubt("f", ("1.write", "2.call"), 2),
            InDoubt("g", ("1.write",), 1),
        ]
        found = store.messages(MessageQuery(state=IN_DOUBT))
        assert [(row.seq, sorted(row.in_doubt)) for row in found][:2] == [(1, ["1.write"]), (2, [*both])]
        assert seqs(found) == [1, 2, 3, 7]
        assert seqs(store.messages(MessageQuery(state=IN_DOUBT, flow="f", before_seq=3))) == [2, 1]
        store.commit([Settle(seq=1, state=State.DONE), Settle(seq=7, state=State.WAITING, due=START), Replay(3)])
        assert seqs(store.messages(MessageQuery(state=IN_DOUBT))) == [2, 3]
        store.commit([Settle(seq=2, state=State.DONE), Settle(seq=3, state=State.DONE)])
        assert store.in_doubt() == []

    def test_messages_are_found_newest_first_and_by_time(self, store: Store) -> None:
        hour = dt.timedelta(hours=1)
        accept(store, *(message(n, key=str(n), time=START + n * hour) for n in range(1, 6)))
        store.commit([Settle(seq=2, state=State.DONE)])
        assert seqs(store.messages(MessageQuery(before_seq=2**53))) == [5, 4, 3, 2, 1]
        assert seqs(store.messages(MessageQuery(before_seq=4, limit=2))) == [3, 2]
        assert seqs(store.messages(MessageQuery(before_seq=4, after_seq=1, state="ready"))) == [3]
        assert seqs(store.messages(MessageQuery(since=START + 2 * hour, until=START + 4 * hour))) == [2, 3]
        assert seqs(store.messages(MessageQuery(before_seq=2**53, until=START + 4 * hour, state="done"))) == [2]
        assert store.messages(MessageQuery(since=START + 6 * hour)) == []

    def test_a_closed_store_refuses_to_commit(self, harness: StoreHarness, clock: Clock) -> None:
        store = harness.create(clock.now)
        store.close()
        store.close()
        with pytest.raises(JournalError) as caught:
            store.commit([SaveCursors((Cursor("c", b"1"),))])
        assert caught.value.code == "journal.closed"

    def test_agrees_with_the_model(self, harness: StoreHarness) -> None:
        class Machine(ModelComparison):
            def make_harness(self) -> StoreHarness:
                return harness

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.model_examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


_FLOWS = st.sampled_from(["f", "g"])
_KEYS = st.sampled_from(["a", "b"])
_SEQS = st.integers(1, 14)
_SECONDS = st.integers(0, 40)
_CURSORS = st.lists(st.builds(Cursor, st.sampled_from(["x", "y"]), st.binary(max_size=2)), max_size=2).map(tuple)
_REFERENCES = st.lists(
    st.builds(
        CrossReference,
        st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), st.sampled_from(["B", "C"]), st.sampled_from(["1", "2"]),
    ),
    max_size=2,
).map(tuple)  # fmt: skip
_RESULTS = st.lists(st.builds(StepResult, st.sampled_from(["p", "q"]), st.binary(max_size=2)), max_size=2).map(tuple)
_TIMES = _SECONDS.map(lambda s: START + dt.timedelta(seconds=s))
_MESSAGES = st.builds(
    message, st.integers(1, 40), flow=_FLOWS, key=_KEYS, event_id=st.sampled_from(["", "e1", "e2", "e3"]), time=_TIMES
)
_SETTLES = st.builds(
    Settle, seq=_SEQS, state=st.sampled_from(State), results=_RESULTS, attempts=st.integers(0, 9),
    due=st.none() | _TIMES, held_by=st.sampled_from(["erp", "crm"]), in_doubt=st.sampled_from([(), ("p",), ("p", "q")]),
    reason=st.sampled_from(["", "why"]), dead=st.none() | st.just(letter()), references=_REFERENCES, cursors=_CURSORS,
)  # fmt: skip
_LIMITS = st.integers(1, 3)
_REJECTED = st.builds(Rejected, _MESSAGES, st.just(letter()), _RESULTS)
_OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Accept, st.lists(_MESSAGES, min_size=1, max_size=3).map(tuple), _CURSORS),
    st.builds(Bury, st.lists(_REJECTED, max_size=3).map(tuple), _CURSORS),
    _SETTLES,
    _SETTLES,
    st.builds(
        Move,
        seq=_SEQS,
        state=st.sampled_from(State),
        held_by=st.sampled_from(["erp", "~operator"]),
        reason=st.sampled_from(["", "why"]),
        results=_RESULTS,
    ),
    st.builds(Replay, _SEQS, st.none() | st.binary(max_size=2), st.booleans()),
    st.builds(Discard, _SEQS, st.sampled_from(["", "why"])),
    st.builds(ReleaseDue, _TIMES, _LIMITS, st.sampled_from(["", "f"])),
    st.builds(ReleaseHeld, st.sampled_from(["erp", "crm"]), _LIMITS, st.sampled_from(["", "f"])),
    st.builds(SaveCursors, _CURSORS),
    st.builds(SaveReferences, _REFERENCES),
    st.builds(
        MarkSeen,
        st.sampled_from(["s", "t"]),
        st.sampled_from(["1", "2"]),
        _SEQS,
        _TIMES,
        st.sampled_from(["", "a", "b", "c"]),
    ),
    st.builds(Prune, _TIMES, _TIMES, _LIMITS),
)


class ModelComparison(RuleBasedStateMachine):
    """Does the same to the store and to the model, crashes the store now and then, and compares all that can be read."""

    def make_harness(self) -> StoreHarness:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.harness = self.make_harness()
        self.store = self.harness.create(self.clock.now)
        self.model = MemoryStore(now=self.clock.now)
        self.model.open()

    @rule(group=st.lists(_OPERATIONS, min_size=1, max_size=5), seconds=st.integers(0, 5))
    def commit(self, group: list[Operation], seconds: int) -> None:
        self.clock.advance(seconds)
        assert self.store.commit(group) == self.model.commit(group)

    @rule(group=st.lists(_OPERATIONS, max_size=4))
    def commit_fails(self, group: list[Operation]) -> None:
        group = [*group, Accept((message(99, key="\ud800"),))]
        for store in (self.store, self.model):
            with pytest.raises(JournalError):
                store.commit(group)

    @precondition(lambda self: self.model.counts())
    @rule()
    def crash(self) -> None:
        self.store = self.harness.crash(self.store, self.clock.now)
        self.model.open()
        assert self.harness.violations(self.store) == []

    @invariant()
    def reads_agree(self) -> None:
        assert view(self.store) == view(self.model)

    def teardown(self) -> None:
        assert self.harness.violations(self.store) == []
        self.store.close()


def view(store: Store) -> dict[str, Any]:
    """All that the suite's values can make a store show."""
    return {
        "messages": store.messages(),
        "states": {state.name: seqs(store.messages(MessageQuery(state=state.name.lower()))) for state in State},
        "leases": [store.lease(flow, 0, 100) for flow in "fg"],
        "next": [store.next_of_key(flow, key) for flow in "fg" for key in "ab"],
        "counts": store.counts(),
        "held": store.held(),
        "due": store.next_due(),
        "dead": [store.dead_letters(flow=flow) for flow in ("", "f", "g")],
        "cursors": [store.cursor(name) for name in "xy"],
        "references": store.references([(a, key, b) for a in "ABC" for key in "12" for b in "ABC"]),
    }
