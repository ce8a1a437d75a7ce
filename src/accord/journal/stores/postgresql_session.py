"""The two connections of an owner: one that writes and holds the journal's lock, one for reads that need not wait for it.

Ownership: a session-level advisory lock, given back by the server when the connection ends, however it ends; and the row in
``owners`` whose ``token`` grows with every opening. Who lost its connection takes the lock again and goes on only if the row
still shows its token: else another engine has had the journal, and what this one remembers of it is no longer true.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Any
from zlib import crc32

import msgspec
import psycopg
import psycopg.sql
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from accord.errors import JournalError
from accord.journal.stores import postgresql_arrays
from accord.journal.stores.postgresql_faults import unavailable
from accord.journal.stores.postgresql_schema import MIGRATIONS, VERSION_TABLE, Migration

OWNER = "engine"  # the one row of `owners`; several nodes will have one for each part
LOCK_CLASS = 0x41435244  # "ACRD"
CONNECT_TIMEOUT_S = 5
POLL_S = 0.05

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
# Plans are made while tables are still small and are kept: they must be those of large tables, by index from a few rows.
_PLANS = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
    " SET plan_cache_mode = force_generic_plan"
)

Connection = AsyncConnection[Any]


class Owned(msgspec.Struct, frozen=True):
    """``token`` of this opening, number of its commits, and the largest sequence number ever given."""

    token: int
    commits: int
    last_seq: int


class Session:
    """``open`` or ``resume``, then ``writer`` and ``reader``; ``close`` at any time."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self.writer = writer
        self.reader = reader

    @property
    def is_broken(self) -> bool:
        return self.writer.broken or self.reader.broken or self.writer.closed or self.reader.closed

    async def close(self, *, is_lost: bool = False) -> None:
        """Of a lost session, who still waits for an answer is woken with an error first: an event loop says nothing about a
        descriptor that is closed under a waiter."""
        for connection in (self.writer, self.reader):
            if is_lost:
                with contextlib.suppress(psycopg.Error, OSError):
                    _shut_down(connection)
            async with connection.lock:
                with contextlib.suppress(psycopg.Error, OSError):
                    await connection.close()


def _shut_down(connection: Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


async def connect(url: str, schema: str) -> Session:
    """Raises JournalError ``journal.unavailable``, ``journal.path`` (the url or the schema's name is no good)."""
    try:
        settings = conninfo_to_dict(url, **_KEEPALIVE)
    except psycopg.ProgrammingError:  # its text quotes the url, with the password
        raise JournalError(
            "The journal's `url` is none of a PostgreSQL database.",
            mend="It is like postgresql://user:password@host:5432/database.",
            code="journal.path",
        ) from None
    try:
        writer = await _connection(settings, schema)
        try:
            reader = await _connection(settings, schema)
        except BaseException:
            await writer.close()
            raise
    except (psycopg.Error, OSError) as error:
        raise unavailable(error) from error
    return Session(writer, reader)


async def _connection(settings: dict[str, Any], schema: str) -> Connection:
    connection: Connection = await AsyncConnection.connect(**settings, autocommit=True)
    postgresql_arrays.register(connection)
    await connection.execute(_SERVER_KEEPALIVE)
    await connection.execute(_PLANS)
    await connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
    # Acknowledged means on disk, also where the server's own default says otherwise.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return connection


async def take_lock(writer: Connection, schema: str, wait_s: float) -> None:
    """Raises JournalError ``journal.locked`` when another connection holds it for longer than ``wait_s``."""
    deadline = time.monotonic() + wait_s
    key = (LOCK_CLASS, crc32(schema.encode()) - 2**31)
    while True:
        found = await (await writer.execute("SELECT pg_try_advisory_lock(%s::integer, %s::integer)", key)).fetchone()
        if found and found[0]:
            return
        if time.monotonic() > deadline:
            raise JournalError(
                f"The journal in schema '{schema}' is in use{await _holder(writer, schema)}.",
                mend="Stop that engine first, or give this one a schema of its own.",
                code="journal.locked",
            )
        await asyncio.sleep(POLL_S)


async def _holder(writer: Connection, schema: str) -> str:
    try:
        row = await (await writer.execute("SELECT node FROM owners WHERE name = %s", (OWNER,))).fetchone()
    except psycopg.Error:
        return ""
    return f" by {row[0]}" if row else ""


async def own(writer: Connection) -> Owned:
    """Makes this the owner: from now on no commit of an earlier one can succeed."""
    cursor = await writer.execute(
        "INSERT INTO owners AS o (name, token, commits, pid, node, last_seq) VALUES (%s, 1, 0, pg_backend_pid(), %s, 0)"
        " ON CONFLICT (name) DO UPDATE SET token = o.token + 1, commits = 0, pid = excluded.pid, node = excluded.node,"
        " last_seq = greatest(o.last_seq, (SELECT coalesce(max(seq), 0) FROM messages))"
        " RETURNING token, commits, last_seq",
        (OWNER, f"process {os.getpid()} on {socket.gethostname()}"),
    )
    row = await cursor.fetchone()
    assert row is not None
    return Owned(*row)


async def owned(writer: Connection, token: int) -> Owned | None:
    """How far this owner has come; None when another has had the journal since."""
    cursor = await writer.execute(
        "UPDATE owners SET pid = pg_backend_pid() WHERE name = %s AND token = %s RETURNING token, commits, last_seq",
        (OWNER, token),
    )
    row = await cursor.fetchone()
    return None if row is None else Owned(*row)


async def migrate(writer: Connection, schema: str, now_us: int, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Raises JournalError ``journal.newer``, ``journal.foreign`` (the schema holds tables that are not a journal's)."""
    exists = await (await writer.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))).fetchone()
    if not exists:
        await writer.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(schema)))
    tables = await (await writer.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))).fetchall()
    names = {name for (name,) in tables}
    if names and not names >= {"version", "owners"} and names != {"version"}:
        raise JournalError(
            f"The schema '{schema}' holds tables of something else: {', '.join(sorted(names)[:5])}.",
            mend="Give the journal a schema of its own; this one was left as it is.",
            code="journal.foreign",
        )
    await writer.execute(VERSION_TABLE)
    row = await (await writer.execute("SELECT coalesce(max(version), 0) FROM version")).fetchone()
    version = int(row[0]) if row else 0
    if version > len(migrations):
        raise JournalError(
            f"The journal in schema '{schema}' has layout {version}; this Accord knows layouts up to {len(migrations)}.",
            mend="Run the version of Accord that wrote it, or a newer one.",
            code="journal.newer",
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        async with writer.transaction():
            for statement in statements:
                await writer.execute(statement)
            await writer.execute("INSERT INTO version VALUES (%s, %s)", (number, now_us))
