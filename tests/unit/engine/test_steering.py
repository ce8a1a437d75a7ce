"""Operators' words at random among messages that run, wait and fail: order per key holds and nothing is lost; waiting costs no memory."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from accord.engine.steering import SteeringError
from accord.flow.commands import Command, ErrorPolicy, Wait
from accord.journal.operations import State
from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite_verify import verify
from accord.record import Done, Message, Reconnect, Retry
from unit.engine.engine_room import FunctionFlow, Room, message
from unit.engine.test_queue import FAST, write

PATIENT = ErrorPolicy(attempts=1000, first_s=0.001, longest_s=0.005)
DAYS = dt.timedelta(days=3)


class MovedClock:
    """The machine's clock, ``ahead`` of itself."""

    ahead = dt.timedelta(0)
    monotonic = staticmethod(time.monotonic)

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def two_writes(msg: Message) -> Generator[Command, Any, Any]:
    yield write("0.write", f"{msg.id}-a")
    yield write("1.write", f"{msg.id}-b")


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("seed", range(6))
def test_words_at_random_break_neither_order_nor_completeness(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def script(item: Any) -> Any:
        roll = chance.random()
        return Retry("busy", in_doubt=True) if roll < 0.1 else Reconnect("gone") if roll < 0.15 else Done()

    async def words(room: Room, seqs: list[int]) -> set[int]:
        cancelled = set()
        for _ in range(120):
            seq, word = chance.choice(seqs), chance.choice(["pause", "pause", "resume", "cancel", "flow"])
            await asyncio.sleep(chance.random() * 0.01)
            if word == "flow":
                queue = room.queues["f"]
                queue.resume() if queue.is_paused else queue.pause()
                continue
            try:
                steered = await getattr(room.steering, word)(seq)
            except SteeringError:
                continue  # it had ended, or was not paused
            if steered.state == "cancelled":
                cancelled.add(seq)
        return cancelled

    async def run() -> None:
        room = Room(tmp_path, script, window=16)
        await room.open(FunctionFlow("f", two_writes, PATIENT))
        seqs = await room.accept(*(message(n, key=f"k{n % 5}") for n in range(100)))
        cancelled = await words(room, seqs)
        room.queues["f"].resume()
        while paused := room.journal.read.messages(MessageQuery(state="held")):
            for row in paused:
                if row.held_by == "~operator":
                    await room.steering.resume(row.seq)
            await asyncio.sleep(0.01)
        await room.wait_open(0)
        rows = {row.seq: row for row in room.journal.read.messages(MessageQuery(limit=1000))}
        assert cancelled
        assert {row.state for row in rows.values()} == {State.DONE}
        assert {seq for seq, row in rows.items() if row.reason == "cancelled" or "in doubt" in row.reason} == cancelled
        written = [item.record["id"] for item in room.connection.written]
        for seq in seqs:
            mine = [id for id in written if id.startswith(f"{rows[seq].message.id}-")]
            assert mine == sorted(set(mine)), "each effect once, in the order of the steps"
            assert seq in cancelled or len(mine) == 2
        for key in range(5):
            order = [int(id[1:-2]) for id in written if int(id[1:-2]) % 5 == key]
            assert order == sorted(order)
        await room.close()
        assert verify(tmp_path / "journal.db") == []

    asyncio.run(run())


def test_thousands_that_wait_for_days_are_not_in_memory_and_go_on_after_a_restart(tmp_path: Path) -> None:
    clock = MovedClock()
    began = clock.now()

    def waits(msg: Message) -> Generator[Command, Any, Any]:
        yield write("0.write", f"{msg.id}-a")
        yield Wait(path="1.delay", until=began + DAYS)
        yield write("2.write", f"{msg.id}-b")

    async def first() -> None:
        room = Room(tmp_path, lambda item: Done(), window=32, clock=clock)
        await room.open(FunctionFlow("f", waits, FAST))
        for start in range(0, 3000, 100):
            await room.accept(*(message(n, key=f"k{n % 1500}") for n in range(start, start + 100)))
        await until(lambda: room.journal.read.counts() == {("f", "waiting"): 1500, ("f", "ready"): 1500})
        await until(lambda: room.queues["f"].running_count == 0)
        assert room.queues["f"].room == 32, "nothing that waits, or waits behind it, is in memory"
        await room.close()

    async def second() -> None:
        room = Room(tmp_path, lambda item: Done(), window=32, clock=clock)
        await room.open(FunctionFlow("f", waits, FAST))
        await asyncio.sleep(0.2)
        assert room.connection.written == [], "a restart wakes nobody"
        assert room.queues["f"].room == 32
        clock.ahead = DAYS
        await room.wait_open(0, 60)
        written = [item.record["id"] for item in room.connection.written]
        assert len(written) == len(set(written)) == 4500, "what was done before the wait is not repeated"
        assert [n for n in range(1500) if written.index(f"m{n}-b") > written.index(f"m{n + 1500}-a")] == []
        await room.close()

    asyncio.run(first())
    asyncio.run(second())


def test_a_paused_flow_keeps_its_backlog_on_disk(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done(), window=32)
        await room.open(FunctionFlow("f", two_writes, FAST))
        queue = room.queues["f"]
        queue.pause()
        await room.accept(*(message(n) for n in range(1000)))
        assert (queue.in_memory_count, queue.open_count, room.connection.attempts) == (0, 1000, [])
        queue.resume()
        await room.wait_open(0)
        assert len(room.connection.written) == 2000
        await room.close()

    asyncio.run(run())
