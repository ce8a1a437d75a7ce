"""The table of chunks: what makes a repeated chunk find its first run.

Invariant: a chunk's row is inserted in the transaction of its data, so it is there exactly when the data is. Row FINISHED is
that of the last step of a load; rows older than ``kept`` go when another load begins.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from accord.errors import ConnectorError
from accord.sdk.bulk import Loaded, RowReject, Written

FINISHED = -1


class Entry(msgspec.Struct, frozen=True):
    """What is kept of a chunk, or of the end of a load."""

    rows: int = 0
    rejects: tuple[RowReject, ...] = ()
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int | None = None

    @property
    def written(self) -> Written:
        return Written(self.rows, self.rejects, was_there=True)


class Ledger:
    def __init__(self, effects_table: str) -> None:
        schema, _, table = effects_table.rpartition(".")
        self.table = sa.Table(
            f"{table}_of_loads",
            sa.MetaData(),
            sa.Column("load_id", sa.String(64), primary_key=True),
            sa.Column("chunk", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("entry", sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb"), nullable=False),
            sa.Column("at", sa.DateTime(), nullable=False),
            schema=schema or None,
        )

    def ensure(self, connection: sa.Connection, kept: dt.timedelta) -> None:
        """Makes the table when it is missing, and prunes it; commits. Raises ConnectorError with the DDL when it may not."""
        found = sa.inspect(connection).has_table(self.table.name, schema=self.table.schema)
        connection.rollback()
        if not found:
            try:
                self.table.create(connection, checkfirst=True)
                connection.commit()
            except sa.exc.DBAPIError as error:
                connection.rollback()
                if error.connection_invalidated:
                    raise
                ddl = " ".join(str(sa.schema.CreateTable(self.table).compile(dialect=connection.dialect)).split())
                raise ConnectorError(
                    f"The table '{self.table.fullname}' for chunks of loads is missing and this user may not create it.",
                    mend=f"Run: {ddl};",
                    code="connector.sql-effects-table",
                ) from error
        connection.execute(self.table.delete().where(self.table.c.at < _now() - kept))
        connection.commit()

    def find(self, connection: sa.Connection, load_id: str, chunk: int) -> Entry | None:
        c = self.table.c
        text = connection.scalar(sa.select(c.entry).where(c.load_id == load_id, c.chunk == chunk))
        return None if text is None else msgspec.json.decode(text, type=Entry)

    def store(self, connection: sa.Connection, load_id: str, chunk: int, entry: Entry) -> None:
        """Raises IntegrityError when it is there already."""
        text = msgspec.json.encode(entry).decode()
        connection.execute(self.table.insert(), {"load_id": load_id, "chunk": chunk, "entry": text, "at": _now()})

    def sums(self, connection: sa.Connection, load_id: str) -> Loaded:
        """Over all chunks."""
        texts = connection.scalars(sa.select(self.table.c.entry).where(self.table.c.load_id == load_id))
        entries = [msgspec.json.decode(text, type=Entry) for text in texts]
        deleted = [entry.deleted for entry in entries if entry.deleted is not None]
        return Loaded(
            inserted=sum(entry.inserted for entry in entries),
            updated=sum(entry.updated for entry in entries),
            unchanged=sum(entry.unchanged for entry in entries),
            deleted=sum(deleted) if deleted else None,
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
