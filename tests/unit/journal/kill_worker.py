"""Accepts and settles under load and prints what was acknowledged, until it is killed. Arguments: journal path, first number."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from pathlib import Path

from accord.journal.group import Journal
from accord.journal.operations import Accept, CrossReference, Settle, State, StepResult
from accord.journal.stores.sqlite import SqliteStore
from accord.record import Cursor, Message


def say(line: str) -> None:
    os.write(1, line.encode())  # no buffer: the line is out before anything else happens


async def order(journal: Journal, number: int) -> None:
    message = Message(
        id=f"m{number}",
        flow="f",
        key=f"k{number % 7}",
        source="shop.orders",
        body=b"x" * 600,
        time=dt.datetime.now(dt.UTC),
        event_id=f"e{number}",
    )
    accepted = await journal.submit(Accept((message,)))
    seq = accepted.messages[0].seq
    say(f"accepted {number} {seq}\n")
    settle = Settle(
        seq=seq,
        state=State.DONE,
        results=(StepResult("1.write", b"r%d" % number),),
        references=(CrossReference("shop.orders", str(number), "erp.orders", f"x{number}"),),
        cursors=(Cursor("last", b"%d" % number),),
    )
    assert await journal.submit(settle)
    say(f"settled {number} {seq}\n")


async def main(path: Path, number: int) -> None:
    # A short log, so that the kill also meets checkpoints.
    journal = Journal(SqliteStore(path, wal_frames_start=50, wal_frames_max=400))
    journal.open()

    async def worker(number: int) -> None:
        while True:
            await order(journal, number)
            number += 20

    await asyncio.gather(*(worker(number + n) for n in range(20)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
