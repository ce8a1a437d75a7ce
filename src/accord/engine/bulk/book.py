"""A run as the journal has it: all that is kept of one goes through here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from accord.engine.bulk.state import RUNS_KEPT, BulkState, RunRecord, cursor_of, read_runs, runs_cursor, state_cursor
from accord.journal.group import Journal
from accord.journal.operations import Bury, Rejected, SaveCursors
from accord.record import Cursor

BURIED_AT_ONCE = 1_000  # rejects of one commit


class Book:
    """``run``: the present one. ``is_begun``: the journal has it."""

    def __init__(self, journal: Journal, state: BulkState, run: RunRecord, *, is_begun: bool) -> None:
        self.journal = journal
        self.state = state
        self.run = run
        self.is_begun = is_begun
        state.run = run

    async def begin(self) -> None:
        if not self.is_begun:
            await self.save()

    async def save(self, more: Iterable[Cursor] = ()) -> None:
        await self.journal.submit(SaveCursors((self._state(), *more)))
        self.is_begun = True

    async def bury(self, rejects: Sequence[Rejected], more: Iterable[Cursor] = ()) -> None:
        """With the last of the rejects the state moves, in one transaction; a reject that is buried twice is there once."""
        while len(rejects) > BURIED_AT_ONCE:
            first, rejects = rejects[:BURIED_AT_ONCE], rejects[BURIED_AT_ONCE:]
            await self.journal.submit(Bury(tuple(first)))
        accepted = await self.journal.submit(Bury(tuple(rejects), (self._state(), *more)))
        self.run.again += sum(one.is_duplicate for one in accepted.messages)

    async def with_ended(self) -> Cursor:
        """The list of runs that have ended, and this one."""
        earlier = await read_runs(self.journal, self.run.flow)
        others = [one for one in earlier if one.id != self.run.id]
        return cursor_of(runs_cursor(self.run.flow), [self.run, *others][:RUNS_KEPT])

    def _state(self) -> Cursor:
        return cursor_of(state_cursor(self.run.flow), self.state)
