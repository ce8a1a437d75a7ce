"""A supervisor with workers that only write: each accepts messages of its own parts as fast as the journal commits.

usage: counting_project.py FOLDER WORKERS [fail]      What every worker was told to be on disk is in FOLDER/<worker>-<pid>.told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from accord.engine.workers.supervisor import Supervisor
from accord.engine.workers.writer import write_journal
from accord.errors import AccordError
from accord.journal.hub.store import HubStore
from accord.journal.operations import Accept
from accord.journal.shared import BEAT_S, PARTS, part_of
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from accord.testing.journal_suite import message

FOLDER, WORKERS = Path(sys.argv[1]), int(sys.argv[2])


def work(number: int, to_hub: socket.socket, ready: Callable[[], None]) -> None:
    if "fail" in sys.argv:
        raise AccordError("The project cannot start.", code="cli.test")
    uvloop.run(_work(number, HubStore(to_hub, on_lost=lambda: os._exit(1)), ready))


async def _work(number: int, store: HubStore, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await store.open()
    await store.join(f"worker {number}", "")
    beating = asyncio.create_task(_beat(store))
    ready()
    own = frozenset[int]()
    count = 0
    with (FOLDER / f"{number}-{os.getpid()}.told").open("w") as told:
        while not stop.is_set():
            own |= await store.take(range(number - 1, PARTS, WORKERS))
            count += 1
            of_mine = next(k for k in map(str, range(count * 1000, count * 1000 + 1000)) if part_of("f", k) in own)
            name = os.getpid() * 1_000_000 + count
            (accepted,) = await store.commit([Accept((message(name, key=of_mine),))])
            told.write(f"m{name} {accepted.messages[0].seq}\n")
            told.flush()
            await asyncio.sleep(0.002)
    beating.cancel()
    await store.close()


async def _beat(store: HubStore) -> None:
    while True:
        await store.census()
        await asyncio.sleep(BEAT_S)


if __name__ == "__main__":
    journal = SqliteStore(FOLDER / "journal.db")
    sys.exit(
        Supervisor(
            WORKERS, lambda control: write_journal(journal, control), work, Observer(as_json=True), drain_s=5.0
        ).run()
    )
