"""Queues over a journal that is awaited: what is read while the world goes on runs once and in order, also when connections break."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.servers import PostgresServer

from accord.errors import JournalError
from accord.flow.commands import Command, ErrorPolicy, Write
from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_verify import verify
from accord.record import Done, Message, Reconnect, Reject, Retry
from accord.sdk.connector import WriteMode
from unit.engine.engine_room import FunctionFlow, Room, message

pytestmark = pytest.mark.server

MESSAGES = 600
KEYS = 23
POLICY = ErrorPolicy(attempts=50, first_s=0.001, longest_s=0.005)


def one_write(msg: Message) -> Generator[Command, Any, Any]:
    done = yield Write(path="0.write", entity="target.things", mode=WriteMode.UPSERT, record={"id": msg.id})
    return done.result


async def accept(room: Room, *messages: Message) -> None:
    """Repeats what was refused, as a source does."""
    async with asyncio.timeout(20):
        while True:
            try:
                await room.accept(*messages)
                return
            except JournalError as error:
                assert error.code == "journal.unavailable"
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("breaks", [0, 6])
@pytest.mark.parametrize("window", [16, 512])
def test_every_message_runs_once_and_in_order(
    postgres: PostgresServer, tmp_path: Path, window: int, breaks: int
) -> None:
    chance = random.Random(window + breaks)
    schema = f"queue_{uuid.uuid4().hex[:12]}"

    def script(item: Any) -> Any:
        roll = chance.random()
        if roll < 0.1:
            return Retry("busy", in_doubt=True)
        return Reconnect("gone") if roll < 0.15 else Done()

    async def run() -> None:
        room = Room(tmp_path, script, window=window, store=PostgresqlStore(postgres.url, schema))
        await room.open(FunctionFlow("f", one_write, POLICY))
        for start in range(0, MESSAGES, 20):
            await accept(room, *(message(n, key=f"k{n % KEYS}", event_id=f"e{n}") for n in range(start, start + 20)))
            if breaks and start % (MESSAGES // breaks) == 0:
                await asyncio.to_thread(end_backends, postgres)
        await room.wait_open(0, 60)
        order: dict[int, list[int]] = {}
        for item in room.connection.written:
            number = int(item.record["id"][1:])
            order.setdefault(number % KEYS, []).append(number)
        assert sorted(n for numbers in order.values() for n in numbers) == list(range(MESSAGES))
        assert all(numbers == sorted(numbers) for numbers in order.values())
        await room.close()

    asyncio.run(run())
    assert verify(postgres.url, schema) == []


def test_replayed_messages_run_once_more_among_others_of_their_key(postgres: PostgresServer, tmp_path: Path) -> None:
    refused: set[str] = set()
    chance = random.Random(3)

    def script(item: Any) -> Any:
        id = item.record["id"]
        if int(id[1:]) % 5 == 0 and id not in refused:
            refused.add(id)
            return Reject("not yet")
        return Retry("busy") if chance.random() < 0.1 else Done()

    async def run() -> None:
        store = PostgresqlStore(postgres.url, f"queue_{uuid.uuid4().hex[:12]}")
        room = Room(tmp_path, script, window=16, store=store)
        await room.open(FunctionFlow("f", one_write, POLICY))
        for start in range(0, 300, 20):
            await room.accept(*(message(n, key=f"k{n % 7}") for n in range(start, start + 20)))
            for row in await room.journal.reads.dead_letters():
                await room.replay(row.seq)
        async with asyncio.timeout(60):
            while (await room.journal.reads.counts()).get(("f", "done"), 0) < 300:
                for row in await room.journal.reads.dead_letters():
                    await room.replay(row.seq)
                await asyncio.sleep(0.01)
        assert Counter(item.record["id"] for item in room.connection.written) == {f"m{n}": 1 for n in range(300)}
        await room.close()

    asyncio.run(run())


def end_backends(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'accord'")
