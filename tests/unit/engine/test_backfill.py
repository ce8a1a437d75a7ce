"""Live messages go before backfill, which still comes through, and leaves them a reserve of what a system takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from accord.journal.operations import State
from accord.journal.search import MessageQuery
from accord.record import Done, Message
from accord.record.message import BACKFILL_HEADER
from accord.sdk.budget import Budget
from unit.engine.engine_room import FunctionFlow, Room, message
from unit.engine.test_queue import FAST, one_write


def _backfill(number: int) -> Message:
    return msgspec.structs.replace(message(number), headers={BACKFILL_HEADER: "1"})


def test_live_messages_overtake_a_backfill_of_their_own_flow(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done())
        await room.open(FunctionFlow("f", one_write, FAST))
        room.gate.limiter.set_max(1)
        assert room.gate.enter_now(), "the system is busy"
        await room.accept(*(_backfill(n) for n in range(200)))
        await room.accept(*(message(n) for n in range(1000, 1020)))
        async with asyncio.timeout(10):
            while room.gate.view().waiting < 220:
                await asyncio.sleep(0)
        room.gate.leave(Done())
        await room.wait_open(0)
        written = [int(item.record["id"].rpartition("m")[2]) for item in room.connection.written]
        live = [index for index, number in enumerate(written) if number >= 1000]
        assert len(written) == 220
        assert live[-1] < 30, "twenty live ones, and hardly any of two hundred others, went first"
        assert any(number < 1000 for number in written[: live[-1]]), "backfill has its turn meanwhile"
        await room.close()

    asyncio.run(run())


def test_backfill_waits_on_disk_for_what_is_kept_for_live_messages(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done())
        await room.open(FunctionFlow("f", one_write, FAST))
        room.gate.told(Budget(name="day", left=400, limit=5_000, resets_in_s=3_600))
        await room.accept(_backfill(1), message(2))
        await room.wait_open(1)
        assert len(room.connection.written) == 1
        async with asyncio.timeout(10):
            while not (rows := await room.journal.reads.messages(MessageQuery(flow="f", state="waiting"))):
                await asyncio.sleep(0.01)
        assert rows[0].state == State.WAITING
        assert rows[0].attempts == 0, "it spends no attempt"
        assert "kept for live messages" in rows[0].reason
        await room.close()

    asyncio.run(run())


def test_a_trickle_is_in_one_of_the_next_groups_of_a_flood(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done(), items_max=10)
        await room.open(FunctionFlow("f", one_write, FAST), FunctionFlow("g", one_write, FAST))
        assert await _fill(room), "the system is busy"
        await room.accept(*(message(n) for n in range(300)))
        await room.accept(*(message(f"g{n}", flow="g") for n in range(3)))
        async with asyncio.timeout(10):
            while not any(len(group._waiting) == 293 for group in room.delivery._groups.values()):
                await asyncio.sleep(0)  # ten of them are the group that waits at the gate
        for _ in range(64):
            room.gate.leave(Done())
        await room.wait_open(0)
        flows = [item.record["id"][1] == "g" for item in room.connection.written]
        assert max(index for index, is_trickle in enumerate(flows) if is_trickle) < 30
        await room.close()

    asyncio.run(run())


async def _fill(room: Room) -> bool:
    return all(room.gate.enter_now() for _ in range(64))
