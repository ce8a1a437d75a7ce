"""Random lives of three members on one journal, compared with a model: no part ever has two owners, nothing is lost, nothing is
settled twice, numbers grow within a part, and who is out of order is fenced."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accord.errors import JournalError
from accord.journal.operations import Accept, Settle, State
from accord.journal.shared import LEASE_S, SharedStore
from accord.testing.journal_suite import message
from accord.testing.shared_harness import SharedHarness, final_code, key_of

KEYS = ("a", "b", "c", "d", "e")
SLOTS = (0, 1, 2)
_NOBODY = 0


class _Life(msgspec.Struct):
    """A member as the model knows it. ``is_silent``: the next census of another ends it."""

    store: SharedStore
    id: int
    is_silent: bool = False
    is_ended: bool = False


class SharedModel(RuleBasedStateMachine):
    """``owner`` and ``holder`` by part: who has it by the journal, and who knows so (a part given away is held from the next census
    of its new owner on)."""

    def make_harness(self) -> SharedHarness:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.harness = self.make_harness()
        self.parts = (0, 7, 20, 41, 63)
        self.key = {part: key_of(part) for part in self.parts}
        self.lives: dict[int, _Life] = {}
        self.dead: list[SharedStore] = []
        self.owner: dict[int, int] = {}
        self.holder: dict[int, int] = {}
        self.open: dict[int, list[int]] = {part: [] for part in self.parts}
        self.last: dict[int, int] = {}
        self.accepted = 0
        self.settled = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def start(self) -> None:
        self.run(self.harness.start())

    @rule(slot=st.sampled_from(SLOTS))
    def join(self, slot: int) -> None:
        if slot in self.lives:
            return
        store = self.harness.member()
        self.run(store.open())
        self.lives[slot] = _Life(store, self.run(store.join(f"node {slot}", "127.0.0.1:1")).id)

    @rule(slot=st.sampled_from(SLOTS))
    def look(self, slot: int) -> None:
        """What others have not noticed yet they notice now."""
        life = self.lives.get(slot)
        if life is None:
            return
        if life.is_ended:
            assert self.run(final_code(life.store.census)) == "journal.fenced"
            return
        census = self.run(life.store.census())
        life.is_silent = False
        for other in self.lives.values():
            if other is not life and other.is_silent:
                other.is_ended = True
        living = {one.id for one in self.lives.values() if not one.is_ended}
        for part, owner in list(self.owner.items()):
            if owner not in living:
                if owner != _NOBODY:
                    self.holder.pop(part, None)
                self.owner.pop(part)
            elif owner == life.id:
                self.holder[part] = owner
        assert set(census.members) == living
        assert dict(census.owners) == self.owner

    @rule(slot=st.sampled_from(SLOTS), indexes=st.sets(st.integers(0, 4), min_size=1))
    def take(self, slot: int, indexes: set[int]) -> None:
        self.look(slot)
        life = self.lives.get(slot)
        if life is None or life.is_ended:
            return
        wanted = {self.parts[index] for index in indexes}
        taken = self.run(life.store.take(sorted(wanted)))
        assert taken == {part for part in wanted if part not in self.owner}
        for part in taken:
            self.owner[part] = self.holder[part] = life.id

    @rule(slot=st.sampled_from(SLOTS), to=st.sampled_from((*SLOTS, None)), index=st.integers(0, 4))
    def give(self, slot: int, to: int | None, index: int) -> None:
        life, part = self.lives.get(slot), self.parts[index]
        heir = None if to is None else self.lives.get(to)
        if life is None or life.is_ended or life is heir or (heir is not None and heir.is_ended):
            return
        if self.holder.get(part) != life.id:
            return
        self.run(life.store.give([part], _NOBODY if heir is None else heir.id))
        del self.holder[part]
        if heir is None:
            del self.owner[part]
        else:
            self.owner[part] = heir.id

    @rule(slot=st.sampled_from(SLOTS))
    def fall_silent(self, slot: int) -> None:
        life = self.lives.get(slot)
        if life is not None and not life.is_ended:
            self.run(self.harness.silence(life.store, LEASE_S + 1))
            life.is_silent = True

    @rule(slot=st.sampled_from(SLOTS))
    def die(self, slot: int) -> None:
        life = self.lives.pop(slot, None)
        if life is None:
            return
        self.run(self.harness.kill(life.store))
        self.dead.append(life.store)
        for part, holder in list(self.holder.items()):
            if holder == life.id:
                del self.holder[part]

    @rule(slot=st.sampled_from(SLOTS), indexes=st.lists(st.integers(0, 4), min_size=1, max_size=3))
    def accept(self, slot: int, indexes: list[int]) -> None:
        life = self.lives.get(slot)
        if life is None:
            return
        parts = [self.parts[index] for index in indexes]
        group = Accept(
            tuple(message(self.accepted + n + 1, key=self.key[part]) for n, part in enumerate(parts, start=1))
        )
        self.accepted += len(parts)
        try:
            (accepted,) = self.run(life.store.commit([group]))
        except JournalError as error:
            self.accepted -= len(parts)
            if not life.is_ended:
                assert error.code == "journal.not-owner"
                assert any(self.holder.get(part) != life.id for part in parts)
            return
        assert not life.is_ended
        for part, one in zip(parts, accepted.messages, strict=True):
            assert self.holder.get(part) == life.id
            assert (one.seq > self.last.get(part, 0), one.is_duplicate) == (True, False)
            self.last[part] = one.seq
            self.open[part].append(one.seq)

    @rule(slot=st.sampled_from(SLOTS), index=st.integers(0, 4))
    def settle(self, slot: int, index: int) -> None:
        life, part = self.lives.get(slot), self.parts[index]
        if life is None or not self.open[part]:
            return
        seq = self.open[part][0]
        settle = Settle(seq=seq, state=State.DONE)
        if life.is_ended:
            assert self.run(final_code(lambda: life.store.commit([settle]))) == "journal.fenced"
            return
        is_holder = self.holder.get(part) == life.id
        assert self.run(life.store.commit([settle, settle])) == [is_holder, False]
        if is_holder:
            self.open[part].pop(0)
            self.settled += 1

    @invariant()
    def owners_see_the_oldest_of_their_keys(self) -> None:
        for life in self.lives.values():
            if not life.is_ended:
                own = [part for part, holder in self.holder.items() if holder == life.id]
                found = [lease.seq for lease in self.run(life.store.lease("f", 0, 100))]
                assert found == sorted(self.open[part][0] for part in own if self.open[part])

    @invariant()
    def nothing_is_lost(self) -> None:
        for life in self.lives.values():
            if not life.is_ended:
                waiting = sum(map(len, self.open.values()))
                counts = {("f", "ready"): waiting, ("f", "done"): self.settled}
                assert self.run(life.store.counts()) == {name: n for name, n in counts.items() if n}
                return

    def teardown(self) -> None:
        for store in [life.store for life in self.lives.values()] + self.dead:
            self.run(store.close())
        if self.lives or self.dead:
            assert self.harness.violations() == []
        self.run(self.harness.stop())
        self.runner.close()
