"""Writing: data and effect ids in one transaction.

The fast way does all items and their effect ids without asking; whatever goes wrong there undoes the transaction and takes the
careful way, where every item has a savepoint: its effect is looked up first, and it alone is rejected when it does not fit.
So a repeat costs more than a first run, and a first run costs one statement for the data and one for the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from accord.connectors.sql.database import CommitFailed, Database
from accord.connectors.sql.effects import Effects
from accord.connectors.sql.errors import BINDING_ERRORS, UNIQUE, outcome_of, verdict_of
from accord.connectors.sql.tables import RAW_DIALECTS, Child, Misfit, Plan
from accord.connectors.sql.values import plain
from accord.record import Done, Outcome, Partial, Reconnect, Reject, Retry
from accord.sdk.connector import WriteItem, WriteMode

CONFLICT_TRIES_MAX = 3  # a transaction undone by a deadlock or a serialization failure is tried again at once

One = Done | Retry | Reconnect | Reject


class _Careful(Exception):
    """The fast way met something: nothing is kept of it."""


def write(database: Database, effects: Effects, plan: Plan, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
    """Runs on a database thread; never raises for what the database says."""
    outcome: Outcome = Retry("not tried")
    for _ in range(CONFLICT_TRIES_MAX):
        try:
            outcome = Partial(tuple(_transaction(database, effects, plan, mode, items)))
        except CommitFailed as failed:
            return outcome_of(failed.__cause__ or failed, committing=True)
        except Misfit as misfit:
            return misfit.reject
        except Exception as error:  # noqa: BLE001 - every driver error is translated in errors.py
            outcome = outcome_of(error)
            if not verdict_of(error).is_transient_conflict:
                return outcome
            continue
        return outcome.outcomes[0] if len(items) == 1 else outcome
    return outcome


def _transaction(
    database: Database, effects: Effects, plan: Plan, mode: WriteMode, items: Sequence[WriteItem]
) -> list[One]:
    if mode is not WriteMode.CREATE and not plan.entity.key:
        raise Misfit(f"{mode} needs a key and the entity '{plan.entity.name}' declares none")
    if mode is WriteMode.UPSERT and not plan.has_unique_key:
        keys = ", ".join(plan.entity.key)
        raise Misfit(f"upsert needs a primary key or unique index on exactly ({keys}) of '{plan.table.fullname}'", keys)
    if not any(item.in_doubt for item in items) and len({item.effect_id for item in items}) == len(items):
        try:
            with database.writing() as connection:
                return _fast(connection, effects, plan, mode, items)
        except (_Careful, Misfit):
            pass
        except (sa.exc.StatementError, *BINDING_ERRORS) as error:
            if verdict_of(error).kind != "reject":
                raise
    with database.writing() as connection:
        order = sorted(range(len(items)), key=lambda i: [str(items[i].record.get(key)) for key in plan.entity.key])
        done = {i: _careful(connection, effects, plan, mode, items[i]) for i in order}
        return [done[i] for i in range(len(items))]


def _fast(
    connection: sa.Connection, effects: Effects, plan: Plan, mode: WriteMode, items: Sequence[WriteItem]
) -> list[One]:
    if mode is WriteMode.CREATE and len(items) > 1 and not plan.children and _is_bulk(connection, plan, items):
        added = _create_many(connection, plan, items)
    elif mode is WriteMode.UPSERT and len(items) > 1 and len(plan.entity.key) == 1 and not plan.children:
        added = _upsert_many(connection, plan, items)
    else:
        # one order of rows for everyone: transactions that touch the same rows queue instead of deadlocking
        order = sorted(range(len(items)), key=lambda i: [str(items[i].record.get(key)) for key in plan.entity.key])
        applied = {i: _apply(connection, plan, mode, items[i].record) for i in order}
        added = []
        for i in range(len(items)):
            result = applied[i]
            if not isinstance(result, dict) or "_absent" in result:
                raise _Careful
            added.append(result)
    effects.store(connection, {item.effect_id: new or None for item, new in zip(items, added, strict=True)})
    return [Done(_result(item, new)) for item, new in zip(items, added, strict=True)]


def _careful(connection: sa.Connection, effects: Effects, plan: Plan, mode: WriteMode, item: WriteItem) -> One:
    for attempt in range(2):
        found = effects.find(connection, [item.effect_id])
        if item.effect_id in found:
            return Done(_result(item, found[item.effect_id]), was_there=True)
        savepoint = connection.begin_nested()
        try:
            added = _apply(connection, plan, mode, item.record)
            if isinstance(added, Reject):
                savepoint.rollback()
                return added
            effects.store(connection, {item.effect_id: added or None})
            savepoint.commit()
        except Misfit as misfit:
            savepoint.rollback()
            return misfit.reject
        except (sa.exc.StatementError, *BINDING_ERRORS) as error:
            verdict = verdict_of(error)
            if verdict.kind != "reject":
                raise
            savepoint.rollback()
            if verdict.code == UNIQUE and attempt == 0:
                continue  # someone committed the same effect or row meanwhile: look again
            return _with_field(plan, outcome_of(error))
        return Done(_result(item, added), was_there=mode is WriteMode.DELETE and added.get("_absent", False))
    raise AssertionError("the second attempt returns")


def _with_field(plan: Plan, outcome: Outcome) -> One:
    """The database names columns; the record has fields."""
    assert isinstance(outcome, Reject)
    fields = {column: field for field, column in plan.columns.names.items()}
    path = ", ".join(fields.get(name, name) for name in outcome.path.split(", ")) if outcome.path else ""
    return Reject(outcome.reason, path, outcome.code)


def _result(item: WriteItem, added: Mapping[str, Any] | None) -> dict[str, Any]:
    new = {name: value for name, value in (added or {}).items() if name != "_absent"}
    return {**plain(item.record), **new}


def _is_bulk(connection: sa.Connection, plan: Plan, items: Sequence[WriteItem]) -> bool:
    """Rows of one shape can go in one statement; made keys come back in order only where SQLAlchemy can tell rows apart."""
    first = items[0].record.keys()
    if any(item.record.keys() != first for item in items):
        return False
    missing = _unknown_keys(plan, items[0].record)
    return not missing or connection.dialect.name not in RAW_DIALECTS


def _create_many(connection: sa.Connection, plan: Plan, items: Sequence[WriteItem]) -> list[dict[str, Any]]:
    rows = [plan.columns.encode(item.record) for item in items]
    missing = _unknown_keys(plan, items[0].record)
    if not missing:
        connection.execute(plan.insert, rows)
        return [{} for _ in rows]
    returning = plan.table.insert().returning(*(plan.columns.column(f) for f in missing), sort_by_parameter_order=True)
    return [_decoded(plan, missing, row) for row in connection.execute(returning, rows)]


def _upsert_many(connection: sa.Connection, plan: Plan, items: Sequence[WriteItem]) -> list[dict[str, Any]]:
    """Looks which rows are there, changes those and inserts the others, each in as few statements as there are shapes of rows.

    A row that comes or goes meanwhile, a key twice in the batch or a key the database compares otherwise: the careful way.
    """
    key = plan.entity.key[0]
    if any(item.record.get(key) is None for item in items):
        raise _Careful
    column, name = plan.columns.column(key), plan.columns.names[key]
    rows = sorted((plan.columns.encode(item.record) for item in items), key=lambda row: str(row[name]))
    there = set(connection.scalars(sa.select(column).where(column.in_([row[name] for row in rows]))))
    updates: dict[frozenset[str], list[dict[str, Any]]] = {}
    inserts: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        if row[name] in there:
            changed = {column: value for column, value in row.items() if column != name}
            if changed:
                updates.setdefault(frozenset(changed), []).append({**changed, f"w {name}": row[name]})
        else:
            inserts.setdefault(frozenset(row), []).append(row)
    for some in updates.values():
        if connection.execute(plan.update, some).rowcount != len(some):
            raise _Careful
    for some in inserts.values():
        connection.execute(plan.insert, some)
    return [{} for _ in items]


def _unknown_keys(plan: Plan, record: Mapping[str, Any]) -> list[str]:
    """Key fields the record does not bring: the database makes them."""
    return [key for key in plan.entity.key if record.get(key) is None]


def _decoded(plan: Plan, fields: Sequence[str], row: Any) -> dict[str, Any]:
    return {field: plan.columns.decoders[field](value) for field, value in zip(fields, row, strict=True)}


def _apply(
    connection: sa.Connection, plan: Plan, mode: WriteMode, record: Mapping[str, Any]
) -> dict[str, Any] | Reject:
    """One record; what the database added to it, or why not."""
    if mode is WriteMode.CREATE:
        return _create(connection, plan, record)
    missing = _unknown_keys(plan, record)
    if missing:
        return Reject(f"{mode} needs the key of the row", ", ".join(missing), "connector.sql-no-key")
    if mode is WriteMode.DELETE:
        return _delete(connection, plan, record)
    if _update(connection, plan, record):
        _replace_children(connection, plan, record, is_new=False)
        return {}
    if mode is WriteMode.UPDATE:
        return Reject("there is no row with this key to update", ", ".join(plan.entity.key), "connector.sql-no-row")
    return _create(connection, plan, record)


def _create(connection: sa.Connection, plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
    row = plan.columns.encode({k: v for k, v in record.items() if not (v is None and k in plan.entity.key)})
    missing = _unknown_keys(plan, record)
    added: dict[str, Any] = {}
    if missing:
        insert = plan.table.insert().returning(*(plan.columns.column(field) for field in missing))
        added = _decoded(plan, missing, connection.execute(insert, row).one())
    else:
        connection.execute(plan.insert, row)
    _replace_children(connection, plan, {**record, **added}, is_new=True)
    return added


def _is_row(plan: Plan, record: Mapping[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(plan.columns.column(key) == plan.columns.encode_one(key, record[key]) for key in plan.entity.key))


def _update(connection: sa.Connection, plan: Plan, record: Mapping[str, Any]) -> bool:
    changed = plan.columns.encode({name: value for name, value in record.items() if name not in plan.entity.key})
    if changed:
        return connection.execute(plan.update, {**changed, **plan.key_parameters(record)}).rowcount > 0
    found = sa.select(sa.literal(1)).select_from(plan.table).where(_is_row(plan, record))
    return connection.execute(found).first() is not None


def _delete(connection: sa.Connection, plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
    for child in plan.children:
        _delete_children(connection, plan, child, record)
    gone = connection.execute(plan.table.delete().where(_is_row(plan, record))).rowcount
    return {} if gone else {"_absent": True}


def _delete_children(connection: sa.Connection, plan: Plan, child: Child, record: Mapping[str, Any]) -> None:
    parent = plan.columns.encode_one(plan.entity.key[0], record[plan.entity.key[0]])
    connection.execute(child.columns.table.delete().where(child.parent_key == parent))  # type: ignore[attr-defined]


def _replace_children(connection: sa.Connection, plan: Plan, record: Mapping[str, Any], *, is_new: bool) -> None:
    """List fields the record holds become the child rows; a list the record leaves out stays as it is."""
    for child in plan.children:
        if record.get(child.field) is None:
            continue
        if not is_new:
            _delete_children(connection, plan, child, record)
        parent = plan.columns.encode_one(plan.entity.key[0], record[plan.entity.key[0]])
        rows = []
        for number, line in enumerate(record[child.field], 1):
            row = child.columns.encode(line, f"{child.field}[{number - 1}].") | {child.parent_key.name: parent}
            rows.append(row | ({child.position: number} if child.position else {}))
        _insert_rows(connection, child, rows)


def _insert_rows(connection: sa.Connection, child: Child, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = {name for row in rows for name in row}
    uniform = [{name: row.get(name) for name in names} for row in rows]
    assert isinstance(child.columns.table, sa.Table)
    connection.execute(child.columns.table.insert().inline(), uniform)
