"""Queues, attempts and releases over a real journal: order per key, nothing lost, bounded memory, sick systems."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from accord.flow.commands import All, Call, Command, ErrorPolicy, Wait, Write, effect_id
from accord.record import Done, Message, Reconnect, Reject, Retry
from accord.sdk.connector import WriteMode
from unit.engine.engine_room import FunctionFlow, Room, message

FAST = ErrorPolicy(attempts=4, first_s=0.01, longest_s=0.02)


def write(path: str, id: str) -> Write:
    return Write(path=path, entity="target.things", mode=WriteMode.UPSERT, record={"id": id})


def one_write(msg: Message) -> Generator[Command, Any, Any]:
    done = yield write("0.write", msg.id)
    return done.result


def test_every_message_is_written_once_and_in_order_per_key(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done(), window=100)
        await room.open(FunctionFlow("f", one_write, FAST))
        messages = [message(n, key=f"k{n % 7}") for n in range(1000)]
        for start in range(0, 1000, 50):
            await room.accept(*messages[start : start + 50])
        await room.wait_open(0)
        order: dict[int, list[int]] = {}
        for item in room.connection.written:
            number = int(item.record["id"][1:])
            order.setdefault(number % 7, []).append(number)
        assert sum(len(numbers) for numbers in order.values()) == 1000
        assert all(numbers == sorted(numbers) for numbers in order.values())
        await room.close()

    asyncio.run(run())


def test_order_and_completeness_hold_when_attempts_fail_at_random(tmp_path: Path) -> None:
    chance = random.Random(5)

    def script(item: Any) -> Any:
        roll = chance.random()
        if roll < 0.15:
            return Retry("busy", in_doubt=True)
        if roll < 0.25:
            return Reconnect("gone")
        return Done()

    async def run() -> None:
        room = Room(tmp_path, script, window=64)
        await room.open(FunctionFlow("f", one_write, ErrorPolicy(attempts=50, first_s=0.001, longest_s=0.005)))
        for start in range(0, 400, 40):
            await room.accept(*(message(n, key=f"k{n % 23}") for n in range(start, start + 40)))
        await room.wait_open(0, 60)
        order: dict[int, list[int]] = {}
        for item in room.connection.written:
            number = int(item.record["id"][1:])
            order.setdefault(number % 23, []).append(number)
        assert sorted(n for numbers in order.values() for n in numbers) == list(range(400))
        assert all(numbers == sorted(numbers) for numbers in order.values())
        await room.close()

    asyncio.run(run())


def test_a_sick_system_spends_no_attempts_and_everything_catches_up(tmp_path: Path) -> None:
    is_down = True

    async def run() -> None:
        nonlocal is_down
        room = Room(tmp_path, lambda item: Reconnect("refused") if is_down else Done())
        await room.open(FunctionFlow("f", one_write, ErrorPolicy(attempts=1)))
        await room.accept(*(message(n) for n in range(300)))
        async with asyncio.timeout(10):
            while not room.journal.read.held():
                await asyncio.sleep(0.01)
        tried = len(room.connection.attempts)
        assert tried < 300  # the breaker opened: the rest was held without trying
        is_down = False
        await room.wait_open(0)
        assert len(room.connection.written) == 300
        assert room.journal.read.counts().get(("f", "dead"), 0) == 0
        await room.close()

    asyncio.run(run())


def test_attempts_exhausted_become_a_dead_letter_and_replay_resumes_where_it_stopped(tmp_path: Path) -> None:
    is_broken = True

    def two(msg: Message) -> Generator[Command, Any, Any]:
        yield write("0.write", msg.id + "-a")
        yield write("1.write", msg.id + "-b")

    def script(item: Any) -> Any:
        return Retry("broken") if is_broken and item.record["id"].endswith("-b") else Done()

    async def run() -> None:
        nonlocal is_broken
        room = Room(tmp_path, script)
        await room.open(FunctionFlow("f", two, FAST))
        (seq,) = await room.accept(message(1))
        await room.wait_open(0)
        (letter,) = room.journal.read.dead_letters()
        assert (letter.dead.step, letter.dead.code) == ("1.write", "flow.attempts-exhausted")
        assert room.connection.attempts == ["m1-a"] + ["m1-b"] * FAST.attempts
        is_broken = False
        assert await room.replay(seq)
        await room.wait_open(0)
        assert [item.record["id"] for item in room.connection.written] == ["m1-a", "m1-b"]
        await room.close()

    asyncio.run(run())


def test_a_rejected_record_is_dead_and_does_not_block_its_key(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Reject("no", "id") if item.record["id"] == "m1" else Done())
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(message(1, key="k"), message(2, key="k"))
        await room.wait_open(0)
        assert [item.record["id"] for item in room.connection.written] == ["m2"]
        (letter,) = room.journal.read.dead_letters()
        assert (letter.message.id, letter.dead.path, letter.dead.reason) == ("m1", "id", "no")
        await room.close()

    asyncio.run(run())


def test_in_doubt_is_told_after_a_lost_answer_and_the_effect_id_stays(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    def script(item: Any) -> Any:
        seen.append((item.effect_id, item.in_doubt))
        return Retry("answer lost", in_doubt=True) if len(seen) == 1 else Done()

    async def run() -> None:
        room = Room(tmp_path, script)
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(message(1))
        await room.wait_open(0)
        assert seen == [(effect_id("m1", "0.write"), False), (effect_id("m1", "0.write"), True)]
        await room.close()

    asyncio.run(run())


def test_a_restart_takes_up_what_was_open_and_calls_it_in_doubt(tmp_path: Path) -> None:
    async def first() -> None:
        room = Room(tmp_path, lambda item: Retry("not yet"))
        await room.open(FunctionFlow("f", one_write, ErrorPolicy(attempts=9, first_s=600, longest_s=600)))
        await room.accept(*(message(n) for n in range(20)))
        async with asyncio.timeout(5):
            while len(room.connection.attempts) < 20:
                await asyncio.sleep(0.005)
        await room.close()

    async def second() -> None:
        room = Room(tmp_path, lambda item: Done())
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(message(100))
        async with asyncio.timeout(5):
            while len(room.connection.written) < 1:
                await asyncio.sleep(0.005)
        assert room.queues["f"].open_count <= 21
        await room.close()

    asyncio.run(first())
    asyncio.run(second())


def test_a_wait_parks_the_message_and_its_key_until_due(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done())
        import datetime as dt

        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.4)

        def waits(msg: Message) -> Generator[Command, Any, Any]:
            if msg.id == "m1":
                yield Wait(path="0.delay", until=until)
            yield write("1.write", msg.id)

        await room.open(FunctionFlow("f", waits, FAST))
        await room.accept(message(1, key="a"), message(2, key="a"), message(3, key="b"))
        await room.wait_open(2)
        assert [item.record["id"] for item in room.connection.written] == ["m3"]
        await room.wait_open(0)
        assert [item.record["id"] for item in room.connection.written] == ["m3", "m1", "m2"]
        assert dt.datetime.now(dt.UTC) >= until
        await room.close()

    asyncio.run(run())


def test_a_group_keeps_what_succeeded_when_one_of_it_fails(tmp_path: Path) -> None:
    failures = {"m1-3": 2}

    def group(msg: Message) -> Generator[Command, Any, Any]:
        answers = yield All(commands=tuple(write(f"0[{n}].write", f"{msg.id}-{n}") for n in range(6)), parallel=3)
        assert len(answers) == 6

    def script(item: Any) -> Any:
        left = failures.get(item.record["id"], 0)
        if left:
            failures[item.record["id"]] = left - 1
            return Retry("again")
        return Done()

    async def run() -> None:
        room = Room(tmp_path, script)
        await room.open(FunctionFlow("f", group, FAST))
        await room.accept(message(1))
        await room.wait_open(0)
        assert sorted(item.record["id"] for item in room.connection.written) == [f"m1-{n}" for n in range(6)]
        assert room.journal.read.counts()[("f", "done")] == 1
        await room.close()

    asyncio.run(run())


def test_undo_runs_when_a_flow_is_given_up(tmp_path: Path) -> None:
    def steps(msg: Message) -> Generator[Command, Any, Any]:
        yield write("0.write", "first")
        yield write("1.write", "second")

    def undo(msg: Message) -> Generator[Command, Any, Any]:
        yield write("undo/0.write", "undo-first")

    async def run() -> None:
        room = Room(tmp_path, lambda item: Reject("refused") if item.record["id"] == "second" else Done())
        flow = FunctionFlow("f", steps, FAST)
        flow.undo_steps = undo
        await room.open(flow)
        await room.accept(message(1))
        await room.wait_open(0)
        assert [item.record["id"] for item in room.connection.written] == ["first", "undo-first"]
        (letter,) = room.journal.read.dead_letters()
        assert letter.dead.reason == "refused"
        await room.close()

    asyncio.run(run())


def test_concurrent_writes_to_a_system_that_takes_many_leave_in_groups(tmp_path: Path) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done(), items_max=50)
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(*(message(n) for n in range(200)))
        await room.wait_open(0)
        assert sum(room.connection.groups) == 200
        assert max(room.connection.groups) > 10
        await room.close()

    asyncio.run(run())


def test_a_defect_in_a_step_becomes_a_dead_letter_and_is_reported(tmp_path: Path) -> None:
    def broken(msg: Message) -> Generator[Command, Any, Any]:
        yield Call(path="0.call", system="target", operation="x", arguments={})
        raise KeyError("oops")

    async def run() -> None:
        room = Room(tmp_path, lambda item: Done())
        await room.open(FunctionFlow("f", broken, FAST))
        await room.accept(message(1))
        await room.wait_open(0)
        (letter,) = room.journal.read.dead_letters()
        assert letter.dead.code == "flow.defect"
        assert "flow.defect" in room.log.getvalue()
        await room.close()

    asyncio.run(run())


@pytest.mark.parametrize("window", [1, 3, 64])
def test_a_small_window_only_makes_it_slower(tmp_path: Path, window: int) -> None:
    async def run() -> None:
        room = Room(tmp_path, lambda item: Done(), window=window)
        await room.open(FunctionFlow("f", one_write, FAST))
        await room.accept(*(message(n, key=f"k{n % 5}") for n in range(120)))
        await room.wait_open(0)
        assert len(room.connection.written) == 120
        await room.close()

    asyncio.run(run())
