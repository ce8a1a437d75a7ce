"""What PostgreSQL keeps for a stream of changes: one publication and one replication slot for all entities of a system.

Everything here may be repeated. A table is published only when updates and deletes of it can be told apart: publishing one
without a replica identity would make the database refuse them to the application that owns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.spec import SqlChanges
from accord.connectors.sql.tables import Misfit
from accord.sdk.capture import Capture

LOCK_WAIT_S = 10  # for writers of a table that joins a publication in use

_TABLE = sa.text(
    """SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary AND c.relreplident = 'd' OR i.indisreplident))
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)"""
)
_SLOT = sa.text(
    """SELECT active, plugin, wal_status, confirmed_flush_lsn::text,
       coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
                       restart_lsn), 0)::bigint
       FROM pg_replication_slots WHERE slot_name = :name"""
)


class Names:
    """The slot and the publication of a system."""

    def __init__(self, spec: SqlChanges, system: str) -> None:
        own = "".join(c if c.isalnum() and c.isascii() else "_" for c in f"accord_{system}".lower())[:63]
        self.slot = spec.slot or own
        self.publication = spec.publication or self.slot


def require_logical(connection: sa.Connection) -> None:
    """Raises Misfit when the server keeps no logical log."""
    level = connection.execute(sa.text("SHOW wal_level")).scalar_one()
    if level != "logical":
        reason = (
            f"the server's wal_level is '{level}', so its log does not tell rows; "
            "run: ALTER SYSTEM SET wal_level = 'logical', and restart the server"
        )
        raise Misfit(reason, code="connector.sql-wal-level")


def may_replicate(connection: sa.Connection) -> bool:
    """Whether the user's role says so; a provider may have other ways, so ask only after a refusal."""
    text = "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"
    return bool(connection.execute(sa.text(text)).scalar_one())


def tables_of(connection: sa.Connection, wanted: Mapping[str, str]) -> dict[int, str]:
    """Table names by entity to entities by the table's oid. Raises Misfit for what cannot be published."""
    found: dict[int, str] = {}
    for entity, name in wanted.items():
        row = connection.execute(_TABLE, {"name": name}).first()
        if row is None:
            raise Misfit(f"the database has no table '{name}'")
        oid, schema, table, kind, identity, has_index = row
        if kind not in ("r", "p"):
            raise Misfit(f"'{name}' is no table: only tables have a log of changes", code="connector.sql-identity")
        if identity == "n" or (identity != "f" and not has_index):
            reason = (
                f"the table '{name}' has neither a primary key nor another replica identity; "
                f"run: ALTER TABLE {schema}.{table} REPLICA IDENTITY FULL"
            )
            raise Misfit(reason, code="connector.sql-identity")
        found[int(oid)] = entity
    return found


def publish(connection: sa.Connection, publication: str, tables: Mapping[int, str], *, is_in_use: bool) -> None:
    """Makes the publication, or adds what it lacks. ``is_in_use``: a slot reads it, so a table joins only between transactions that
    write it; then nothing of a transaction is missed that began before."""
    quote = connection.dialect.identifier_preparer.quote
    names = connection.execute(
        sa.text("SELECT oid::regclass::text, oid FROM pg_class WHERE oid = ANY(:oids)"), {"oids": list(tables)}
    )
    texts = {int(oid): str(text) for text, oid in names}
    is_there = connection.execute(
        sa.text("SELECT 1 FROM pg_publication WHERE pubname = :n"), {"n": publication}
    ).first()
    if is_there is None:
        listed = ", ".join(texts.values())
        connection.execute(
            sa.text(
                f"CREATE PUBLICATION {quote(publication)} FOR TABLE {listed} WITH (publish_via_partition_root = true)"
            )
        )
        connection.commit()
        return
    members = connection.execute(
        sa.text(
            "SELECT to_regclass(name)::oid FROM (SELECT format('%I.%I', schemaname, tablename) AS name "
            "FROM pg_publication_tables WHERE pubname = :n) AS t"
        ),
        {"n": publication},
    )
    published = {int(oid) for (oid,) in members if oid is not None}
    missing = [text for oid, text in texts.items() if oid not in published]
    if missing:
        if is_in_use:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
            connection.execute(sa.text(f"LOCK TABLE {', '.join(missing)} IN SHARE MODE"))
        connection.execute(sa.text(f"ALTER PUBLICATION {quote(publication)} ADD TABLE {', '.join(missing)}"))
    connection.commit()


def slot_of(connection: sa.Connection, name: str) -> Capture | None:
    """``state``: ``pg_replication_slots.wal_status``; 'lost' when the server has removed what the slot needs."""
    row = connection.execute(_SLOT, {"name": name}).first()
    if row is None:
        return None
    active, plugin, status, confirmed, retained = row
    if plugin != "pgoutput":
        raise Misfit(f"the replication slot '{name}' is of the plugin {plugin}; name another in `changes: {{slot: …}}`")
    state = "lost" if status == "lost" else str(status or "") if confirmed else "unfinished"
    return Capture(
        name=name, is_active=bool(active), retained_bytes=int(retained), state=state, confirmed=confirmed or ""
    )


def drop_slot(connection: sa.Connection, name: str) -> bool:
    """Raises what the server says when somebody reads it."""
    found = slot_of(connection, name)
    if found is not None:
        connection.execute(sa.text("SELECT pg_drop_replication_slot(:name)"), {"name": name})
        connection.commit()
    return found is not None


def drop_publication(connection: sa.Connection, name: str) -> None:
    quote: Any = connection.dialect.identifier_preparer.quote
    connection.execute(sa.text(f"DROP PUBLICATION IF EXISTS {quote(name)}"))
    connection.commit()
