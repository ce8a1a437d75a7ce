"""The targets of one pass: a load for each write of the flow, asked inside its system's gate."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from accord.engine.bulk.book import Book
from accord.engine.bulk.mapping import Mapped
from accord.engine.bulk.state import Begun, RunRecord
from accord.engine.bulk.writing import in_gate, load_of
from accord.engine.delivery import Port
from accord.engine.fair import Lane
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.write import BulkWrite
from accord.observe.crash_points import crash_point
from accord.sdk.bulk import Chunk, Load, Loaded, LoadMode, LoadSpec, Written
from accord.sdk.spread import SpreadLoad, Stager

WHOLE = (LoadMode.REPLACE, LoadMode.DELETE_MISSING)


class Targets:
    """``begin`` before anything else is asked; ``leave`` always at last. All raise LoadFailed."""

    def __init__(self, flow: BulkFlow, ports: Mapping[str, Port], lane: Lane, book: Book) -> None:
        self._lane = lane
        self._book = book
        self._ports = [ports[write.entity.system] for write in flow.writes]
        self._loads: list[Load] = [
            load_of(write, port, _spec_of(write, index, book.run))
            for index, (write, port) in enumerate(zip(flow.writes, self._ports, strict=True))
        ]
        self.has_begun = False
        self.at_once = min(load.at_once for load in self._loads)
        self.are_whole = any(LoadMode(one.mode) in WHOLE for one in book.run.writes)

    async def begin(self) -> None:
        """Once a pass. The run is in the journal before a target hears of it."""
        if self.has_begun:
            return
        await self._book.begin()
        for index, load in enumerate(self._loads):
            await self._asked(index, load.begin)
        self.has_begun = True

    async def write(self, begun: Begun, mapped: Mapped) -> list[Written]:
        found = []
        for index, (load, portion) in enumerate(zip(self._loads, mapped.portions, strict=True)):
            if not portion.rows:
                found.append(Written(0))
                continue
            staged = portion.staged.held if portion.staged is not None else None
            chunk = Chunk(begun.number, portion.frame, begun.id, staged)
            crash_point("bulk.before-write")
            found.append(await self._asked(index, functools.partial(load.write, chunk)))
            crash_point("bulk.after-write")
        return found

    async def have(self, begun: Begun) -> list[Written] | None:
        """What they took of the chunk, when every one has it of this very attempt and refused nothing of it."""
        found = []
        for index, load in enumerate(self._loads):
            known: Written | None = Written(0, attempt=begun.id)
            if begun.given[index]:
                known = await self._known(index, begun) if load.tells else None
            if known is None or known.attempt != begun.id or known.rejects:
                return None
            found.append(known)
        return found

    async def with_rows_of(self, begun: Begun) -> int | None:
        """The index of a target that has, or may have, rows of the chunk."""
        for index, load in enumerate(self._loads):
            if begun.given[index] and (not load.tells or await self._known(index, begun)):
                return index
        return None

    async def heed_order(self, begun: Begun) -> bool:
        """Some target has, or may have, rows of the chunk by their place in it."""
        for index, load in enumerate(self._loads):
            if not begun.given[index]:
                continue
            known = await self._known(index, begun) if load.tells else None
            if not load.tells or (known is not None and known.rejects):
                return True
        return False

    async def _known(self, index: int, begun: Begun) -> Written | None:
        known: Written | None = await self._asked(index, functools.partial(self._loads[index].known, begun.number))
        return known

    async def stagers(self) -> list[Stager | None]:
        """Of each load; they begin before a process of a cluster writes beside their targets."""
        if any(isinstance(load, SpreadLoad) for load in self._loads):
            await self.begin()
        return [
            await self._asked(index, load.stager) if isinstance(load, SpreadLoad) else None
            for index, load in enumerate(self._loads)
        ]

    async def finish(self) -> list[Loaded]:
        return [await self._asked(index, load.finish) for index, load in enumerate(self._loads)]

    async def abandon(self) -> None:
        for index, load in enumerate(self._loads):
            await self._asked(index, load.abandon)

    async def leave(self) -> None:
        for load in self._loads:
            await load.leave()

    async def _asked(self, index: int, work: Any) -> Any:
        return await in_gate(self._ports[index], self._lane, work)


def _spec_of(write: BulkWrite, index: int, run: RunRecord) -> LoadSpec:
    return LoadSpec(
        id=f"{run.id}-{index}",
        mode=LoadMode(run.writes[index].mode),
        key=write.entity.key,
        fields=tuple(write.entity.fields),
        deleted_share_max=write.deleted_share_max,
        started=run.started.isoformat(),
    )
