"""The way of chunks from the mapping to their checkpoint: noted, written, settled, several at once and in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from accord.engine.accept import new_id
from accord.engine.bulk.begun import REWRITTEN, Ready, begun_of, count, is_given_alike, is_refused_alike, taken_sums
from accord.engine.bulk.book import Book
from accord.engine.bulk.mapping import Mapped, Mapper
from accord.engine.bulk.notes import Notes
from accord.engine.bulk.overlap import BulkFault, Seen, SeenPart
from accord.engine.bulk.rejects import refused_rows, rejects_of_targets
from accord.engine.bulk.state import Begun, seen_cursor
from accord.engine.bulk.targets import Targets
from accord.flow.bulk.compile import BulkFlow
from accord.journal.operations import Rejected
from accord.observe.crash_points import crash_point
from accord.record import Cursor
from accord.sdk.bulk import LoadMode, Written


class _UnderWay(NamedTuple):
    """``part``: what the overlap remembers of the chunk."""

    ready: Ready
    begun: Begun
    part: SeenPart
    written: asyncio.Task[list[Written]]


class _Taken(NamedTuple):
    """What came of a chunk: rows that targets ``refused``, and the checksums of those that they took."""

    written: Sequence[Written]
    sums: Sequence[str]
    rejects: Sequence[Rejected] = ()
    refused: int = 0


class Way:
    """Of one pass. ``seconds``: how many the run has been at work. ``settled`` is called when a chunk has its checkpoint."""

    def __init__(
        self,
        flow: BulkFlow,
        book: Book,
        targets: Targets,
        notes: Notes,
        mapper: Mapper,
        seen: Seen,
        *,
        seconds: Callable[[], float],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._flow = flow
        self._book = book
        self._targets = targets
        self._notes = notes
        self._mapper = mapper
        self._seen = seen
        self._seconds = seconds
        self._settled = settled
        self._under_way: deque[_UnderWay] = deque()
        notes.begin()

    async def take_up(self) -> None:
        """Settles chunks that have begun as they were given, the oldest first, as long as every target has them so."""
        state = self._book.state
        while state.begun and any(state.begun[0].given):
            begun = state.begun[0]
            written = await self._targets.have(begun)
            if written is None:
                return
            part = self._seen.part_kept(begun.largest, begun.seen)
            await self._checkpoint(begun, part, _Taken(written, begun.checksums), self._notes.kept)

    async def put(self, ready: Ready) -> None:
        """The chunk is on its way when this returns. Waits while targets have as many as they take at once."""
        part = self._seen.part_of(ready.mapped.read)
        begun = await self._note(ready, part)
        written = asyncio.create_task(self._targets.write(begun, ready.mapped))
        self._under_way.append(_UnderWay(ready, begun, part, written))
        if len(self._under_way) >= self._targets.at_once:
            await self._settle()

    async def settle_all(self) -> None:
        while self._under_way:
            await self._settle()

    async def cancel(self) -> None:
        tasks = [one.written for one in self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _note(self, ready: Ready, part: SeenPart) -> Begun:
        """The chunk is in the journal, with what its steps refused, before a target hears of it. Raises BulkFault when it is another than
        the one that targets may have."""
        state, place = self._book.state, len(self._under_way)
        before, behind = state.begun, []
        number = self._under_way[-1].begun.number + 1 if self._under_way else self._book.run.chunk
        begun = begun_of(new_id(), number, ready, part)
        if place < len(before):
            was = before[place]
            if is_given_alike(was, begun) and (was.orders == begun.orders or not await self._targets.heed_order(was)):
                begun, behind = msgspec.structs.replace(begun, id=was.id, number=was.number), before[place + 1 :]
                if is_refused_alike(was, begun):
                    return begun
            else:
                begun = msgspec.structs.replace(begun, number=await self._number_anew(before[place:]))
        state.begun = [*before[:place], begun, *behind]
        try:
            await self._book.bury(ready.rejects)
        except BaseException:
            state.begun = before
            raise
        crash_point("bulk.noted")
        return begun

    async def _number_anew(self, left: Sequence[Begun]) -> int:
        """For a chunk that was read again and is another than before; ``left``: it and those behind it as they were. What targets have of
        them is written over by itself, or is nothing."""
        if all(LoadMode(one.mode) in REWRITTEN for one in self._book.run.writes):
            return left[-1].number + 1
        for begun in left:
            index = await self._targets.with_rows_of(begun)
            if index is not None:
                source, target = self._flow.source.name, self._flow.writes[index].entity.name
                what = f"{source} holds other rows than when chunk {begun.number} was on its way to {target}."
                mend = (
                    "Rows of that chunk may be there, and cannot be told from the new ones. Begin anew with `accord bulk run --fresh`;"
                    " in mode append remove first what this run has written."
                )
                raise BulkFault(what, mend=mend, code="engine.bulk-changed")
        return left[0].number

    async def _settle(self) -> None:
        """The oldest chunk: when every target has it, its checkpoint."""
        (mapped, _, _, profile), begun, part, task = self._under_way[0]
        written = await task
        self._under_way.popleft()
        taken = _Taken(written, begun.checksums)
        if any(one.rejects for one in written):
            taken = await asyncio.to_thread(self._with_rejects, mapped, begun, written)
        await self._checkpoint(begun, part, taken, profile)

    def _with_rejects(self, mapped: Mapped, begun: Begun, written: Sequence[Written]) -> _Taken:
        refused = refused_rows(mapped, written)
        rejects = rejects_of_targets(self._mapper, mapped, refused)
        return _Taken(written, taken_sums(begun, mapped, written), rejects, len(refused))

    async def _checkpoint(self, begun: Begun, part: SeenPart, taken: _Taken, profile: bytes) -> None:
        run, state = self._book.run, self._book.state
        self._seen.add(part)
        before, begun_before = run.copied(), state.begun
        count(run, begun, taken.written, taken.refused, taken.sums)
        run.waiting_since = None
        run.chunk = begun.number + 1
        run.position = begun.position
        run.is_read_out = begun.is_last
        run.settling += begun.ended
        run.cursor = msgspec.to_builtins(self._seen.largest)
        run.seconds = self._seconds()
        state.begun = begun_before[1:]
        cursors = [self._notes.cursor(profile)]
        if self._seen.is_needed:
            cursors.append(Cursor(seen_cursor(self._flow.name), self._seen.position()))
        try:
            crash_point("bulk.before-checkpoint")
            await self._book.bury(taken.rejects, cursors)
        except BaseException:
            run.restore(before)  # what the journal does not have did not happen: the next pass takes the chunk up again
            state.begun = begun_before
            raise
        self._notes.kept = profile
        crash_point("bulk.after-checkpoint")
        await self._settled()
