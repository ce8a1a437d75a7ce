"""A member of a journal in PostgreSQL under load: accepts a message after another in each part it owns, runs the oldest of each part
and settles it, and prints what it was told. Half of the parts are its own, all of them while it is alone.

Arguments: url, schema, index (0 or 1). Ends with code 3 when it is fenced.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import sys
from typing import Any

from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Accept, Settle, State, StepResult
from accord.journal.shared import PARTS
from accord.journal.stores.postgresql_member import PostgresqlMember
from accord.record import Message
from accord.testing.shared_harness import key_of

FENCED = 3
BEAT_S = 0.2


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # no buffer: the line is out before anything else happens


class Worker:
    def __init__(self, url: str, schema: str, index: int) -> None:
        self.store = PostgresqlMember(url, schema)
        self.journal = Journal(self.store)
        self.index = index
        self.owned: dict[int, asyncio.Task[None]] = {}
        self.fenced = asyncio.Event()
        self.numbers = itertools.count(1)
        self.run_id = os.urandom(4).hex()

    async def run(self) -> int:
        await self.journal.start()
        member = await self.store.join(f"node {self.index}", "127.0.0.1:1")
        say("joined", member.id)
        beats = asyncio.create_task(self._beat(member.id))
        await self.fenced.wait()
        beats.cancel()
        for task in self.owned.values():
            task.cancel()
        await asyncio.gather(beats, *self.owned.values(), return_exceptions=True)
        await self.journal.close()
        return FENCED

    async def _beat(self, own: int) -> None:
        while True:
            with self._faults():
                census = await self.store.census()
                others = [id_ for id_ in census.members if id_ != own]
                wanted = set(range(PARTS)) if not others else {p for p in range(PARTS) if p % 2 == self.index}
                surplus = {part for part, owner in census.owners.items() if owner == own} - wanted
                for part in surplus & set(self.owned):
                    await self._stop(part)
                if surplus:
                    await self.store.give(sorted(surplus), others[0])
                taken = await self.store.take(sorted(wanted))
                for part in taken | {part for part, owner in census.owners.items() if owner == own and part in wanted}:
                    if part not in self.owned:
                        self.owned[part] = asyncio.create_task(self._work(part))
                say("owns", len(self.owned))
            await asyncio.sleep(BEAT_S)

    async def _stop(self, part: int) -> None:
        task = self.owned.pop(part)
        task.cancel()  # between two steps: see _work
        await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def _faults(self) -> Any:
        try:
            yield
        except JournalError as error:
            if error.code == "journal.fenced":
                self.fenced.set()
            elif error.code not in ("journal.unavailable", "journal.not-owner"):
                say("error", error.code, error.what)

    async def _work(self, part: int) -> None:
        key = key_of(part)
        while True:
            with self._faults():
                await asyncio.shield(asyncio.ensure_future(self._order(part, key)))
            await asyncio.sleep(0.01)

    async def _order(self, part: int, key: str) -> None:
        name = f"{self.run_id}-{next(self.numbers)}"
        new = Message(
            id=name, flow="f", key=key, source="s", body=b"x" * 600, time=dt.datetime.now(dt.UTC), event_id=name
        )
        accepted = await self.journal.submit(Accept((new,)))
        say("accepted", name, accepted.messages[0].seq)
        while part in self.owned and (lease := await self.journal.reads.next_of_key("f", key)) is not None:
            settle = Settle(seq=lease.seq, state=State.DONE, results=(StepResult("1", self.run_id.encode()),))
            if await self.journal.submit(settle):
                say("settled", lease.message.id, lease.seq, part)


if __name__ == "__main__":
    sys.exit(asyncio.run(Worker(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()))
