"""The connections of one engine, and the locks they hold.

``writer`` commits and holds the locks, ``reader`` is for reads that need not wait for commits, ``watcher`` (of a member) renews its
lease. Locks are session-level advisory locks, given back by the server when the connection ends, however it ends:

- the journal's: exclusive for an engine alone (and for migrations), shared by members;
- the member's: by its id; while it is held, the member's process lives, or its machine vanished without a word.

Nobody waits longer than a bound for an answer: then the connection is cut, and it is lost like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from accord.errors import JournalError
from accord.journal.shared import LEASE_S
from accord.journal.stores import postgresql_arrays
from accord.journal.stores.postgresql_faults import unavailable

LOCK_CLASS = 0x41435244  # "ACRD"
CONNECT_TIMEOUT_S = 5
POLL_S = 0.05
COMMIT_WAIT_S = 10.0  # for the server to carry out a group or a small read; then the connection counts as lost
SEARCH_WAIT_S = 120.0  # for a read that may go through the whole journal

# The driver tells of a lost connection in its log as well as by an exception, which is enough.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

# A half-open connection is given up after ten seconds instead of hours.
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "accord",
}
# The same on the server's side: the lock of an owner whose machine has vanished is free after some ten seconds.
_SERVER_KEEPALIVE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 10000"
)
# A member that stopped in the middle of a commit must not keep others waiting for its rows.
_STOPPED = f"SET idle_in_transaction_session_timeout = {int(LEASE_S * 1000)}"
# Plans are made while tables are still small and are kept: they must be those of large tables, by index from a few rows.
_PLANS = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
    " SET plan_cache_mode = force_generic_plan"
)

Connection = AsyncConnection[Any]


class Session:
    """``watcher`` is ``reader`` where there is none of its own. ``close`` at any time."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections
        self.writer = connections[0]
        self.reader = connections[1]
        self.watcher = connections[-1]

    @property
    def is_broken(self) -> bool:
        return any(connection.broken or connection.closed for connection in self._connections)

    async def close(self, *, is_lost: bool = False) -> None:
        """Of a lost session, who still waits for an answer is woken with an error first: an event loop says nothing about a
        descriptor that is closed under a waiter."""
        for connection in self._connections:
            if is_lost:
                _shut_down(connection)
            async with connection.lock:
                with contextlib.suppress(psycopg.Error, OSError):
                    await connection.close()


def _shut_down(connection: Connection) -> None:
    """Who waits for an answer is woken with an error. Of a connection that is gone there is nothing to shut."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


@contextmanager
def bounded(connection: Connection, wait_s: float) -> Iterator[Connection]:
    """Cuts the connection when what is done with it takes longer. Cancelling would wait for the server's word."""
    timer = asyncio.get_running_loop().call_later(wait_s, _shut_down, connection)
    try:
        yield connection
    finally:
        timer.cancel()


async def connect(url: str, schema: str, count: int = 2) -> Session:
    """Raises JournalError ``journal.unavailable``, ``journal.path`` (the url or the schema's name is no good)."""
    try:
        settings = conninfo_to_dict(url, **_KEEPALIVE)
    except psycopg.ProgrammingError:  # its text quotes the url, with the password
        raise JournalError(
            "The journal's `url` is none of a PostgreSQL database.",
            mend="It is like postgresql://user:password@host:5432/database.",
            code="journal.path",
        ) from None
    made: list[Connection] = []
    try:
        while len(made) < count:
            made.append(await _connection(settings, schema))
    except BaseException as error:
        for connection in made:
            await connection.close()
        if isinstance(error, psycopg.Error | OSError):
            raise unavailable(error) from error
        raise
    return Session(made)


async def _connection(settings: dict[str, Any], schema: str) -> Connection:
    connection: Connection = await AsyncConnection.connect(**settings, autocommit=True)
    try:
        with bounded(connection, CONNECT_TIMEOUT_S):
            postgresql_arrays.register(connection)
            await connection.execute(f"{_SERVER_KEEPALIVE}; {_STOPPED}; {_PLANS}")
            await connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
            # Acknowledged means on disk, also where the server's own default says otherwise.
            await connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
            )
    except BaseException:
        await connection.close()
        raise
    return connection


async def lock_journal(writer: Connection, schema: str, wait_s: float, *, is_shared: bool = False) -> None:
    """Raises JournalError ``journal.locked`` when another connection holds it for longer than ``wait_s``."""
    shared = "_shared" if is_shared else ""
    await _lock(writer, f"pg_try_advisory_lock{shared}(%s::integer, %s::integer)", _journal_key(schema), schema, wait_s)


async def unlock_journal(writer: Connection, schema: str, *, is_shared: bool = False) -> None:
    shared = "_shared" if is_shared else ""
    await writer.execute(f"SELECT pg_advisory_unlock{shared}(%s::integer, %s::integer)", _journal_key(schema))


async def lock_member(writer: Connection, schema: str, id_: int, wait_s: float) -> None:
    """Ends an earlier connection of the same member that still holds the lock: what it was about is decided by that.
    Raises JournalError ``journal.locked``."""
    await end_holder(writer, schema, id_)
    await _lock(writer, "pg_try_advisory_lock(%s::bigint)", (member_keys(schema) + id_,), schema, wait_s)


async def end_holder(db: Connection, schema: str, id_: int) -> None:
    """Ends the connection with which a member commits, so that nothing has to wait for what it has begun."""
    query = (
        f"SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE {IS_KEYED_LOCK} AND {LOCK_KEY} = %s"
        " AND l.pid <> pg_backend_pid()"
    )
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # then the server notices by itself, later
        await db.execute(query, (member_keys(schema) + id_,))


# Of a row `l` of pg_locks: whether it is of the kind that members hold, and which.
IS_KEYED_LOCK = (
    "l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
    " AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
)
LOCK_KEY = "((l.classid::bigint << 32) | l.objid::bigint)"


def member_keys(schema: str) -> int:
    """The lock of a member has this number plus its id."""
    return crc32(schema.encode()) << 31


def _journal_key(schema: str) -> tuple[int, int]:
    return LOCK_CLASS, crc32(schema.encode()) - 2**31


async def _lock(writer: Connection, lock: str, key: tuple[int, ...], schema: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        found = await (await writer.execute(f"SELECT {lock}", key)).fetchone()
        if found and found[0]:
            return
        if time.monotonic() > deadline:
            raise JournalError(
                f"The journal in schema '{schema}' is in use{await _holder(writer)}.",
                mend="Stop that engine first, or give this one a schema of its own.",
                code="journal.locked",
            )
        await asyncio.sleep(POLL_S)


async def _holder(writer: Connection) -> str:
    for query in (
        "SELECT name FROM members ORDER BY id",
        "SELECT node FROM owners",
    ):  # an engine of layout 1 has no members
        try:
            rows = await (await writer.execute(query)).fetchall()
        except psycopg.Error:
            continue
        if rows:
            return " by " + ", ".join(name for (name,) in rows)
    return ""
