"""A source that asks to be asked less while a chunk is read: its pages are not read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accord.engine.bulk import reading
from accord.record import Entity, Field, Reconnect, Retry
from accord.record import types as t
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import Capabilities, Connection, Page, ReadFailed

ENTITY = Entity(name="shop.orders", fields={"id": Field(type=t.Integer())}, key=("id",))


class Bucket(Connection):
    """Two pages a visit, five in all."""

    def __init__(self, outcome: Retry | Reconnect) -> None:
        self.asked: list[int] = []
        self.outcome = outcome

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        for visited, number in enumerate(range(position or 0, 5)):
            if visited == 2:
                raise ReadFailed(self.outcome)
            self.asked.append(number)
            yield Page([{"id": number}], number + 1)


def read(source: Bucket) -> list[int]:
    async def run() -> list[int]:
        found = []
        async for one in reading.chunks_of(source, ENTITY, Capabilities(read=True), BulkRead(), 1):
            found += [odd.record["id"] for odd in one.batch.odd]
        return found

    return asyncio.run(run())


def test_reading_goes_on_behind_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "THROTTLED_S", 0.001)
    source = Bucket(Retry("the bucket is used up", after_s=0.001, throttled=True))
    assert read(source) == [0, 1, 2, 3, 4]
    assert source.asked == [0, 1, 2, 3, 4]


def test_what_is_no_throttling_is_told() -> None:
    with pytest.raises(ReadFailed):
        read(Bucket(Reconnect("gone")))
