"""Rows of the binary log as records, exactly as a read of the table gives them: the same values, the same decoders.

Names of columns come from the log (``binlog_row_metadata = FULL``), so a row written before a column came or went is read as it was.
A value that only the server can read (MySQL's JSON, INET6, geometry, rare character sets) is looked up in the table as it is now: it is
the same or a newer one whose own change follows in the log.
"""

from __future__ import annotations

from typing import Any

from accord.connectors.sql.binlog import Rows, TableMap
from accord.connectors.sql.binlog_setup import Lost
from accord.connectors.sql.binlog_values import HOLE, LogColumn, RowReader
from accord.connectors.sql.capture_records import KINDS, Find, change_of, key_text, only_gone, updated
from accord.connectors.sql.tables import Misfit, Plan
from accord.record import Entity
from accord.sdk.capture import Change


class TableRows:
    """One entity bound to one definition of its table in the log. Raises Lost, Misfit when they do not fit."""

    def __init__(self, plan: Plan, table: TableMap, columns: list[LogColumn], reader: RowReader) -> None:
        self.plan = plan
        self.entity: Entity = plan.entity
        self._reader = reader
        places = {column.name: index for index, column in enumerate(columns)}
        if columns and not columns[0].name:
            raise Lost("a row was written without names of columns (binlog_row_metadata was not FULL)")
        self._fields: list[tuple[str, int, Any]] = []
        for field, name in plan.columns.names.items():
            if name not in places:
                raise Lost(f"when it was written, the table '{table.table}' had no column '{name}' (field '{field}')")
            self._fields.append((field, places[name], plan.columns.decoders[field]))
        self._needed = sum(1 << index for _, index, _ in self._fields)

    def changes(self, rows: Rows, event_id: str, find: Find) -> list[Change]:
        """In the order of the log. Raises ProtocolError, Lost, Misfit."""
        for image in (rows.present, rows.present_after):
            if int.from_bytes(image, "little") & self._needed != self._needed:
                raise Lost("a session wrote rows of which the log holds only parts (its binlog_row_image was not FULL)")
        found: list[Change] = []
        at, number, size = 0, 0, len(rows.data)
        read = self._reader.row
        while at < size:
            number += 1
            before: list[Any] | None = None
            if rows.kind == "U":
                before, at = read(rows.data, at, rows.present)
            values, at = read(rows.data, at, rows.present_after)
            found += self._changes(rows.kind, before, values, f"{event_id}.{number}", find)
        return found

    def _changes(
        self, kind: str, before: list[Any] | None, values: list[Any], event_id: str, find: Find
    ) -> list[Change]:
        try:
            old = self._record(before) if before is not None else None
            record = self._record(values)
        except (ValueError, ArithmeticError) as error:
            raw = {field: None if values[i] is HOLE else str(values[i]) for field, i, _ in self._fields}
            return [
                change_of(
                    self.entity, KINDS[kind], raw, event_id, malformed=f"the row cannot be read: {type(error).__name__}"
                )
            ]
        holes = [name for name, value in record.items() if value is HOLE]
        if holes:
            self._need_key(holes)
            if kind != "D":
                now = find(key_text(self.entity, record))
                if now is None:
                    return only_gone(self.entity, _told(old), record, event_id)
                record.update({name: now[name] for name in holes})
        if kind == "U":
            return updated(self.entity, _told(old), record, event_id)
        return [change_of(self.entity, KINDS[kind], record if kind == "I" else _told(record) or {}, event_id)]

    def _need_key(self, holes: list[str]) -> None:
        for name in self.entity.key:
            if name in holes:
                reason = "the key's column is of a type whose values the binary log does not hold as text"
                raise Misfit(reason, name, "connector.sql-identity")

    def _record(self, values: list[Any]) -> dict[str, Any]:
        return {
            field: value if (value := values[index]) is None or value is HOLE else decode(value)
            for field, index, decode in self._fields
        }


def _told(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """As far as the log tells it."""
    return None if record is None else {name: None if value is HOLE else value for name, value in record.items()}
