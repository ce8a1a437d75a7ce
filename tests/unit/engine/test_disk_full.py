"""While the journal takes nothing, in-flight messages keep what they did and go on once it does."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from accord.errors import JournalFull
from accord.flow.commands import Command, ErrorPolicy, Mark, Write
from accord.journal.operations import Operation
from accord.record import Done, Message
from accord.sdk.connector import WriteMode
from unit.engine.engine_room import FunctionFlow, Room, message


def write(path: str, id: str) -> Write:
    return Write(path=path, entity="target.things", mode=WriteMode.UPSERT, record={"id": id})


def test_a_full_disk_in_the_middle_of_a_flow_neither_kills_nor_repeats(tmp_path: Path) -> None:
    def steps(msg: Message) -> Generator[Command, Any, Any]:
        assert (yield Mark(path="0.dedupe", scope="s", id=msg.id)) is True
        yield write("1.write", msg.id + "-a")
        yield write("2.write", msg.id + "-b")

    async def run() -> None:
        room = Room(tmp_path, lambda item: Done())
        await room.open(FunctionFlow("f", steps, ErrorPolicy(attempts=1)))
        is_full = False
        refused = 0
        commit = room.journal.read.commit

        def full_commit(operations: Sequence[Operation]) -> list[Any]:
            nonlocal refused
            if is_full:
                refused += 1
                raise JournalFull("no space left")
            return commit(operations)

        room.journal.read.commit = full_commit
        for number in range(5):
            await room.accept(message(number))
        is_full = True
        async with asyncio.timeout(10):
            while refused < 3:
                await asyncio.sleep(0.01)
        is_full = False
        await room.wait_open(0)
        assert sorted(item.record["id"] for item in room.connection.written) == sorted(
            f"m{n}-{part}" for n in range(5) for part in "ab"
        )
        assert room.journal.read.counts() == {("f", "done"): 5}
        await room.close()

    asyncio.run(run())
