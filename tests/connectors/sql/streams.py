"""A stream of a real database's changes, in the hands of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from accord.connectors.sql import CONNECTOR
from accord.connectors.sql.spec import SqlChanges, SqlEntity, SqlSettings
from accord.engine.http import PooledHttpClient
from accord.record import Entity, Field
from accord.record import types as t
from accord.sdk.capture import Change
from accord.sdk.connector import Context


class Stream:
    """From opening to closing, of tables of the system ``erp``: the first named ``things`` has fields of ``types``, others only ``id``."""

    def __init__(
        self, url: str, types: Mapping[str, t.Type], folder: Path, changes: SqlChanges, names: tuple[str, ...]
    ) -> None:
        settings = SqlSettings(url=url, changes=changes, read_only=True)
        fields = {name: Field(type=type_, nullable=name != "id") for name, type_ in types.items()}
        self.entities = [
            Entity(
                name=f"erp.{name}",
                key=("id",),
                extra=SqlEntity(),
                fields=fields if name == "things" else {"id": fields["id"]},
            )
            for name in names
        ]
        context = Context(system="erp", http=PooledHttpClient(), folder=folder, state_folder=folder)
        self.connection = CONNECTOR.connect(settings, {e.short_name: e for e in self.entities}, context)
        self.position: Any = None
        self.notices: list[str] = []

    async def open(self) -> None:
        await self.connection.open()
        self.stream = self.connection.changes(self.entities, self.position)  # type: ignore[attr-defined]
        await self.stream.open()

    async def page(self) -> list[Change]:
        page = await asyncio.wait_for(self.stream.next(), 20)
        if page is None:
            return []
        self.notices += page.notices
        self.position = page.position
        await self.stream.confirm(page.position)
        return list(page.changes)

    async def read(self, count: int) -> list[Change]:
        found: list[Change] = []
        while len(found) < count:
            found += await self.page()
        return found

    async def snapshot(self) -> list[Change]:
        found: list[Change] = []
        while self.position is None or self.position["pending"]:
            found += await self.page()
        return found

    async def close(self) -> None:
        if hasattr(self, "stream"):
            await self.stream.close()
        await self.connection.close()

    def play(self, scene: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        """The scene with the stream open."""

        async def run() -> None:
            try:
                await self.open()
                await scene(self)
            finally:
                await self.close()

        asyncio.run(run())


async def nothing(stream: Stream) -> None:
    await stream.snapshot()


def told(changes: list[Change]) -> list[tuple[str, int]]:
    return [(str(change.kind), change.record["id"]) for change in changes]
