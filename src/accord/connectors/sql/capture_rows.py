"""Rows of the replication stream as records, exactly as a read of the table gives them: the same drivers' loaders, the same decoders.

A large value that an update did not touch is not in the stream. It is taken from the old row where the table's replica identity
is FULL, else looked up in the table as it is now: that value is the same or a newer one whose own change follows in the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.adapt import Transformer

from accord.connectors.sql.capture_records import KINDS, Find, change_of, key_text, only_gone, updated
from accord.connectors.sql.pgoutput import UNCHANGED, Relation, Row, Values
from accord.connectors.sql.tables import Misfit, Plan
from accord.record import Entity
from accord.sdk.capture import Change, ChangeKind

Convert = Callable[[bytes], Any]
LoaderOf = Callable[[int], Convert]  # by the type's oid, from PostgreSQL's text


class _Hole(Exception):
    """The named field is a value that the server did not send."""


class Binding:
    """One entity bound to one shape of its table, as a Relation message tells it. Raises Misfit when they do not fit."""

    def __init__(self, plan: Plan, relation: Relation, load_of: LoaderOf, dialect: sa.Dialect) -> None:
        self.plan = plan
        self.relation = relation
        self.entity: Entity = plan.entity
        places = {column.name: index for index, column in enumerate(relation.columns)}
        self._fields: list[tuple[str, int, Convert]] = []
        for field, name in plan.columns.names.items():
            if name not in places:
                raise Misfit(f"the table '{relation.table}' has no column '{name}'", field)
            index = places[name]
            oid = relation.columns[index].type_oid
            self._fields.append((field, index, _converter(plan, field, oid, load_of, dialect)))
        identity = {column.name for column in relation.columns if column.is_key}
        self._key = [each for each in self._fields if each[0] in self.entity.key]
        missing = [name for key in self.entity.key if (name := plan.columns.names[key]) not in identity]
        if missing:
            reason = (
                f"the replica identity of '{relation.table}' lacks {', '.join(missing)}, so a delete would not say which row; "
                f"run: ALTER TABLE {relation.schema}.{relation.table} REPLICA IDENTITY FULL"
            )
            raise Misfit(reason, ", ".join(self.entity.key), "connector.sql-identity")

    def changes(self, row: Row, event_id: str, find: Find) -> list[Change]:
        """One change, two when the key changes, none when the row of an update is gone already (its delete follows).
        ``find``: the row with this key as it is now."""
        try:
            return self._changes(row, event_id, find)
        except (psycopg.Error, ValueError, ArithmeticError) as error:
            reason = f"the row cannot be read: {type(error).__name__}"
            record = self._raw(row.new or row.old or [])
            return [change_of(self.entity, KINDS[row.kind], record, event_id, malformed=reason)]

    def _changes(self, row: Row, event_id: str, find: Find) -> list[Change]:
        if row.new is None:
            assert row.old is not None
            fields = self._key if row.old_is_key else self._fields
            return [change_of(self.entity, ChangeKind.DELETE, _record(fields, row.old), event_id)]
        if row.kind == "I":
            return [change_of(self.entity, ChangeKind.INSERT, _record(self._fields, row.new), event_id)]
        old = _record(self._key if row.old_is_key else self._fields, row.old) if row.old is not None else None
        key = _record(self._key, row.new if row.old is None else _filled(row.new, row.old))
        values = row.new if row.old is None or row.old_is_key else _filled(row.new, row.old)
        try:
            record = _record(self._fields, values)
        except _Hole:
            found = find(key_text(self.entity, key))
            if found is None:
                return only_gone(self.entity, old, key, event_id)
            record = {
                field: found[field] if values[index] is UNCHANGED else _value(convert, values[index])
                for field, index, convert in self._fields
            }
        return updated(self.entity, old, record, event_id)

    def _raw(self, values: Values) -> dict[str, Any]:
        return {
            field: values[index].decode(errors="replace") if isinstance(values[index], bytes) else None  # type: ignore[union-attr]
            for field, index, _ in self._fields
            if index < len(values)
        }


def _record(fields: list[tuple[str, int, Convert]], values: Values) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for field, index, convert in fields:
        value = values[index]
        if value is None:
            record[field] = None
        elif value is UNCHANGED:
            raise _Hole(field)
        else:
            record[field] = convert(value)  # type: ignore[arg-type]
    return record


def _value(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _filled(new: Values, old: Values) -> Values:
    return [before if after is UNCHANGED else after for after, before in zip(new, old, strict=True)]


def _converter(plan: Plan, field: str, oid: int, load_of: LoaderOf, dialect: sa.Dialect) -> Convert:
    load = load_of(oid)
    decode = plan.columns.decoders[field]
    process = plan.columns.column(field).type.dialect_impl(dialect).result_processor(dialect, oid)
    if process is None:
        return lambda raw: decode(load(raw))

    def convert(raw: bytes) -> Any:
        value = process(load(raw))
        return None if value is None else decode(value)

    return convert


def loaders_of(driver_connection: Any) -> LoaderOf:
    """As a psycopg connection is set up to load values."""
    transformer: Any = Transformer(driver_connection)
    return lambda oid: transformer.get_loader(oid, pq.Format.TEXT).load
