"""A folder to test with: entities as a system file declares them, open connections, whole reads."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from accord.connectors.files import CONNECTOR
from accord.connectors.files.spec import FilesEntity, FilesSettings
from accord.errors import Faults
from accord.record import Entity
from accord.sdk.connector import Connection, Context, Page
from accord.sdk.http import decode_json, encode_json
from accord.settings.entities import read_entity
from accord.settings.node import Node

ORDER_FIELDS: dict[str, Any] = {
    "id": "integer",
    "name": "string",
    "total": "decimal?",
    "day": "date?",
    "at": "datetime?",
    "paid": "boolean?",
}


@dataclasses.dataclass
class Share:
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "share"

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def entity(self, short_name: str = "orders", /, **declared: Any) -> Entity:
        faults = Faults()
        node = Node.of({"key": "id", "fields": ORDER_FIELDS, **declared})
        entity = read_entity("share", short_name, node, FilesEntity, faults)
        assert entity is not None, faults.found
        return entity

    def settings(self, **more: Any) -> FilesSettings:
        return FilesSettings(**{"folder": "share", "stable": dt.timedelta(0), **more})

    @asynccontextmanager
    async def open(self, **more: Any) -> AsyncIterator[Connection]:
        context = Context(system="share", http=None, folder=self.folder, state_folder=self.folder)  # type: ignore[arg-type]
        connection = CONNECTOR.connect(self.settings(**more), {}, context)
        await connection.open()
        yield connection
        await connection.close()


def share(folder: Path) -> Share:
    (folder / "share").mkdir()
    return Share(folder)


async def pages_of(connection: Connection, entity: Entity, position: Any = None) -> list[Page]:
    """Positions go through JSON, as the journal keeps them."""
    return [page async for page in connection.read(entity, decode_json(encode_json(position)))]


def records(pages: list[Page]) -> list[dict[str, Any]]:
    return [record for page in pages for record in page.records]
