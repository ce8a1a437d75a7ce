"""One of several engines on one journal in PostgreSQL (``accord.journal.shared``; decision 0112).

Besides what holds for an engine alone (``postgresql``):

5. Sequence numbers come in blocks from the database (``numbers``). When a member gets a part it throws its block away: the next one
   is above all that any earlier owner of the part can have given.
6. What is committed is only of parts that were held when the commit began, and a part is given away only between two commits.
7. Others end a member whose lease has run out (no beat for ``lease_s`` by the database's clock), or whose lock is free: at once when
   the one who looks has its name (it was started anew), else after ``gone_s``, since a lost connection frees the lock as well.
   Who has just connected again judges nobody: after an outage of the database all have been silent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, TypeVar

import psycopg

from accord.errors import JournalError
from accord.journal.encoding import to_us
from accord.journal.faults import closed
from accord.journal.operations import Operation, size_of
from accord.journal.parts import mask_of
from accord.journal.shared import LEASE_S, Census, Member
from accord.journal.stores import postgresql_membership as membership
from accord.journal.stores import postgresql_reads as reads
from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_faults import fenced
from accord.journal.stores.postgresql_membership import Seen
from accord.journal.stores.postgresql_migrate import migrate, needs_nobody_else
from accord.journal.stores.postgresql_session import (
    POLL_S,
    Connection,
    Session,
    bounded,
    end_holder,
    lock_journal,
    lock_member,
    member_keys,
    unlock_journal,
)

BLOCK = 10_000  # sequence numbers taken at a time, each time in a commit of its own
GONE_S = 2.0  # a member whose connection broke is back by then, if it can be
STEP_WAIT_S = 4.0  # for the server to carry out a step of the membership; shorter than a lease

_Found = TypeVar("_Found")


class PostgresqlMember(PostgresqlStore):
    """A SharedStore: ``open``, then ``join``. ``lease_s`` and ``gone_s`` must be the same for all members of a journal."""

    is_shared: ClassVar[Literal[True]] = True
    _connections = 3

    def __init__(self, *values: Any, lease_s: float = LEASE_S, gone_s: float = GONE_S, **named: Any) -> None:
        super().__init__(*values, **named)
        self.lease_s = lease_s
        self.gone_s = gone_s
        self._member: Member | None = None
        self._end_seq = 0
        self._resumed_at = -lease_s - gone_s
        self._stepping = asyncio.Lock()  # one step of the membership at a time

    async def _begin(self, writer: Connection) -> None:
        """Shares the journal; for a migration that no running engine would survive has it alone for a moment, if nobody runs."""
        deadline = time.monotonic() + self._lock_wait_s
        while True:
            await lock_journal(writer, self.schema, self._lock_wait_s, is_shared=True)
            if not await needs_nobody_else(writer, self.schema, self.migrations):
                await migrate(writer, self.schema, to_us(self._now()), self.migrations)
                return
            await unlock_journal(writer, self.schema, is_shared=True)
            try:
                await lock_journal(writer, self.schema, 0.0)
            except JournalError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(random.uniform(0.0, 2 * POLL_S))  # others may be starting as well
                continue
            await migrate(writer, self.schema, to_us(self._now()), self.migrations)
            await unlock_journal(writer, self.schema)

    # membership

    async def join(self, name: str, address: str) -> Member:
        """Raises JournalError ``journal.unavailable``."""
        async with self._step() as session:
            with bounded(session.writer, STEP_WAIT_S) as writer:
                member = Member(await membership.new_id(writer), name, address)
                # Locked before it is seen, so that nobody takes it for dead.
                await lock_member(writer, self.schema, member.id, self._lock_wait_s)
                await membership.enter(writer, member)
            self._id, self._commits, self._member = member.id, 0, member
        return member

    async def census(self) -> Census:
        """As the contract says; parts that were given to this member are its own from here on. Raises JournalError
        ``journal.fenced``, ``journal.unavailable``."""
        async with self._step() as session:
            found = await self._done(session, membership.look(session.watcher, self._id, member_keys(self.schema)))
            seen, parts = found
            living = {one.member.id: one.member for one in seen if not await self._ended(session.watcher, one)}
            given = {part: row[1:] for part, row in parts.items() if row[0] == self._id and not self._holding.of(part)}
            if given:
                await self._hold(given)
        return Census(living, {part: row[0] for part, row in sorted(parts.items()) if row[0] in living})

    async def take(self, parts: Sequence[int]) -> frozenset[int]:
        async with self._step() as session:
            taken = await self._done(session, membership.take(session.watcher, self._id, parts))
            if taken:
                await self._hold(taken)
        return frozenset(taken)

    async def give(self, parts: Sequence[int], to: int) -> None:
        async with self._step() as session:
            async with self._writing:
                own = [part for part in parts if self._holding.of(part)]
                self._holding = self._holding.without(own)
            if own:  # should this fail unnoticed, the next census finds them here and holds them again
                await self._done(session, membership.give(session.watcher, self._id, own, to))

    async def leave(self) -> None:
        async with self._step() as session:
            await self._done(session, membership.leave(session.watcher, self._id))

    async def open_counts(self, parts: Sequence[int]) -> dict[str, int]:
        async with self._reading() as db:
            return await reads.open_counts(db, mask_of(part for part in parts if self._holding.of(part)))

    async def _hold(self, parts: Mapping[int, tuple[int, int]]) -> None:
        async with self._writing:
            self._holding = self._holding.with_parts(parts)
            self._end_seq = self._last_seq

    async def _ended(self, watcher: Connection, one: Seen) -> bool:
        """Ends a member that is gone; False while it may be alive."""
        assert self._member is not None
        silent_s = self._silence_allowed_s(one)
        since_resumed_s = time.monotonic() - self._resumed_at
        if one.member.id == self._id or one.silent_s < silent_s or since_resumed_s < silent_s:
            return False
        with bounded(watcher, STEP_WAIT_S):
            await end_holder(watcher, self.schema, one.member.id)
            return await membership.end(watcher, one.member.id, silent_s)

    def _silence_allowed_s(self, one: Seen) -> float:
        assert self._member is not None
        if one.has_lock:
            return self.lease_s
        return 0.0 if one.member.name == self._member.name else self.gone_s

    @asynccontextmanager
    async def _step(self) -> AsyncIterator[Session]:
        async with self._stepping:
            session = self._connected()
            try:
                yield session
            except (psycopg.Error, OSError) as error:
                raise self._failed(session, error) from error

    def _connected(self) -> Session:
        """Also before it has joined."""
        if (error := super().unavailable()) is not None:
            raise error
        assert self._session is not None
        return self._session

    async def _done(self, session: Session, work: Awaitable[_Found | None]) -> _Found:
        """What a step over the watcher has come to; None: this member has ended."""
        with bounded(session.watcher, STEP_WAIT_S):
            found = await work
        if found is None:
            self._is_fenced = True
            raise fenced()
        return found

    # what an engine alone does otherwise

    def unavailable(self) -> JournalError | None:
        error = super().unavailable()
        return closed() if error is None and self._member is None else error

    async def _provide_numbers(self, writer: Connection, operations: Sequence[Operation]) -> None:
        count = sum(size_of(operation) for operation in operations)
        if self._last_seq + count > self._end_seq:
            wanted = max(count, BLOCK)
            self._end_seq = await membership.more_numbers(writer, wanted)
            self._last_seq = self._end_seq - wanted

    async def _resumed(self, writer: Connection, *, is_shared: bool = True) -> int | None:
        if self._member is None:
            await lock_journal(writer, self.schema, self._lock_wait_s, is_shared=True)
            return 0
        commits = await super()._resumed(writer, is_shared=True)
        self._resumed_at = time.monotonic()
        return commits
