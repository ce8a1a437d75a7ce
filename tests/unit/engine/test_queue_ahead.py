"""A message that the queue's scan reads as soon as it is committed does not make room for followers of one that waits."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from accord.engine.dispatch import FlowQueue
from accord.journal.group import Journal
from accord.journal.operations import Accept, Lease, ReleaseDue, Settle, State
from accord.journal.stores.sqlite import SqliteStore
from accord.testing.journal_suite import START
from unit.engine.engine_room import message, tell


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("follower_first", [True, False])
def test_a_follower_of_a_waiting_message_waits_too(tmp_path: Path, together: bool, follower_first: bool) -> None:
    async def work() -> None:
        journal = Journal(SqliteStore(tmp_path / "journal.db"))
        journal.open()
        await journal.submit(Accept((message(1, key="a"),)))
        ran: list[str] = []

        async def run(lease: Lease) -> Settle:
            ran.append(lease.message.id)
            if ran == ["m1"]:
                return Settle(seq=lease.seq, state=State.WAITING, due=START)
            return Settle(seq=lease.seq, state=State.DONE)

        parked = asyncio.Event()
        queue = FlowQueue("f", journal, run, lambda _state: parked.set())
        queue.start(1)
        await parked.wait()
        await asyncio.sleep(0)

        fresh = (message(2, key="a"), message(3, key="b"))
        fresh = fresh if follower_first else fresh[::-1]
        journal.on_accepted = tell(queue)
        accepts = [Accept(fresh)] if together else [Accept((one,)) for one in fresh]
        await asyncio.gather(*(journal.submit(accept) for accept in accepts))
        await queue._read_back()  # as when something ended in the same turn of the loop as the commit
        async with asyncio.timeout(5):
            while queue.open_count > 2:
                await asyncio.sleep(0)
        assert ran == ["m1", "m3"], "the follower ran before the message that waits"
        await queue.released(await journal.submit(ReleaseDue(START + dt.timedelta(seconds=1), 10)))
        async with asyncio.timeout(5):
            while queue.open_count:
                await asyncio.sleep(0)
        assert ran == ["m1", "m3", "m1", "m2"]
        await queue.stop()
        await journal.close()

    asyncio.run(work())
