"""What a run notes of its source beside loading it: the profile of the data."""

from __future__ import annotations

import msgspec

from accord.engine.bulk.profile import Profile, Profiler
from accord.engine.bulk.quality import (
    PROFILES_KEPT,
    findings,
    profile_cursor,
    profiles_cursor,
    read_profile,
    read_profiles,
)
from accord.engine.bulk.reading import Read
from accord.engine.bulk.state import RunRecord, cursor_of
from accord.flow.bulk.compile import BulkFlow
from accord.journal.group import Journal
from accord.record import Cursor


class Notes:
    """``add`` counts a chunk, ``cursor`` is what its checkpoint keeps of it; ``undo`` when the journal could not take the checkpoint."""

    def __init__(self, flow: BulkFlow, profile: Profile) -> None:
        self._flow = flow
        self._kept = profile
        self.undo()

    @classmethod
    async def of(cls, flow: BulkFlow, run: RunRecord, journal: Journal) -> Notes:
        """Goes on with what an open run had counted."""
        before = await read_profile(journal, flow.name, run.id)
        return cls(flow, before or Profile(run=run.id, started=run.started, is_whole=run.is_whole))

    def add(self, read: Read) -> None:
        self._profiler.add(read)

    def cursor(self) -> Cursor:
        return cursor_of(profile_cursor(self._flow.name), self._profiler.profile)

    def keep(self) -> None:
        self._kept = _copied(self._profiler.profile)

    def undo(self) -> None:
        self._profiler = Profiler(self._flow.source.fields, _copied(self._kept))

    async def ended(self, run: RunRecord, journal: Journal) -> list[Cursor]:
        """Compares the run with the last ones; says what it found in the run's record."""
        new = self._profiler.ended(run.rows)
        earlier = [one for one in await read_profiles(journal, self._flow.name) if one.run != run.id]
        run.quality = findings(self._flow.source.quality, new, earlier)
        name = self._flow.name
        return [
            cursor_of(profiles_cursor(name), [new, *earlier][:PROFILES_KEPT]),
            cursor_of(profile_cursor(name), None),
        ]


def _copied(profile: Profile) -> Profile:
    return msgspec.json.decode(msgspec.json.encode(profile), type=Profile)
