"""An outage does not become a storm: few calls while it lasts, everything delivered after it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from accord.record import Done, Outcome, Reconnect, Retry
from accord.sdk.connector import WriteItem
from unit.engine.engine_room import FunctionFlow, Room, message
from unit.engine.test_queue import FAST, one_write

MESSAGES = 3_000
OUTAGE_S = 3.0


@pytest.mark.parametrize(
    ("failure", "calls_max"),
    [
        (Reconnect("connection refused"), 40),
        (Reconnect("503", after_s=1.0), 40),
        (Retry("429", after_s=0.5, throttled=True), 150),
        (Retry("no answer in time", in_doubt=True, timed_out=True), 120),
    ],
    ids=["refused", "503", "429", "timed out"],
)
def test_three_seconds_of_outage_make_few_calls(failure: Outcome, calls_max: int, tmp_path: Path) -> None:
    async def run() -> None:
        ends = asyncio.get_running_loop().time() + OUTAGE_S
        during = 0

        def script(item: WriteItem) -> Outcome:
            nonlocal during
            if asyncio.get_running_loop().time() < ends:
                during += 1
                return failure
            return Done()

        room = Room(tmp_path, script, is_adaptive=True)
        await room.open(FunctionFlow("f", one_write, FAST))
        for first in range(0, MESSAGES, 250):
            await room.accept(*(message(n) for n in range(first, first + 250)))
        await room.wait_open(0, deadline_s=60)
        assert len(room.connection.written) >= MESSAGES
        assert 3 <= during <= calls_max
        await room.close()

    asyncio.run(run())


def test_after_an_outage_the_flows_are_released_side_by_side(tmp_path: Path) -> None:
    async def run() -> None:
        is_back = False
        room = Room(tmp_path, lambda item: Done() if is_back else Reconnect("gone"), is_adaptive=True)
        await room.open(FunctionFlow("f", one_write, FAST), FunctionFlow("g", one_write, FAST))
        for first in range(0, 2_000, 250):
            await room.accept(*(message(n) for n in range(first, first + 250)))
        await room.accept(*(message(f"g{n}", flow="g") for n in range(10)))
        async with asyncio.timeout(20):
            while (await room.journal.reads.held()).get("target", 0) < 500:
                await asyncio.sleep(0.02)
        is_back = True
        await room.wait_open(0, deadline_s=60)
        is_small = [item.record["id"].startswith("mg") for item in room.connection.written]
        assert len(is_small) == 2_010
        assert max(index for index, is_one in enumerate(is_small) if is_one) < 1_000, "ten do not wait for two thousand"
        await room.close()

    asyncio.run(run())
