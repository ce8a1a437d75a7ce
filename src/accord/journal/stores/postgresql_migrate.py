"""Brings a schema to the newest layout this program knows, under the journal's lock (``postgresql_session``)."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg.sql

from accord.errors import JournalError
from accord.journal.stores.postgresql_schema import COMPATIBLE_COLUMN, VERSION_TABLE, Migration
from accord.journal.stores.postgresql_session import Connection
from accord.observe.crash_points import crash_point


async def needs_nobody_else(writer: Connection, schema: str, migrations: Sequence[Migration]) -> bool:
    """True when a migration is due that no running engine would survive. Raises JournalError ``journal.newer``,
    ``journal.foreign``."""
    version = await _version(writer, schema, migrations)
    return any(migration.compatible_from > version for migration in migrations[version:])


async def migrate(writer: Connection, schema: str, now_us: int, migrations: Sequence[Migration]) -> None:
    """Raises JournalError ``journal.newer``, ``journal.foreign`` (the schema holds tables that are not a journal's). Two at a time
    wait for each other."""
    version = await _version(writer, schema, migrations)
    if version >= len(migrations):
        return
    if not version:
        await writer.execute(psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(schema)))
        await writer.execute(VERSION_TABLE)
    await writer.execute(COMPATIBLE_COLUMN)
    for number, migration in enumerate(migrations[version:], start=version + 1):
        async with writer.transaction():
            await writer.execute("LOCK TABLE version IN SHARE ROW EXCLUSIVE MODE")
            if await (await writer.execute("SELECT FROM version WHERE version = %s", (number,))).fetchone() is not None:
                continue
            for statement in migration.statements:
                await writer.execute(statement)
                crash_point("migrate.statement")
            await writer.execute(
                "INSERT INTO version (version, applied_at, compatible_from) VALUES (%s, %s, %s)",
                (number, now_us, migration.compatible_from),
            )
            crash_point("migrate.before-commit")
        crash_point("migrate.after-commit")


async def _version(writer: Connection, schema: str, migrations: Sequence[Migration]) -> int:
    """0 for a schema that is to be made."""
    tables = await (await writer.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))).fetchall()
    names = {name for (name,) in tables}
    if names and not names >= {"version", "owners"} and names != {"version"}:
        raise JournalError(
            f"The schema '{schema}' holds tables of something else: {', '.join(sorted(names)[:5])}.",
            mend="Give the journal a schema of its own; this one was left as it is.",
            code="journal.foreign",
        )
    if not names:
        return 0
    row = await (await writer.execute("SELECT coalesce(max(version), 0) FROM version")).fetchone()
    version = int(row[0]) if row else 0
    known = len(migrations)
    if version > known:
        row = await (await writer.execute("SELECT max(compatible_from) FROM version")).fetchone()
        if row is None or row[0] > known:
            raise JournalError(
                f"The journal in schema '{schema}' has layout {version}; this Accord knows layouts up to {known}.",
                mend="Run the version of Accord that wrote it, or a newer one.",
                code="journal.newer",
            )
    return version
