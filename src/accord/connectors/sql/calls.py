"""Operations: a named statement or procedure with typed arguments, run once per effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.database import CommitFailed, Database
from accord.connectors.sql.effects import Effects
from accord.connectors.sql.errors import outcome_of, verdict_of
from accord.connectors.sql.source import plain_rows
from accord.connectors.sql.spec import SqlOperation
from accord.connectors.sql.target import CONFLICT_TRIES_MAX
from accord.connectors.sql.values import ColumnShape, Unfit, encoder
from accord.record import Done, Field, Outcome, Reject
from accord.sdk.connector import CallItem


def call(
    database: Database, effects: Effects, operation: SqlOperation, takes: Mapping[str, Field], item: CallItem, zone: Any
) -> Outcome:
    """Runs on a database thread; never raises for what the database says."""
    arguments: dict[str, Any] = {}
    for name, field in takes.items():
        value = item.arguments.get(name)
        try:
            arguments[name] = None if value is None else encoder(field.type, _shape(database, field), zone, None)(value)
        except (Unfit, TypeError, ValueError, AttributeError):
            return Reject("the argument does not have its declared type", name, "connector.sql-value")
    outcome: Outcome = Done(None)
    for _ in range(CONFLICT_TRIES_MAX):
        try:
            if operation.read_only:
                with database.reading() as connection:
                    return _run(connection, operation, arguments)
            return _once(database, effects, operation, arguments, item.effect_id)
        except CommitFailed as failed:
            return outcome_of(failed.__cause__ or failed, committing=True)
        except _Undone as undone:
            return undone.reject
        except Exception as error:  # noqa: BLE001 - every driver error is translated in errors.py
            outcome = outcome_of(error)
            if not verdict_of(error).is_transient_conflict:
                return outcome
    return outcome


class _Undone(Exception):
    """Rolls the transaction back and is the outcome."""

    def __init__(self, reject: Reject) -> None:
        self.reject = reject
        super().__init__(reject.reason)


def _once(
    database: Database, effects: Effects, operation: SqlOperation, arguments: dict[str, Any], effect_id: str
) -> Outcome:
    """The operation and its effect id together. The look-up is repeated when someone else commits the same effect meanwhile."""
    for attempt in range(2):
        try:
            with database.writing() as connection:
                found = effects.find(connection, [effect_id])
                if effect_id in found:
                    return Done(found[effect_id], was_there=True)
                outcome = _run(connection, operation, arguments)
                if not isinstance(outcome, Done):
                    assert isinstance(outcome, Reject)
                    raise _Undone(outcome)
                effects.store(connection, {effect_id: outcome.result})
                return outcome
        except sa.exc.IntegrityError:
            if attempt:
                raise
    raise AssertionError("the second attempt returns or raises")


def _run(connection: sa.Connection, operation: SqlOperation, arguments: dict[str, Any]) -> Outcome:
    result = connection.execute(_statement(connection, operation, arguments), arguments)
    wanted = operation.rows or ("all" if operation.read_only or operation.procedure else "")
    rows = plain_rows(result, operation.rows_max) if result.returns_rows else None
    changed = result.rowcount if rows is None else len(rows)
    result.close()
    if operation.must_change and changed <= 0:
        return Reject("no row was changed: what it asks for is not there", code="connector.sql-nothing-changed")
    if rows is not None and len(rows) > operation.rows_max:
        return Reject(f"the answer has more than {operation.rows_max} rows", code="connector.sql-too-many-rows")
    if wanted == "count" or rows is None:
        return Done({"rows": max(changed, 0)})
    if wanted == "one":
        return Done(rows[0] if rows else None)
    return Done(rows)


def _statement(connection: sa.Connection, operation: SqlOperation, arguments: Mapping[str, Any]) -> sa.TextClause:
    if operation.query:
        return sa.text(operation.query.strip().rstrip(";"))
    holes = ", ".join(f":{name}" for name in arguments)
    return sa.text(f"CALL {operation.procedure}({holes})")


def _shape(database: Database, field: Field) -> ColumnShape:
    """Arguments have no column: bind what the driver takes for the declared type."""
    kind = {
        "decimal": "text" if database.is_sqlite else "exact",
        "datetime": "datetime",
        "date": "date",
        "boolean": "boolean",
    }
    name = field.type.__struct_config__.tag
    if database.is_sqlite and name in ("datetime", "date"):
        return ColumnShape("text")
    if name == "duration" and database.engine.dialect.name == "postgresql":
        return ColumnShape("interval")
    zoned = database.engine.dialect.name == "postgresql"
    return ColumnShape(kind.get(str(name), "other"), zoned=zoned)
