"""The duckdb connector as the engine sees it before any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

import msgspec

from accord.connectors.duckdb.connection import DuckdbConnection
from accord.connectors.duckdb.spec import DuckdbEntity, DuckdbSettings
from accord.errors import Faults
from accord.record import Entity
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import Capabilities, Connection, Context, Idempotency, KindBase, RateLimit, WriteMode
from accord.settings.node import Node


class DuckdbKind(KindBase):
    name: ClassVar[str] = "duckdb"
    summary: ClassVar[str] = "DuckDB: an embedded warehouse in one file"
    settings: ClassVar[type[msgspec.Struct]] = DuckdbSettings
    entity_settings: ClassVar[type[msgspec.Struct] | None] = DuckdbEntity

    def capabilities(self, settings: DuckdbSettings, entity: Entity) -> Capabilities:
        writes = frozenset({WriteMode.CREATE, WriteMode.UPSERT, WriteMode.DELETE} if entity.key else {WriteMode.CREATE})
        return Capabilities(
            read=True,
            get=len(entity.key) == 1,
            write=writes,
            idempotency=dict.fromkeys(writes, Idempotency.TRANSACTION),
            write_items_max=1000,
            bulk_read=True,
            bulk_write=frozenset(LoadMode) if entity.key else frozenset({LoadMode.APPEND, LoadMode.REPLACE}),
        )

    def rate_limit(self, settings: DuckdbSettings) -> RateLimit:
        return RateLimit(concurrent=16, adaptive=False)

    def check(self, settings: DuckdbSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        path = PurePosixPath(settings.file)
        if path.is_absolute() or ".." in path.parts:
            what = "`file` must be a path inside the project."
            mend = "Write a name without '..' or a leading '/', for example data/warehouse.duckdb."
            faults.add("connector.duckdb-file", node.place_of("file"), what, mend)

    def connect(self, settings: DuckdbSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return DuckdbConnection(settings, context)
