"""The journal in a schema of a PostgreSQL database.

Invariants 3 to 10 of the SQLite store hold here too; ``postgresql_verify.verify`` checks them. Besides:

1. A commit is one transaction, with ``synchronous_commit`` never off. Its group is written in one round trip and committed in a
   second one, so all results are known before the commit is asked for.
2. Every part of the journal has at most one owner. A commit locks the owner's row in ``members`` and fails if it is gone
   (``postgresql_membership``): who has lost its parts can commit nothing any more: ``journal.fenced``.
3. Every commit counts up ``members.commits``. When the answer to a commit is lost, the owner connects again, takes its lock (so
   the old connection has ended, one way or the other) and reads there whether the commit was made.
4. Sequence numbers are never given twice (``numbers.last_seq`` outlives pruning). An engine alone gives them without gaps.

While the server cannot be reached every commit and read fails at once with ``journal.unavailable``; a task connects again. A server
that says nothing for ``commit_wait_s`` is one that cannot be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import psycopg
from psycopg import errors

from accord.errors import JournalError
from accord.journal.encoding import to_us
from accord.journal.faults import closed, operation_fault
from accord.journal.operations import DeadLetterRow, Lease, MessageRow, Operation
from accord.journal.search import ANY, InDoubt, MessageQuery
from accord.journal.stores import postgresql_membership as membership
from accord.journal.stores import postgresql_reads as reads
from accord.journal.stores.postgresql_faults import OPERATION_FAULTS, fenced, translate, unavailable
from accord.journal.stores.postgresql_holding import Holding
from accord.journal.stores.postgresql_migrate import migrate
from accord.journal.stores.postgresql_rare import Context
from accord.journal.stores.postgresql_schema import MIGRATIONS, Migration
from accord.journal.stores.postgresql_session import (
    COMMIT_WAIT_S,
    SEARCH_WAIT_S,
    Connection,
    Session,
    bounded,
    connect,
    lock_journal,
    lock_member,
)
from accord.journal.stores.postgresql_writes import GroupWrites
from accord.observe.crash_points import crash_point

START_WAIT_S = 10.0  # for a server that is just starting
LOCK_WAIT_S = 5.0  # for the server to notice that the last owner was killed
RECONNECT_FIRST_S = 0.1
RECONNECT_LONGEST_S = 1.0

MEETINGS_MAX = 5  # times that a group may meet one of another member (same event, same mark) before it is given up

_FENCE = "UPDATE members SET commits = %s WHERE id = %s AND commits = %s"
# Another member was about to write the same; after it has, the group means what it always did.
_MEETINGS = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)
_ENDLESS = 2**63 - 1


def process_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class PostgresqlStore:
    """An AsyncStore that is alone on its journal. ``url``: ``postgresql://user:password@host:5432/database``; ``schema`` is the
    journal's own; ``now`` is the clock for settle times."""

    is_async: ClassVar[Literal[True]] = True
    migrations: ClassVar[tuple[Migration, ...]] = MIGRATIONS
    _connections = 2

    def __init__(
        self,
        url: str,
        schema: str = "accord",
        *,
        now: Callable[[], dt.datetime] = utc_now,
        start_wait_s: float = START_WAIT_S,
        lock_wait_s: float = LOCK_WAIT_S,
        commit_wait_s: float = COMMIT_WAIT_S,
    ) -> None:
        self.schema = schema
        self._url = url
        self._now = now
        self._start_wait_s = start_wait_s
        self._lock_wait_s = lock_wait_s
        self._commit_wait_s = commit_wait_s
        self._session: Session | None = None
        self._id = 0
        self._commits = 0
        self._holding = Holding()
        self._last_seq = 0
        self._end_seq = _ENDLESS  # the last number that may be given without asking for more
        self._writing = asyncio.Lock()  # held by a commit, and by who changes what it may write
        self._is_open = False
        self._is_fenced = False
        self._why: BaseException | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._decided = asyncio.Event()  # connected again, fenced, or closed

    async def open(self) -> None:
        """Creates or migrates the schema and becomes its owner.

        Raises JournalError: ``journal.unavailable``, ``journal.locked``, ``journal.foreign``, ``journal.newer``, ``journal.path``.
        """
        session = await self._first_session()
        try:
            await self._begin(session.writer)
        except BaseException as error:
            await session.close()
            if isinstance(error, psycopg.Error):
                raise translate(error) from error
            raise
        self._session = session
        self._is_open = True

    async def _begin(self, writer: Connection) -> None:
        await lock_journal(writer, self.schema, self._lock_wait_s)
        await migrate(writer, self.schema, to_us(self._now()), self.migrations)
        self._id, self._last_seq, self._holding = await membership.enter_alone(writer, process_name())
        await lock_member(writer, self.schema, self._id, self._lock_wait_s)

    async def _first_session(self) -> Session:
        deadline = time.monotonic() + self._start_wait_s
        while True:
            try:
                return await connect(self._url, self.schema, self._connections)
            except JournalError as error:
                if error.code != "journal.unavailable" or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(RECONNECT_FIRST_S)

    async def close(self) -> None:
        """Departs, and ends the connections, and the locks with them. Closing twice is harmless."""
        self._is_open = False
        self._decided.set()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
            self._reconnecting = None
        session, self._session = self._session, None
        if session is not None:
            if self._id and not self._is_fenced:
                # If that fails, its locks tell that it is gone.
                with contextlib.suppress(psycopg.Error, OSError), bounded(session.writer, self._commit_wait_s):
                    await membership.depart(session.writer, self._id)
            await session.close()

    # commit

    async def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Raises JournalFull, JournalError ``journal.operation`` (one of them cannot be stored), ``journal.unavailable``,
        ``journal.closed`` or ``journal.commit``; in every case nothing of the group was kept. With ``journal.fenced`` an answer that
        was lost stays unknown."""
        self._usable()  # who comes while the fate of another group is being found out does not wait for it
        async with self._writing:
            session = self._usable()
            with bounded(session.writer, self._commit_wait_s):
                return await self._commit(session, operations)

    async def _commit(self, session: Session, operations: Sequence[Operation]) -> list[Any]:
        number = self._commits + 1
        for meeting in range(1, MEETINGS_MAX + 1):
            try:
                await self._provide_numbers(session.writer, operations)
                results, last_seq = await self._write(session.writer, operations, number)
                break
            except BaseException as error:
                await self._roll_back(session)
                if isinstance(error, _MEETINGS) and meeting < MEETINGS_MAX and self._session is session:
                    continue
                if isinstance(error, OPERATION_FAULTS):
                    raise operation_fault(error) from error
                if isinstance(error, psycopg.Error | OSError):
                    raise self._failed(session, error) from error
                raise
        crash_point("commit.before-sync")
        try:
            await session.writer.execute("COMMIT")
        except (psycopg.Error, OSError) as error:
            await self._find_out(session, number, error)
        crash_point("commit.after-sync")
        self._commits = number
        self._last_seq = last_seq
        return results

    async def _provide_numbers(self, writer: Connection, operations: Sequence[Operation]) -> None:
        """An engine alone has all numbers there are."""

    async def _write(self, writer: Connection, operations: Sequence[Operation], number: int) -> tuple[list[Any], int]:
        context = Context(to_us(self._now()), self._id, self._holding)
        writes = GroupWrites(writer, context, self._last_seq, self._end_seq)
        async with writer.pipeline():
            await writer.execute("BEGIN")
            fence = await writer.execute(_FENCE, (number, self._id, number - 1), prepare=True)
            crash_point("commit.begun")
            results = await writes.apply(operations)
        crash_point("commit.applied")
        if fence.rowcount != 1:
            self._is_fenced = True
            raise fenced()
        return results, writes.last_seq

    async def _roll_back(self, session: Session) -> None:
        try:
            await session.writer.execute("ROLLBACK")
        except (psycopg.Error, OSError) as error:
            self._lost(session, error)

    async def _find_out(self, session: Session, number: int, error: psycopg.Error | OSError) -> None:
        """Returns when the commit was made, else raises. The answer to it was lost, or it was refused."""
        if self._session is session and not session.is_broken and isinstance(error, psycopg.Error):
            raise translate(error) from error
        self._lost(session, error)
        await self._decided.wait()
        if self._is_fenced:
            raise fenced() from error
        if not self._is_open:
            raise closed() from error
        if self._commits != number:
            raise unavailable(error) from error

    # connection

    def unavailable(self) -> JournalError | None:
        if not self._is_open:
            return closed()
        if self._is_fenced:
            return fenced()
        return unavailable(self._why) if self._session is None else None

    def _usable(self) -> Session:
        if (error := self.unavailable()) is not None:
            raise error
        assert self._session is not None
        return self._session

    def _failed(self, session: Session, error: psycopg.Error | OSError) -> JournalError:
        if self._session is not session or session.is_broken or not isinstance(error, psycopg.Error):
            self._lost(session, error)
            return unavailable(error)
        return translate(error)

    def _lost(self, session: Session, error: BaseException) -> None:
        """Whoever meets the loss first begins to connect again; others that still use the old connections come after."""
        if self._session is session and self._is_open:
            self._why = error
            self._session = None
            self._decided.clear()
            self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect(session))

    async def _reconnect(self, lost: Session) -> None:
        await lost.close(is_lost=True)
        wait_s = RECONNECT_FIRST_S
        while self._session is None and not self._is_fenced:
            try:
                await self._resume()
            except JournalError as error:
                self._why = error
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RECONNECT_LONGEST_S)
        self._decided.set()

    async def _resume(self) -> None:
        session = await connect(self._url, self.schema, self._connections)
        try:
            with bounded(session.writer, self._commit_wait_s + self._lock_wait_s):
                commits = await self._resumed(session.writer)
        except BaseException as error:
            await session.close()
            if isinstance(error, psycopg.Error | OSError):
                raise unavailable(error) from error
            raise
        if commits is None:
            self._is_fenced = True
            await session.close()
            return
        self._commits = commits
        self._session = session

    async def _resumed(self, writer: Connection, *, is_shared: bool = False) -> int | None:
        """The number of commits made; None when others have had the journal meanwhile."""
        await lock_member(writer, self.schema, self._id, self._lock_wait_s)
        if await membership.resume(writer, self._id) is None:
            return None
        await lock_journal(writer, self.schema, self._lock_wait_s, is_shared=is_shared)
        return await membership.resume(writer, self._id)

    @asynccontextmanager
    async def _reading(self, *, by_writer: bool = False) -> AsyncIterator[Connection]:
        session = self._usable()
        db, wait_s = (session.writer, self._commit_wait_s) if by_writer else (session.reader, SEARCH_WAIT_S)
        try:
            with bounded(db, wait_s):
                yield db
        except (psycopg.Error, OSError) as error:
            raise self._failed(session, error) from error

    # reads

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        async with self._reading(by_writer=True) as db:
            return await reads.lease(db, self._holding, flow, after_seq, limit)

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        async with self._reading(by_writer=True) as db:
            return await reads.next_of_keys(db, self._holding, flow, keys)

    async def counts(self) -> dict[tuple[str, str], int]:
        async with self._reading() as db:
            return await reads.counts(db)

    async def held(self) -> dict[str, int]:
        async with self._reading() as db:
            return await reads.held(db, self._holding)

    async def next_due(self) -> dt.datetime | None:
        async with self._reading() as db:
            return await reads.next_due(db, self._holding)

    async def cursor(self, name: str) -> bytes | None:
        async with self._reading() as db:
            return await reads.cursor(db, name)

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        async with self._reading() as db:
            return await reads.references(db, queries)

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        async with self._reading() as db:
            return await reads.dead_letters(db, flow, after_seq, limit)

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        async with self._reading() as db:
            return await reads.messages(db, query)

    async def in_doubt(self) -> list[InDoubt]:
        async with self._reading() as db:
            return await reads.in_doubt(db)

    async def size_bytes(self) -> int:
        async with self._reading() as db:
            return await reads.size_bytes(db)
