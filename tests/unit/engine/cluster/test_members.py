"""Several engines on one journal: each key on one of them, whoever is asked."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from accord.engine.engine import Engine
from accord.engine.versions import HELD_BY_VERSION
from accord.journal.operations import Accept, Settle, State
from accord.journal.search import MessageQuery
from accord.record import Message
from unit.engine.cluster.members_room import Members, in_order, members


async def send(room: Members, numbers: range, threads: int = 7) -> list[int]:
    """Each thread's records one after another, each to the next engine that runs; the statuses."""

    async def one(thread: int) -> list[int]:
        found = []
        for number in numbers:
            if number % threads == thread:
                running = [engine for engine in room.engines if engine._is_ready]  # as a load balancer does
                record = {"id": f"e{number}", "number": number, "thread": f"t{thread}"}
                found.append((await room.hook(running[number % len(running)], record))[0])
        return found

    return [status for one in await asyncio.gather(*map(one, range(threads))) for status in one]


def test_records_of_one_key_run_in_order_whichever_engine_hears_of_them(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            assert set(await send(room, range(200))) == {200}
            rows = await room.settled(200)
            assert len(rows) == 200
            assert in_order(rows)
            done = [engine.observer.counters.get("intake.accepted", 0) for engine in room.engines]
            assert sum(done) == 200 and min(done) > 50
            repeated = await room.hook(room.engines[0], {"id": "e7", "number": 7, "thread": "t0"})
            again = await room.hook(room.engines[1], {"id": "e7", "number": 7, "thread": "t0"})
            assert [repeated[1], again[1]] == [{"accepted": 0, "duplicates": 1}] * 2

    asyncio.run(work())


def test_a_caller_hears_what_the_flow_computes_wherever_it_runs(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            for number in range(12):
                record = {"id": f"a{number}", "number": number, "thread": f"t{number}"}
                found = await asyncio.gather(*(room.hook(engine, record, "asks") for engine in room.engines[:1]))
                assert found == [(200, {"answer": number})]

    asyncio.run(work())


def test_members_come_and_go_under_load_and_no_webhook_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            load = asyncio.ensure_future(send(room, range(600), threads=12))
            third = await room.add()
            await room.balanced_within_one(*room.engines)
            for engine in room.engines[:2]:
                await engine.stop()
                assert room.parts(engine) == 0, "it left with parts of its own"
            await room.add()
            await room.balanced(third, room.engines[3])
            assert set(await load) == {200}
            rows = await room.settled(600)
            assert len(rows) == 600
            assert in_order(rows)

    asyncio.run(work())


def test_who_is_fenced_stops_at_once_and_others_go_on_with_its_messages(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            first, second = room.engines
            for number in range(40):
                await room.hook(second, {"id": f"e{number}", "number": number, "thread": f"t{number % 5}"})
            assert first._cluster is not None
            room.hub.roll.drop(first._cluster.table.me)
            async with asyncio.timeout(5):
                await first.failed.wait()
            assert first.failure is not None
            assert first.failure.code == "journal.fenced"
            await first.stop()
            for number in range(40, 80):
                record = {"id": f"e{number}", "number": number, "thread": f"t{number % 5}"}
                assert (await room.hook(second, record))[0] == 200
            rows = await room.settled(80)
            assert room.parts(second) == 64
            assert len(rows) == 80
            assert in_order(rows)
            assert "member.fenced" in room.log.getvalue()

    asyncio.run(work())


def test_what_is_asked_of_one_member_is_answered_for_all(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            for number in range(20):
                await room.hook(room.engines[0], {"id": f"e{number}", "number": number, "thread": f"t{number}"})
            await room.settled(20)
            statuses = [(await room.api(engine, "status"))[1] for engine in room.engines]
            for status in statuses:
                assert [(one["name"], one["parts"], one["answers"]) for one in status["members"]] == [
                    ("m1", 32, True),
                    ("m2", 32, True),
                ]
                books = next(one for one in status["systems"] if one["name"] == "books")
                assert books["concurrency_limit"] <= room.engines[0].project.systems["books"].rate_limit.concurrent
                tickets = next(one for one in status["flows"] if one["name"] == "tickets")
                assert tickets["done"] == 20
                assert status["counters"]["intake.accepted"] == 20

    asyncio.run(work())


def test_dead_letters_are_replayed_by_the_owner_of_their_part(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 2) as room:
            first, second = room.engines
            room.change("ALTER TABLE log RENAME COLUMN number TO amount")
            for number in range(12):
                await room.hook(first, {"id": f"e{number}", "number": number, "thread": f"t{number}"})
            await room.quiet()
            room.change("ALTER TABLE log RENAME COLUMN amount TO number")
            letters = (await room.api(first, "dead-letters"))[1]
            assert len(letters) == 12
            for turn, letter in enumerate(letters):
                status, answer = await room.api(room.engines[turn % 2], f"dead-letters/{letter['seq']}/replay", "POST")
                assert status == 200, answer
            assert len(await room.settled(12)) == 12
            status, answer = await room.api(second, f"dead-letters/{letters[0]['seq']}/replay", "POST")
            assert (status, answer["code"]) == (409, "engine.command")

    asyncio.run(work())


def test_what_waits_on_disk_goes_on_with_who_takes_its_part(tmp_path: Path) -> None:
    """Ready, due, held for a version of its flow: as others have left it."""

    async def work() -> None:
        async with members(tmp_path, 0) as room:
            store = room.hub.store
            messages = [ticket(number) for number in range(30)]
            (accepted,) = store.commit([Accept(tuple(messages))])
            parked = [
                Settle(seq=one.seq, state=State.HELD, held_by=HELD_BY_VERSION)
                if number % 3 == 0
                else Settle(seq=one.seq, state=State.WAITING, due=messages[0].time)
                for number, one in enumerate(accepted.messages)
                if number % 3 or number % 2
            ]
            store.commit(parked)
            await room.add()
            await room.add()
            await room.balanced(*room.engines)
            assert sorted(number for _, number in await room.settled(30)) == list(range(30))

    asyncio.run(work())


def ticket(number: int) -> Message:
    record = {"id": f"e{number}", "number": number, "thread": f"t{number}"}
    return Message(
        id=f"m{number}",
        flow="tickets",
        key=f"t{number}",
        source="desk.tickets",
        body=json.dumps(record).encode(),
        time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )


def test_a_flow_that_only_newer_members_have_runs_there_once_its_parts_are_theirs(tmp_path: Path) -> None:
    async def work() -> None:
        async with members(tmp_path, 1) as room:
            newer = room.engines[0]
            (tmp_path / "flows/tickets.yaml").unlink()
            older = await room.add()
            await room.balanced(newer, older)
            assert set(await send_to(newer, room, range(40))) == {200}
            await room.settled(1)
            assert len(room.rows()) < 40, "the older member ran a flow it does not have"
            await older.stop()
            assert in_order(await room.settled(40))

    asyncio.run(work())


async def send_to(engine: Engine, room: Members, numbers: range) -> list[int]:
    return [
        (await room.hook(engine, {"id": f"e{number}", "number": number, "thread": f"t{number % 9}"}))[0]
        for number in numbers
    ]


def test_polls_and_schedules_run_on_one_member_each(tmp_path: Path) -> None:
    files = {
        "systems/stock.yaml": """
system: stock
connector: sql
settings: {url: "sqlite:///stock.db"}
entities:
  items:
    key: id
    cursor: version
    fields: {id: integer, version: integer}
""",
        "flows/items.yaml": """
flow: items
on: {poll: stock.items, every: 100ms}
key: id
steps:
  - write: books.log
    mode: create
    with: {id: message.id, thread: '"item " + text(id)', number: version}
""",
        "flows/ticks.yaml": """
flow: ticks
on: {schedule: {every: 300ms}}
steps:
  - write: books.log
    mode: create
    with: {id: message.id, thread: '"tick"', number: 1}
""",
    }

    async def work() -> None:
        with closing(sqlite3.connect(tmp_path / "stock.db")) as db:
            db.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, version INTEGER)")
            db.executemany("INSERT INTO items VALUES (?, ?)", [(n, n) for n in range(1, 301)])
            db.commit()
        async with members(tmp_path, 2, files) as room:
            first, second = room.engines
            await until(lambda: len(room.items()) == 300)
            readers = [engine for engine in room.engines if "read:items:stock.items" in running(engine)]
            assert len(readers) == 1, "one member reads"
            assert sum("schedule:ticks:0.3" in running(engine) for engine in room.engines) == 1
            await readers[0].stop()
            other = second if readers[0] is first else first
            with closing(sqlite3.connect(tmp_path / "stock.db")) as db:
                db.executemany("INSERT INTO items VALUES (?, ?)", [(n, n) for n in range(301, 401)])
                db.commit()
            await until(lambda: len(room.items()) == 400)
            assert "read:items:stock.items" in running(other)
            ticks = len(room.rows()) - 400
            await until(lambda: len(room.rows()) - 400 > ticks)
            assert len(set(room.items())) == 400, "a record came twice"
            starts = [row.message.body for row in room.hub.store.messages(MessageQuery(flow="ticks", limit=1000))]
            assert len(starts) == len(set(starts)), "a time was started twice"

    asyncio.run(work())


def running(engine: Engine) -> list[str]:
    assert engine._cluster is not None
    return engine._cluster.runners.names


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)
