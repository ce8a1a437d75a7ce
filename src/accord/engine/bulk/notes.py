"""What a run notes of its source beside loading it: its shape, and the profile of the data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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
from accord.engine.bulk.shape import CHANGES_MAX, Seen, changes, check, left_null, seen_of, shape_cursor, told
from accord.engine.bulk.state import RunRecord, cursor_of
from accord.flow.bulk.compile import BulkFlow
from accord.journal.group import Journal
from accord.record import Cursor
from accord.sdk.connector import Connection
from accord.sdk.shape import Shape


class Notes:
    """``begin`` before each pass. ``kept``: the profile of chunks that have a checkpoint, as JSON."""

    def __init__(self, flow: BulkFlow, profile: Profile) -> None:
        self._flow = flow
        self._seen = Seen()
        self._shapes: Sequence[Shape] = ()
        self.kept = msgspec.json.encode(profile)
        self.begin()

    @classmethod
    async def of(cls, flow: BulkFlow, run: RunRecord, journal: Journal) -> Notes:
        """Goes on with what an open run had counted."""
        before = await read_profile(journal, flow.name, run.id)
        return cls(flow, before or Profile(run=run.id, started=run.started, is_whole=run.is_whole))

    def begin(self) -> None:
        """Forgets chunks that were counted and have no checkpoint."""
        self._counted = msgspec.json.decode(self.kept, type=Profile)

    async def count(self, read: Read) -> bytes:
        """The profile with this chunk and those counted before it: what its checkpoint keeps. One chunk after another."""
        return await asyncio.to_thread(self._count, self._counted, read)

    def _count(self, profile: Profile, read: Read) -> bytes:
        Profiler(self._flow.source.fields, profile).add(read)
        return msgspec.json.encode(profile)

    def cursor(self, profile: bytes) -> Cursor:
        return Cursor(profile_cursor(self._flow.name), profile)

    async def look(self, run: RunRecord, connection: Connection, journal: Journal) -> frozenset[str]:
        """Compares the source's columns with the last run's. The fields to read as null. Raises ReadFailed, BulkFault."""
        flow = self._flow
        raw = await journal.reads.cursor(shape_cursor(flow.name))
        self._seen = msgspec.json.decode(raw, type=Seen) if raw else Seen()
        self._shapes = await connection.shape(flow.source, run.position)
        found = changes(flow.source, self._seen, self._shapes)
        run.changes = list(dict.fromkeys([*(run.changes if run.chunk else ()), *told(flow, found)]))[:CHANGES_MAX]
        check(flow.source, found)
        return left_null(flow.source, self._shapes)

    async def ended(self, run: RunRecord, journal: Journal) -> list[Cursor]:
        """Compares the run with the last ones; says what it found in the run's record."""
        new = Profiler(self._flow.source.fields, msgspec.json.decode(self.kept, type=Profile)).ended(run.rows)
        earlier = [one for one in await read_profiles(journal, self._flow.name) if one.run != run.id]
        run.quality = findings(self._flow.source.quality, new, earlier)
        name = self._flow.name
        cursors = [
            cursor_of(profiles_cursor(name), [new, *earlier][:PROFILES_KEPT]),
            cursor_of(profile_cursor(name), None),
        ]
        if self._shapes:
            seen = seen_of(self._flow.source, self._seen, self._shapes)
            cursors.append(cursor_of(shape_cursor(name), seen))
        return cursors
