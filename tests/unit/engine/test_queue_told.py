"""A message that the queue's scan reads as soon as it is committed does not hide those still on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from accord.engine.dispatch import FlowQueue
from accord.journal.group import Journal
from accord.journal.operations import Accept, Lease, Settle, State
from accord.journal.stores.sqlite import SqliteStore
from unit.engine.engine_room import message, tell


def test_news_of_a_message_that_was_read_already_loses_no_other(tmp_path: Path) -> None:
    async def work() -> None:
        journal = Journal(SqliteStore(tmp_path / "journal.db"))
        journal.open()
        await journal.submit(Accept((message(1, key="a"), message(2, key="a"))))
        may_end = asyncio.Event()
        started: list[str] = []

        async def run(lease: Lease) -> Settle:
            started.append(lease.message.id)
            if lease.message.id == "m1":
                await may_end.wait()
            return Settle(seq=lease.seq, state=State.DONE)

        queue = FlowQueue("f", journal, run, lambda _state: None)
        queue.start(2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert started == ["m1"]  # the second waits on disk for its turn

        journal.on_accepted = tell(queue)
        await journal.submit(Accept((message(3, key="b"),)))
        await queue._read_back()  # as when something ended in the same turn of the loop as the commit
        async with asyncio.timeout(20):
            while queue.open_count > 2:
                await asyncio.sleep(0)
        may_end.set()
        async with asyncio.timeout(5):
            while queue.open_count:
                await asyncio.sleep(0)
        assert started == ["m1", "m3", "m2"]
        await queue.stop()
        await journal.close()

    asyncio.run(work())
