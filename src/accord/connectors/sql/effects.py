"""The table of effect ids: what makes a repeated write find its first run.

Invariant: an effect's id is inserted in the same transaction as its change. So the id is there exactly when the change is, and
two runs of one effect (a lost answer, a second process) cannot both commit: the second breaks the primary key and looks it up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from accord.errors import ConnectorError
from accord.sdk.http import decode_json, encode_json

PRUNED_PER_RUN_MAX = 10_000
_LOOKED_UP_AT_ONCE_MAX = 500


class Effects:
    def __init__(self, name: str) -> None:
        schema, _, table = name.rpartition(".")
        self.table = sa.Table(
            table,
            sa.MetaData(),
            sa.Column("effect_id", sa.String(64), primary_key=True),
            sa.Column("result", sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")),
            sa.Column("at", sa.DateTime(), nullable=False),
            sa.Index(f"{table}_at", "at"),
            schema=schema or None,
        )
        self._insert = self.table.insert()

    def ddl(self, dialect: sa.Dialect) -> str:
        """The statement an administrator runs where Accord's user may not create tables."""
        text = str(sa.schema.CreateTable(self.table).compile(dialect=dialect))
        return " ".join(text.split()) + ";"

    def ensure(self, connection: sa.Connection) -> None:
        """Creates the table when it is missing. Raises ConnectorError with the DDL when that is not allowed."""
        if self._exists(connection):
            return
        try:
            self.table.create(connection, checkfirst=False)
            connection.commit()
        except sa.exc.DBAPIError as error:
            connection.rollback()
            if error.connection_invalidated:
                raise
            if self._exists(connection):  # another process was faster
                return
            raise ConnectorError(
                f"The table '{self.table.fullname}' for effect ids is missing and this database user may not create it.",
                mend=f"Run: {self.ddl(connection.dialect)} Or set `read_only: true` if nothing is written there.",
                code="connector.sql-effects-table",
            ) from error

    def _exists(self, connection: sa.Connection) -> bool:
        found = sa.inspect(connection).has_table(self.table.name, schema=self.table.schema)
        connection.rollback()
        return found

    def prune(self, connection: sa.Connection, kept: dt.timedelta) -> int:
        """Deletes at most PRUNED_PER_RUN_MAX effects older than ``kept``; commits."""
        old = sa.select(self.table.c.effect_id).where(self.table.c.at < _now() - kept).limit(PRUNED_PER_RUN_MAX)
        ids = list(connection.scalars(old))
        for start in range(0, len(ids), _LOOKED_UP_AT_ONCE_MAX):
            chunk = ids[start : start + _LOOKED_UP_AT_ONCE_MAX]
            connection.execute(self.table.delete().where(self.table.c.effect_id.in_(chunk)))
        connection.commit()
        return len(ids)

    def find(self, connection: sa.Connection, effect_ids: Sequence[str]) -> dict[str, Any]:
        """The stored results of those that were done."""
        found: dict[str, Any] = {}
        for start in range(0, len(effect_ids), _LOOKED_UP_AT_ONCE_MAX):
            chunk = list(effect_ids[start : start + _LOOKED_UP_AT_ONCE_MAX])
            wanted = sa.select(self.table.c.effect_id, self.table.c.result).where(self.table.c.effect_id.in_(chunk))
            for effect_id, result in connection.execute(wanted):
                found[effect_id] = decode_json(result.encode()) if result else None
        return found

    def store(self, connection: sa.Connection, results: Mapping[str, Any]) -> None:
        """Inserts effect ids with their results. Raises IntegrityError when one is there already."""
        now = _now()
        rows = [
            {"effect_id": key, "result": None if value is None else encode_json(value).decode(), "at": now}
            for key, value in results.items()
        ]
        connection.execute(self._insert, rows if len(rows) > 1 else rows[0])


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
