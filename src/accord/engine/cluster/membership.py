"""A member among others: beats, takes the parts nobody has, gives away those that others should have.

Invariants:

- What this member believes to own it does own: parts become its own by ``take`` or by another's ``give``, seen in a census, and stop
  being so by its own ``give`` alone. Census and ``give`` never overlap, so no census is older than a ``give`` it is compared with.
- Nothing runs of a part that is given away, and what was accepted of it is committed (``Holdings``). A part that cannot be brought
  to rest is never given: it goes over when this member's lease ends, and its messages then count as recovered.
- When the lease has ended (``journal.fenced``), ``run`` raises: the engine is cut off and its process must end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from accord.engine.clock import Clock
from accord.engine.cluster.handover import Links
from accord.engine.cluster.holdings import Holdings
from accord.engine.cluster.plan import plan, wanted_owners
from accord.engine.cluster.table import PartTable, Validity, now_s
from accord.errors import JournalError
from accord.journal.shared import BEAT_S, Census, SharedStore
from accord.observe import Observer
from accord.observe.events import MemberGone, MemberJoined, PartFailed, PartsGained, PartsGiven

LOOK_S = 0.05  # between two censuses at the least, whoever asks for them
REST_S = 10.0  # for what runs of a surplus part; what takes longer keeps its part here for now
REST_TICK_S = 0.2  # how late a stop, or the end of the patience above, is noticed
REST_AGAIN_S = 30.0  # until a part that could not be brought to rest is tried again
FENCED = "journal.fenced"


class Membership:
    """``store`` has joined as ``table.me``. ``begin`` once, then ``run`` until cancelled; ``depart`` before the engine stops."""

    def __init__(
        self,
        store: SharedStore,
        table: PartTable,
        validity: Validity,
        holdings: Holdings,
        links: Links,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._store = store
        self._table = table
        self._validity = validity
        self._holdings = holdings
        self._links = links
        self._observer = observer
        self._clock = clock
        self._order = asyncio.Lock()  # of censuses and gives
        self._wish = asyncio.Event()
        self._giving: asyncio.Task[None] | None = None
        self._give_after_s = 0.0
        self._is_departing = False
        self._seen_s = 0.0
        self._failure: JournalError | None = None

    def look(self) -> None:
        """Something has changed: take a census soon."""
        self._wish.set()

    async def begin(self) -> None:
        """The first census. Raises JournalError."""
        await self._beat()

    async def run(self) -> None:
        """Raises JournalError ``journal.fenced``."""
        while True:
            await self._pause()
            try:
                await self._beat()
            except JournalError as error:
                if error.code == FENCED:
                    raise
            if self._failure is not None:
                raise self._failure

    async def depart(self, within_s: float) -> None:
        """Gives all parts away, as far as there is somebody to take them and time. Raises JournalError."""
        self._is_departing = True
        deadline_s = self._clock.monotonic() + within_s
        await self._store.leave()
        if self._giving is not None:
            await asyncio.wait([self._giving])
        while self._table.held and self._clock.monotonic() < deadline_s:
            async with self._order:
                census = await self._census()
            wanted = wanted_owners(census)
            if not wanted:
                return  # nobody stays: the parts wait for whoever comes
            try:
                await self._give_away({part: wanted[part] for part in self._table.held}, deadline_s)
            except JournalError as error:
                if error.code == FENCED:
                    raise
                await self._clock.sleep(LOOK_S)  # who was to have them has gone: ask again who there is

    async def stop(self) -> None:
        if self._giving is not None:
            self._giving.cancel()
            await asyncio.gather(self._giving, return_exceptions=True)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._wish.wait()
        self._wish.clear()
        await asyncio.sleep(max(0.0, self._seen_s + LOOK_S - now_s()))

    async def _beat(self) -> None:
        async with self._order:
            census = await self._census()
            if self._is_departing:
                return
            todo = plan(census, self._table.me)
            taken = await self._store.take(todo.take) if todo.take else frozenset()
            given = {part for part, owner in census.owners.items() if owner == self._table.me}
            gained = (given | taken) - self._table.held
            if gained:
                await self._holdings.gain(gained)
                self._table.owners.update(dict.fromkeys(gained, self._table.me))
                self._observer.emit(PartsGained(parts=len(gained), owned=len(self._table.held)))
        surplus = {part: to for part, to in todo.give.items() if part in self._table.held}
        if surplus and self._giving is None and self._clock.monotonic() >= self._give_after_s:
            self._giving = asyncio.get_running_loop().create_task(self._give_surplus(surplus))

    async def _census(self) -> Census:
        """Only with ``_order`` held."""
        began_s = self._seen_s = now_s()
        census = await self._store.census()
        self._validity.renew(began_s)
        before = self._table.members
        self._table.update(census)
        for id, member in census.members.items():
            if id not in before and id != self._table.me:
                self._observer.emit(MemberJoined(member=member.name))
        for id, member in before.items():
            if id not in census.members:
                self._observer.emit(MemberGone(member=member.name))
        self._links.keep(census.members)
        self._links.sweep(began_s)
        return census

    async def _give_surplus(self, wanted: Mapping[int, int]) -> None:
        try:
            await self._give_away(wanted, self._clock.monotonic() + REST_S)
        except Exception as error:  # noqa: BLE001 (a part must not rest for ever; a defect is reported)
            if not isinstance(error, JournalError):
                self._observer.emit(PartFailed(part="hand-over", error=f"{type(error).__name__}: {error}"[:500]))
            elif error.code == FENCED:
                self._failure = error
        kept = self._table.held.intersection(wanted)
        if kept and not self._is_departing:
            self._holdings.resume(kept)
            self._give_after_s = self._clock.monotonic() + REST_AGAIN_S
        self._giving = None
        self.look()

    async def _give_away(self, wanted: Mapping[int, int], deadline_s: float) -> None:
        """Each part as soon as it is at rest; those that do not come to rest in time are left. Raises JournalError: what was not given
        by then is still held, or is found by the next census to be."""
        left = set(wanted)
        self._holdings.rest(left)
        while left:
            idle = await self._holdings.wait_idle(left, REST_TICK_S)
            if idle:
                await self._give(idle, wanted)
                left -= idle
            elif self._clock.monotonic() >= deadline_s:
                return

    async def _give(self, parts: set[int], wanted: Mapping[int, int]) -> None:
        by_member: dict[int, list[int]] = {}
        for part in sorted(parts):
            by_member.setdefault(wanted[part], []).append(part)
        async with self._order:
            await self._holdings.close(parts)
            for to, group in by_member.items():
                await self._store.give(group, to)
                self._table.owners.update(dict.fromkeys(group, to))
        self._table.changed()
        for to, group in by_member.items():
            member = self._table.members.get(to)
            self._observer.emit(PartsGiven(parts=len(group), to=member.name if member else str(to)))
            if member is not None:
                await self._links.look(member)
