"""Queues whose parts move between members at random: order per key, each message once, nothing left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import random
import socket
from collections import defaultdict
from pathlib import Path

import pytest

from accord.engine.clock import SystemClock
from accord.engine.cluster.holdings import Holdings
from accord.engine.cluster.queue import PartedQueue
from accord.engine.cluster.runners import Runners
from accord.engine.cluster.table import PartTable
from accord.engine.release import Releaser
from accord.journal.group import Journal
from accord.journal.hub.hub import Hub
from accord.journal.hub.store import HubStore
from accord.journal.operations import Accept, DeadLetter, Lease, Replay, Settle, State
from accord.journal.shared import PARTS, part_of
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from unit.engine.engine_room import message, tell

KEYS = 30


class World:
    """What may be seen from outside: which messages ran, how many of a key at once."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ran: dict[str, list[int]] = defaultdict(list)
        self.busy: set[str] = set()
        self.died: set[str] = set()
        self.faults: list[str] = []


async def nothing_to_release() -> bool:
    return False


class Room:
    """One member without an engine around it: journal, queue, releaser, holdings."""

    def __init__(self, world: World, number: int, window: int, end: socket.socket) -> None:
        self.world = world
        self.number = number
        self.table = PartTable()
        self.store = HubStore(end)
        self.journal = Journal(self.store)
        observer = Observer(stream=io.StringIO())
        queues: dict[str, PartedQueue] = {}
        self.releaser = Releaser(queues, {}, self.journal, SystemClock())
        self.queue = PartedQueue(
            "f",
            self.journal,
            self._run,
            lambda _state: self.releaser.parked(),
            running=self.table.running,
            on_gone=lambda: self.holdings.key_gone(),
            window=window,
        )
        queues["f"] = self.queue
        runners = Runners(self.table.running, lambda work: work())
        self.holdings = Holdings(
            self.table, self.store, self.journal, queues, {}, runners, self.releaser, nothing_to_release, observer
        )

    async def open(self) -> None:
        self.journal.on_accepted = tell(self.queue)
        await self.journal.start()
        self.member = await self.store.join(f"m{self.number}", "")
        self.table.me = self.member.id
        self.queue.start(0)
        self.task = asyncio.create_task(self.releaser.run())

    async def close(self) -> None:
        self.task.cancel()
        await self.queue.stop()
        self.queue.cancel()
        await self.journal.close()

    async def give(self, parts: set[int], to: Room) -> None:
        """As a membership does; the other takes them up."""
        self.holdings.rest(parts)
        left = set(parts)
        while left:
            idle = await self.holdings.wait_idle(left, 20)
            assert idle, "what runs does not end"
            await self.holdings.close(idle)
            await self.store.give(sorted(idle), to.member.id)
            await to.store.census()
            await to.holdings.gain(idle)
            left -= idle

    async def replay_some(self) -> None:
        for row in await self.journal.reads.dead_letters():
            if part_of("f", row.message.key) in self.table.accepting:
                self.queue.reopening()
                self.queue.reopened(is_so=bool(await self.journal.submit(Replay(row.seq))))

    async def _run(self, lease: Lease) -> Settle:
        world, key, id = self.world, lease.message.key, lease.message.id
        if key in world.busy:
            world.faults.append(f"two messages of {key} at once")
        if part_of("f", key) not in self.table.held:
            world.faults.append(f"{id} of {key} ran with a member that does not have it")
        world.busy.add(key)
        for _ in range(world.chance.randrange(5)):
            await asyncio.sleep(0)
        world.busy.discard(key)
        roll = world.chance.random()
        if roll < 0.1:
            return Settle(
                seq=lease.seq, state=State.WAITING, due=dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=5)
            )
        if roll < 0.15 and id not in world.died:
            world.died.add(id)
            return Settle(seq=lease.seq, state=State.DEAD, dead=DeadLetter(step="", code="flow.x", reason="x"))
        world.ran[key].append(int(id[1:]))
        return Settle(seq=lease.seq, state=State.DONE)


@pytest.mark.parametrize("window", [4, 512])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_messages_run_once_and_in_order_while_their_parts_move(tmp_path: Path, window: int, seed: int) -> None:
    async def work() -> None:
        world = World(seed)
        hub = Hub(SqliteStore(tmp_path / "journal.db"))
        await hub.open()
        rooms = []
        for number in range(3):
            own, other = socket.socketpair()
            await hub.attach(other)
            rooms.append(Room(world, number, window, own))
            await rooms[-1].open()
        await rooms[0].store.take(range(PARTS))
        await rooms[0].holdings.gain(range(PARTS))
        moving = asyncio.create_task(move(world, rooms))
        for start in range(0, 600, 20):
            await asyncio.gather(*(accept(rooms, n) for n in range(start, start + 20)))
        await moving
        async with asyncio.timeout(30):
            while sum(map(len, world.ran.values())) < 600:
                for room in rooms:
                    await room.replay_some()
                await asyncio.sleep(0.005)
        assert world.faults == []
        for key, numbers in world.ran.items():
            assert len(numbers) == len(set(numbers)), f"{key}: a message ran twice"
            on_time = [n for n in numbers if f"m{n}" not in world.died]
            assert on_time == sorted(on_time), f"{key}: out of order"
        async with asyncio.timeout(5):
            while any(room.queue.open_count for room in rooms):
                await asyncio.sleep(0.005)
        for room in rooms:
            await room.close()
        await hub.close()

    asyncio.run(work())


async def move(world: World, rooms: list[Room]) -> None:
    """Random parts to random members, one hand-over after another."""
    for _ in range(25):
        giver, taker = world.chance.sample(rooms, 2)
        parts = set(world.chance.sample(range(PARTS), world.chance.randrange(1, 40))) & giver.table.held
        if parts:
            await giver.give(parts, taker)
        await giver.replay_some()
        await asyncio.sleep(0.003)


async def accept(rooms: list[Room], number: int) -> None:
    """With whoever accepts its part just now, in order of numbers for each key: numbers of one batch have different keys."""
    one = message(number, key=f"k{number % KEYS}")
    part = part_of("f", one.key)
    async with asyncio.timeout(20):
        while True:
            room = next((room for room in rooms if part in room.table.accepting), None)
            if room is not None:
                await room.journal.submit(Accept((one,)))
                return
            await asyncio.sleep(0.001)
