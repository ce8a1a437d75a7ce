"""Work that one member does for all: readers, schedules, subscriptions, pruning. It runs where the part of its name runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from accord.journal.shared import part_of

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Runners:
    """``running``: the parts that run here; after each change of it call ``update``. ``supervise`` runs work for good."""

    def __init__(self, running: AbstractSet[int], supervise: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
        self._running = running
        self._supervise = supervise
        self._work: dict[str, Work] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    def add(self, name: str, work: Work) -> None:
        self._work[name] = work
        self.update()

    @property
    def names(self) -> list[str]:
        """Of what runs here."""
        return sorted(self._tasks)

    def update(self) -> None:
        for name, work in self._work.items():
            is_here = not self._is_stopped and part_of("source", name) in self._running
            if is_here and name not in self._tasks:
                self._tasks[name] = asyncio.get_running_loop().create_task(self._supervise(work))
            elif not is_here and name in self._tasks:
                task = self._tasks.pop(name)
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def wait_ended(self) -> None:
        """Until nothing goes on that ``update`` has stopped."""
        while self._ending:
            await asyncio.wait(set(self._ending))

    async def stop(self) -> None:
        self._is_stopped = True
        self.update()
        await self.wait_ended()
