"""What a member does with its parts: takes up their messages, and lets go of them so that another can.

A part is let go of in three steps, which keep it from standing still for longer than it must:

1. ``rest``: none of its messages starts any more; what runs goes on; what arrives is still accepted.
2. ``wait_idle``: what ran has settled.
3. ``close``: nothing more is accepted; what was submitted is committed. Only then it may be given away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from accord.engine.cluster.queue import PartedQueue
from accord.engine.cluster.runners import Runners
from accord.engine.cluster.table import PartTable
from accord.engine.gate import Gate
from accord.engine.release import Releaser
from accord.journal.group import Journal
from accord.journal.operations import SaveCursors
from accord.journal.shared import PARTS, SharedStore
from accord.observe import Observer
from accord.observe.events import FlowMissing


class Holdings:
    """The engine's working parts, as far as parts of the journal concern them."""

    def __init__(
        self,
        table: PartTable,
        store: SharedStore,
        journal: Journal,
        queues: Mapping[str, PartedQueue],
        gates: Mapping[str, Gate],
        runners: Runners,
        releaser: Releaser,
        release_versions: Callable[[], Awaitable[bool]],
        observer: Observer,
    ) -> None:
        self._table = table
        self._store = store
        self._journal = journal
        self._queues = queues
        self._gates = gates
        self._runners = runners
        self._releaser = releaser
        self._release_versions = release_versions
        self._observer = observer
        self._gone = asyncio.Event()

    def key_gone(self) -> None:
        """A key has left a queue's memory."""
        self._gone.set()

    async def gain(self, parts: Collection[int]) -> None:
        """Own parts whose messages run here from now on. Raises JournalError: they are, if they are ``held``."""
        counts = await self._store.open_counts(sorted(parts))
        table = self._table
        table.held |= set(parts)
        table.running |= set(parts)
        table.accepting |= set(parts)
        for flow, count in counts.items():
            if flow in self._queues:
                self._queues[flow].gained(count)
            elif count:
                self._observer.emit(FlowMissing(flow=flow, open_messages=count))
        self._releaser.parked()  # there may be something to wake
        self._adjust()
        if await self._release_versions():  # what waits for a version that this engine may have
            for queue in self._queues.values():
                queue.resumed()

    def rest(self, parts: Collection[int]) -> None:
        self._table.running -= set(parts)
        for queue in self._queues.values():
            queue.shed()
        self._adjust()

    def resume(self, parts: Collection[int]) -> None:
        """What rested runs here after all."""
        self._table.running |= set(parts)
        self._table.accepting |= set(parts)
        for queue in self._queues.values():
            queue.resumed()
        self._releaser.parked()
        self._adjust()

    async def wait_idle(self, parts: Collection[int], within_s: float) -> set[int]:
        """Those of the resting parts of which nothing runs, as soon as there are some; none when the time is up."""
        await self._runners.wait_ended()
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._gone.clear()
                    idle = set(parts).difference(*(queue.parts_in_memory() for queue in self._queues.values()))
                    if idle:
                        return idle
                    await self._gone.wait()
        except TimeoutError:
            return set()

    async def close(self, parts: Collection[int]) -> None:
        """They are not held any more. Raises JournalError: then they are, and ``resume`` or another try follows."""
        self._table.accepting -= set(parts)
        await self._journal.submit(SaveCursors(()))  # commits keep their order: what was accepted before is told now
        counts = await self._store.open_counts(sorted(parts))
        self._table.held -= set(parts)
        for flow, count in counts.items():
            if flow in self._queues:
                self._queues[flow].lost(count)

    def _adjust(self) -> None:
        """What goes by the number of parts, and what runs in one place only."""
        for gate in self._gates.values():
            gate.set_share(len(self._table.running) / PARTS)
        self._runners.update()
        self._table.changed()
