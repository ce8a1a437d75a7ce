"""A source that makes ready elsewhere what it is asked for: its empty batches come through at once, and are never the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from accord.engine.bulk import reading
from accord.mapping.columns.dtypes import empty_frame
from accord.record import Entity, Field
from accord.record import types as t
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import Capabilities, Connection

ENTITY = Entity(name="shop.orders", fields={"id": Field(type=t.Integer())}, key=("id",))


class Slow(Connection):
    """Waits twice, then has one batch."""

    def __init__(self) -> None:
        self.asked = 0

    async def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        for position in ("job", "job", "end"):
            self.asked += 1
            is_end = position == "end"
            yield Batch(frame=empty_frame(entity.fields), position=position, after_s=0.0 if is_end else 5.0)


def test_waiting_comes_through_before_the_next_is_asked_for() -> None:
    source = Slow()

    async def scene() -> None:
        chunks = reading.chunks_of(source, ENTITY, Capabilities(bulk_read=True), BulkRead(), 1)
        for asked in (1, 2):
            waiting = (await anext(chunks)).batch
            assert (waiting.after_s, waiting.position, waiting.is_last, source.asked) == (5.0, "job", False, asked)
        last = (await anext(chunks)).batch
        assert (last.after_s, last.position, last.is_last) == (0.0, "end", True)
        assert [one async for one in chunks] == []

    asyncio.run(scene())
