"""The sql connector as the engine sees it before any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.sql.connection import SqlConnection
from accord.connectors.sql.spec import SqlEntity, SqlOperation, SqlSettings
from accord.connectors.sql.tables import extra_of
from accord.errors import NOWHERE, Faults, Place, did_you_mean
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import (
    Capabilities,
    Connection,
    Context,
    Idempotency,
    KindBase,
    Operation,
    RateLimit,
    WriteMode,
)
from accord.settings.fields import read_fields
from accord.settings.node import Node
from accord.settings.secret import Secret


class SqlKind(KindBase):
    name: ClassVar[str] = "sql"
    summary: ClassVar[str] = "Any SQLAlchemy database: SQLite, PostgreSQL, MariaDB and more"
    settings: ClassVar[type[msgspec.Struct]] = SqlSettings
    entity_settings: ClassVar[type[msgspec.Struct] | None] = SqlEntity

    def capabilities(self, settings: SqlSettings, entity: Entity) -> Capabilities:
        extra = extra_of(entity)
        writes = frozenset[WriteMode]()
        if not (settings.read_only or extra.query):
            writes = frozenset(WriteMode) if entity.key else frozenset({WriteMode.CREATE})
        return Capabilities(
            discover=True,
            read=True,
            read_changes=bool(extra.cursor),
            stream_changes=_can_stream(settings, entity),
            get=bool(entity.key),
            bulk_read=True,
            bulk_partitions=_can_partition(settings, entity),
            bulk_spread=_can_partition(settings, entity),
            write=writes,
            idempotency=dict.fromkeys(writes, Idempotency.TRANSACTION),
            write_items_max=settings.write_items_max,
            bulk_write=_load_modes(entity) if writes and not extra.children else frozenset(),
        )

    def operations(self, settings: SqlSettings) -> Mapping[str, Operation]:
        return {name: _operation(name, spec, Faults()) for name, spec in settings.operations.items()}

    def rate_limit(self, settings: SqlSettings) -> RateLimit:
        return RateLimit(concurrent=64, adaptive=False)  # writes leave in groups, one at a time

    def check(self, settings: SqlSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        _check_zone(settings, node, faults)
        _check_url(settings, node, faults)
        operations = node.get("operations")
        for name, spec in settings.operations.items():
            place = operations.place_of(name) if operations else NOWHERE
            _operation(name, spec, faults)
            if settings.read_only and not spec.read_only:
                what = f"The operation '{name}' changes data, but the system is `read_only`."
                faults.add("connector.sql-read-only", place, what, "Mark it `read_only: true` or drop the setting.")
        for name, entity in entities.items():
            _check_entity(name, entity, faults)

    def connect(self, settings: SqlSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return SqlConnection(settings, entities, self.operations(settings), context)


def _load_modes(entity: Entity) -> frozenset[LoadMode]:
    return frozenset(LoadMode) if entity.key else frozenset({LoadMode.APPEND, LoadMode.REPLACE})


def _can_stream(settings: SqlSettings, entity: Entity) -> bool:
    """A keyed table of a database whose log is read; an address that is a secret is taken for one, and the stream says if not."""
    extra = extra_of(entity)
    has_log = isinstance(settings.url, Secret) or settings.url.startswith(("postgresql", "mariadb", "mysql"))
    return has_log and bool(entity.key) and not (extra.query or extra.children)


def _can_partition(settings: SqlSettings, entity: Entity) -> bool:
    """What COPY reads of PostgreSQL, whose connections can share a snapshot; an address that is a secret is taken for one."""
    extra = extra_of(entity)
    is_shared = isinstance(settings.url, Secret) or settings.url.startswith("postgresql")
    return is_shared and bool(entity.key) and not (extra.query or extra.children or extra.scaled)


def _operation(name: str, spec: SqlOperation, faults: Faults) -> Operation:
    return Operation(
        name=name,
        takes=_fields(name, spec.takes, faults),
        gives=_fields(name, spec.gives, faults) if spec.gives is not None else None,
        idempotency=Idempotency.UPSERT if spec.read_only else Idempotency.TRANSACTION,
        is_read_only=spec.read_only,
        summary=spec.summary,
    )


def _fields(name: str, node: Node, faults: Faults) -> dict[str, Field]:
    return (read_fields(node, faults, what=f"the operation '{name}'") or {}) if node.is_map else {}


def _check_zone(settings: SqlSettings, node: Node, faults: Faults) -> None:
    try:
        ZoneInfo(settings.zone)
    except (KeyError, ValueError, OSError):
        what = f"There is no time zone '{settings.zone}'."
        faults.add("connector.sql-zone", node.place_of("zone"), what, "Write an IANA name such as Europe/Berlin.")


def _check_url(settings: SqlSettings, node: Node, faults: Faults) -> None:
    if isinstance(settings.url, Secret):
        return
    if "://" not in settings.url:
        what = "The `url` is no database address."
        mend = (
            "Write dialect://user@host:port/database, for example postgresql://accord@db/erp or sqlite:///data/erp.db."
        )
        faults.add("connector.sql-url", node.place_of("url"), what, mend)
    elif ":" in settings.url.partition("://")[2].rpartition("@")[0]:
        what = "The `url` shows a password."
        mend = "Put it in `password: ${secret:NAME}`, or make the whole address a secret: url: ${secret:NAME}."
        faults.add("connector.sql-open-password", node.place_of("url"), what, mend)


def _check_entity(name: str, entity: Entity, faults: Faults) -> None:
    extra, place = extra_of(entity), entity.place
    if extra.cursor:
        field = entity.fields.get(extra.cursor)
        if field is None:
            what = f"The cursor '{extra.cursor}' of '{name}' is no field of it."
            faults.add("connector.sql-cursor", place, what, did_you_mean(extra.cursor, entity.fields))
        elif field.nullable:
            what = f"The cursor '{extra.cursor}' of '{name}' may be null; such rows would never be read."
            faults.add(
                "connector.sql-cursor", place, what, "Declare it without '?' or choose a column that is always set."
            )
        if not entity.key:
            what = f"The entity '{name}' has a cursor but no key: rows with equal cursors could not be told apart."
            faults.add("connector.sql-cursor", place, what, "Declare `key`.")
    if extra.overlap and not extra.cursor:
        faults.add("connector.sql-cursor", place, f"'{name}' has an `overlap` but no `cursor`.", "Declare `cursor`.")
    for mapping, what in ((extra.columns, "columns"), (extra.scaled, "scaled"), (extra.children, "children")):
        for field_name in mapping:
            if field_name not in entity.fields:
                text = f"`{what}` of '{name}' names '{field_name}', which is no field of it."
                faults.add("connector.sql-field", place, text, did_you_mean(field_name, entity.fields))
    for field_name in extra.children:
        _check_child(name, entity, field_name, place, faults)


def _check_child(name: str, entity: Entity, field_name: str, place: Place, faults: Faults) -> None:
    declared = entity.fields.get(field_name)
    if declared is not None and not (isinstance(declared.type, t.List) and isinstance(declared.type.item, t.Object)):
        what = f"`children` of '{name}' needs '{field_name}' to be a list of objects."
        faults.add("connector.sql-children", place, what, "Declare it as {list: {…}}.")
    if len(entity.key) != 1:
        what = f"`children` of '{name}' need an entity key of exactly one field."
        faults.add("connector.sql-children", place, what, "Declare `key` with one field.")
