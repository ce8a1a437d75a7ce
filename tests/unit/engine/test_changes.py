"""The reader of a stream of changes: confirmed only when journaled, stopped by a full backlog, given up above its bound."""

from __future__ import annotations

import asyncio
import contextlib
import io
from types import SimpleNamespace
from typing import Any

from accord.engine.changes import ChangeReader
from accord.engine.sources import BACKLOG_MAX
from accord.errors import JournalError
from accord.flow.trigger import ChangesTrigger
from accord.observe import Observer
from accord.sdk.capture import CaptureLag, Change, ChangeKind, ChangePage
from accord.sdk.http import decode_json
from unit.engine.virtual import LoopClock, run_virtual


class Source:
    """A connection and its stream: endless pages of one insert each, every one numbered."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.retained_bytes = 0
        self.may_drop = False
        self.kind = ChangeKind.INSERT

    def changes(self, entities: Any, position: Any) -> Source:
        self.at = position or 0
        self.log.append(f"from {position}")
        return self

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.log.append("closed")

    async def next(self) -> ChangePage:
        await asyncio.sleep(0.5)
        self.at += 1
        self.log.append(f"read {self.at}")
        change = Change(entity="erp.orders", kind=self.kind, record={"id": self.at}, event_id=str(self.at))
        return ChangePage(changes=[change], position=self.at)

    async def confirm(self, position: Any) -> None:
        self.log.append(f"confirmed {position}")

    async def lag(self) -> CaptureLag:
        return CaptureLag(retained_bytes=self.retained_bytes, retained_bytes_max=100, may_drop=self.may_drop)

    async def drop_capture(self) -> bool:
        self.log.append("dropped")
        self.retained_bytes = 0
        return True


class Room:
    """Journal and acceptor in one: the cursor, how many messages are open, and whether the disk takes anything."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.raw: bytes | None = None
        self.open = 0
        self.is_full = False
        self.messages: list[Any] = []
        self.reads = self

    async def cursor(self, name: str) -> bytes | None:
        return self.raw

    def message(self, flow: Any, arrival: Any, *, is_backfill: bool) -> Any:
        return arrival

    async def store(self, messages: Any, cursors: Any) -> None:
        if self.is_full:
            raise JournalError("the disk is full")
        self.messages += messages
        self.keep(cursors)

    async def submit(self, operation: Any) -> None:
        self.keep(operation.cursors)

    def keep(self, cursors: Any) -> None:
        (cursor,) = cursors
        self.raw = cursor.position
        self.source.log.append(f"journaled {decode_json(cursor.position)}")

    def open_count(self, flow: str) -> int:
        return self.open


def run(source: Source, room: Room, scene: Any) -> None:
    async def main() -> None:
        flow = SimpleNamespace(name="copy")
        trigger = ChangesTrigger("erp.orders", (ChangeKind.INSERT, ChangeKind.TRUNCATE))
        gate = SimpleNamespace(is_paused=False)
        port: Any = SimpleNamespace(name="erp", connection=source, gate=gate, entities={"erp.orders": None})
        wanted: Any = {"erp.orders": [(flow, trigger)]}
        reader = ChangeReader(wanted, port, room, room, LoopClock(), Observer(stream=io.StringIO()))  # type: ignore[arg-type]
        task = asyncio.ensure_future(reader.run())
        await scene()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run_virtual(main)


def test_only_what_is_journaled_is_confirmed() -> None:
    source = Source()
    room = Room(source)

    async def scene() -> None:
        await asyncio.sleep(1.2)
        room.is_full = True
        await asyncio.sleep(0.6)
        room.is_full = False
        await asyncio.sleep(5)

    run(source, room, scene)
    for at, line in enumerate(source.log):
        if line.startswith("confirmed"):
            assert source.log[at - 1] == line.replace("confirmed", "journaled")
    assert source.log[:9] == [
        "from None",
        *("read 1", "journaled 1", "confirmed 1"),
        *("read 2", "journaled 2", "confirmed 2"),
        *("read 3", "closed"),
    ]
    assert source.log[9:12] == ["from 2", "read 3", "journaled 3"]


def test_a_full_backlog_stops_reading_with_signs_of_life() -> None:
    source = Source()
    room = Room(source)

    async def scene() -> None:
        room.open = BACKLOG_MAX
        await asyncio.sleep(60)
        assert [line for line in source.log if line.startswith("read")] == ["read 1"]
        assert source.log.count("confirmed None") >= 10
        assert not room.messages
        room.open = 0
        await asyncio.sleep(1)
        assert len(room.messages) >= 1

    run(source, room, scene)


def test_a_stream_that_is_too_far_behind_begins_anew() -> None:
    source = Source()
    source.may_drop = True
    room = Room(source)

    async def scene() -> None:
        await asyncio.sleep(3)
        room.open = BACKLOG_MAX
        source.retained_bytes = 101
        await asyncio.sleep(20)
        at = source.log.index("dropped")
        assert source.log[at - 2 : at + 2] == ["closed", "journaled None", "dropped", "from None"]

    run(source, room, scene)


def test_a_truncate_waits_for_what_is_before_it() -> None:
    source = Source()
    source.kind = ChangeKind.TRUNCATE
    room = Room(source)

    async def scene() -> None:
        room.open = 1
        await asyncio.sleep(10)
        assert not room.messages
        room.open = 0
        await asyncio.sleep(0.5)
        assert [arrival.topic for arrival in room.messages] == ["truncate"]

    run(source, room, scene)
