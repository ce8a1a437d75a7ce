"""A source that makes ready elsewhere what it is asked for: its empty batches come through at once, and are never the last."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.bulk.nightly import make, run

from accord.cli.status import bulk_line
from accord.engine.bulk import reading
from accord.engine.bulk.desk import run_view
from accord.engine.bulk.run import BulkRun
from accord.engine.bulk.state import RunRecord
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


def test_a_run_that_waits_says_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, Any, str]] = []

    def tell(run: RunRecord) -> None:
        told.append((run.waiting, run.waiting_since, bulk_line(run_view(run))[0]))

    async def chunks(connection: Any, entity: Entity, *how: Any) -> AsyncIterator[reading.Read]:
        for position, after_s in (("job", 0.01), ("job", 0.01), ("end", 0.0)):
            yield reading.Read(Batch(frame=empty_frame(entity.fields), position=position, after_s=after_s))

    monkeypatch.setattr("accord.engine.bulk.run.BulkRun", functools.partial(BulkRun, tell=tell))
    monkeypatch.setattr("accord.engine.bulk.feed.chunks_of", chunks)
    assert run(make(tmp_path)).record.state == "done"
    (first, again, *_, last) = told
    assert first == again
    why, since, shown = first
    assert "is being made ready" in why
    assert shown == f"running, waits since {str(since)[:19]}: {why}"
    assert last[2] == "done"
