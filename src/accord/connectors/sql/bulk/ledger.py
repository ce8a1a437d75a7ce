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
from accord.sdk.bulk import LedgerEntry, Loaded, loaded_of

FINISHED = -1
LEDGER_END = "_of_loads"  # the table is named after that of effects


class Ledger:
    def __init__(self, effects_table: str) -> None:
        schema, _, table = effects_table.rpartition(".")
        self.table = sa.Table(
            f"{table}{LEDGER_END}",
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

    def find(self, connection: sa.Connection, load_id: str, chunk: int) -> LedgerEntry | None:
        c = self.table.c
        text = connection.scalar(sa.select(c.entry).where(c.load_id == load_id, c.chunk == chunk))
        return None if text is None else msgspec.json.decode(text, type=LedgerEntry)

    def store(self, connection: sa.Connection, load_id: str, chunk: int, entry: LedgerEntry) -> None:
        """Raises IntegrityError when it is there already."""
        text = msgspec.json.encode(entry).decode()
        connection.execute(self.table.insert(), {"load_id": load_id, "chunk": chunk, "entry": text, "at": _now()})

    def sums(self, connection: sa.Connection, load_id: str) -> Loaded:
        """Over all chunks."""
        texts = connection.scalars(sa.select(self.table.c.entry).where(self.table.c.load_id == load_id))
        return loaded_of(msgspec.json.decode(text, type=LedgerEntry) for text in texts)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
