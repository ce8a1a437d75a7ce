"""Rows of a log as changes of records: what does not depend on the log's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from accord.connectors.sql.source import row_by_key
from accord.connectors.sql.tables import Plan
from accord.record import Entity
from accord.sdk.capture import Change, ChangeKind

Find = Callable[[str], dict[str, Any] | None]  # the row with this key as it is now
KINDS: Mapping[str, ChangeKind] = {"I": ChangeKind.INSERT, "U": ChangeKind.UPDATE, "D": ChangeKind.DELETE}


def change_of(
    entity: Entity,
    kind: ChangeKind,
    record: dict[str, Any],
    event_id: str,
    old: dict[str, Any] | None = None,
    malformed: str = "",
) -> Change:
    return Change(
        entity=entity.name,
        kind=kind,
        record=record,
        event_id=event_id,
        old=old,
        malformed=malformed,
        origin=f"change {event_id}",
    )


def updated(entity: Entity, old: dict[str, Any] | None, record: dict[str, Any], event_id: str) -> list[Change]:
    """One change, two when the key changes."""
    if old is not None and any(old[name] != record[name] for name in entity.key):
        gone = change_of(entity, ChangeKind.DELETE, old, f"{event_id}-")
        return [gone, change_of(entity, ChangeKind.INSERT, record, event_id, old)]
    return [change_of(entity, ChangeKind.UPDATE, record, event_id, old)]


def only_gone(entity: Entity, old: dict[str, Any] | None, key: dict[str, Any], event_id: str) -> list[Change]:
    """The row of an update is gone by now, which the stream will tell; under its old key it is gone already."""
    if old is not None and any(old[name] != key[name] for name in entity.key):
        return [change_of(entity, ChangeKind.DELETE, old, f"{event_id}-")]
    return []


def key_text(entity: Entity, key: Mapping[str, Any]) -> str:
    """As ``row_by_key`` takes it."""
    return "|".join(_text(key[name]) for name in entity.key)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def finder(connection: sa.Connection, plan: Plan) -> Find:
    return lambda key: row_by_key(connection, plan, key)


def snapshot_entity(entity: Entity, extra: Any, rows: int) -> Entity:
    """The entity as a snapshot reads it: whole, by key, in pages of ``rows``."""
    whole = msgspec.structs.replace(extra, cursor="", overlap=0, page_rows=rows)
    return msgspec.structs.replace(entity, extra=whole)
