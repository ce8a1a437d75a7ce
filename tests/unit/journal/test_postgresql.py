"""The PostgreSQL store beyond the suite: owners, lost answers, outages, layouts; and the group commit around it."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from tests.servers import PostgresServer

from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Accept, Prune, Settle, State
from accord.journal.search import MessageQuery
from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_verify import verify
from accord.testing.journal_suite import START, letter, message

pytestmark = pytest.mark.server


@pytest.fixture
def schema() -> str:
    return f"store_{uuid.uuid4().hex[:12]}"


async def opened(server: PostgresServer, schema: str, **settings: Any) -> PostgresqlStore:
    store = PostgresqlStore(server.url, schema, **settings)
    await store.open()
    return store


def change(server: PostgresServer, schema: str, sql: str) -> list[Any]:
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("SELECT set_config('search_path', %s, false)", (schema,))
        cursor = db.execute(sql)  # type: ignore[call-overload]
        return list(cursor.fetchall()) if cursor.description else []


def end_backends(server: PostgresServer) -> None:
    change(server, "public", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'accord'")


async def until(try_it: Callable[[], Awaitable[Any]]) -> Any:
    """Again while the journal is unavailable."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await try_it()
            except JournalError as error:
                assert error.code == "journal.unavailable"
                await asyncio.sleep(0.02)


async def code_of(work: Awaitable[Any]) -> str:
    with pytest.raises(JournalError) as caught:
        await work
    return caught.value.code


def test_a_second_owner_is_refused_until_the_first_ends(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        first = await opened(postgres, schema)
        with pytest.raises(JournalError, match="in use by process") as caught:
            await opened(postgres, schema, lock_wait_s=0.0)
        assert caught.value.code == "journal.locked"
        await first.close()
        second = await opened(postgres, schema, lock_wait_s=0.0)
        await second.close()

    asyncio.run(run())


def test_who_lost_the_journal_to_another_commits_nothing_any_more(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        first = await opened(postgres, schema)
        await first.commit([Accept((message(1),))])
        change(postgres, schema, "DELETE FROM members")  # as an opening by another does
        assert await code_of(first.commit([Accept((message(2),))])) == "journal.fenced"
        assert await code_of(first.commit([Settle(seq=1, state=State.DONE)])) == "journal.fenced"
        assert change(postgres, schema, "SELECT id, state FROM messages") == [("m1", 0)]
        await first.close()

    asyncio.run(run())


def test_a_new_owner_while_the_connection_was_gone_fences_the_old_one(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        first = await opened(postgres, schema)
        change(postgres, schema, "DELETE FROM members")
        end_backends(postgres)
        async with asyncio.timeout(20):
            while await code_of(first.commit([Accept((message(1),))])) != "journal.fenced":
                await asyncio.sleep(0.02)
        assert await code_of(first.counts()) == "journal.fenced"
        await first.close()

    asyncio.run(run())


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_commit_whose_answer_is_lost_is_found_out(postgres: PostgresServer, schema: str, is_committed: bool) -> None:
    async def run() -> None:
        store = await opened(postgres, schema)
        await store.commit([Accept((message(1),))])
        assert store._session is not None
        writer = store._session.writer
        execute = writer.execute

        async def lose_the_answer(query: Any, *values: Any, **named: Any) -> Any:
            if query == "COMMIT":
                if is_committed:
                    await execute("COMMIT")
                end_backends(postgres)
            return await execute(query, *values, **named)

        writer.execute = lose_the_answer  # type: ignore[method-assign]
        commit = store.commit([Accept((message(2),)), Settle(seq=1, state=State.DEAD, dead=letter())])
        if is_committed:
            accepted, is_settled = await commit
            assert (accepted.messages[0].seq, is_settled) == (2, True)
        else:
            assert await code_of(commit) == "journal.unavailable"
        (again,) = await until(lambda: store.commit([Accept((message(3),))]))
        assert again.messages[0].seq == (3 if is_committed else 2)
        assert await store.counts() == ({("f", "ready"): 2, ("f", "dead"): 1} if is_committed else {("f", "ready"): 2})
        assert [lease.is_recovered for lease in await store.lease("f", 0, 10)] == [False]
        await store.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_the_group_commit_refuses_at_once_and_goes_on_by_itself(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        journal = Journal(PostgresqlStore(postgres.url, schema))
        await journal.start()
        futures = [journal.submit(Accept((message(n, key=f"k{n}"),))) for n in range(600)]
        assert [(await f).messages[0].seq for f in futures] == list(range(1, 601))
        assert journal.commits < 10
        end_backends(postgres)
        assert await code_of(journal.submit(Accept((message(601),)))) == "journal.unavailable"

        async def again() -> Any:
            return await journal.submit(Accept((message(601),)))

        assert (await until(again)).messages[0].seq == 601
        bad = journal.submit(Accept((message(602, key="\ud800"),)))
        good = journal.submit(Accept((message(603),)))
        assert await code_of(bad) == "journal.operation"
        assert (await good).messages[0].seq == 602
        await journal.close()
        assert await code_of_submit(journal) == "journal.closed"

    asyncio.run(run())


async def code_of_submit(journal: Journal) -> str:
    with pytest.raises(JournalError) as caught:
        await journal.submit(Accept((message(1),)))
    return caught.value.code


def test_reads_keep_their_place_among_the_commits(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        journal = Journal(PostgresqlStore(postgres.url, schema))
        await journal.start()
        told: list[Any] = []

        async def accept(number: int) -> None:
            told.append((await journal.submit(Accept((message(number, key=f"k{number}"),)))).messages[0].seq)

        async def read() -> None:
            seqs = [lease.seq for lease in await journal.reads.lease("f", 0, 1000)]
            assert seqs == told  # neither more nor less than was told of
            following = await journal.reads.next_of_key("f", "k1")
            assert (following is not None) == (1 in told)

        tasks = []
        for number in range(1, 200):
            tasks.append(asyncio.create_task(accept(number)))
            tasks.append(asyncio.create_task(read()))
            await asyncio.sleep(0 if number % 7 else 0.002)
        await asyncio.gather(*tasks)
        assert told == list(range(1, 200))
        await journal.close()

    asyncio.run(run())


def test_texts_with_a_null_character_are_kept(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        store = await opened(postgres, schema)
        odd = message(1, key="a\x00b", event_id="e\x00")
        await store.commit([Accept((odd,))])
        assert [lease.message for lease in await store.lease("f", 0, 10)] == [odd]
        (found,) = await store.next_of_keys("f", ["a\x00b"])
        assert found is not None and found.message == odd
        assert [row.message for row in await store.messages(MessageQuery(key="a\x00b"))] == [odd]
        await store.commit([Settle(seq=1, state=State.HELD, held_by="erp", reason="why\x00")])
        await store.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_a_journal_larger_than_its_bound_loses_settled_messages_only(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        store = await opened(postgres, schema)
        await store.commit([Accept(tuple(message(n, key=f"k{n}") for n in range(1, 6)))])
        await store.commit([Settle(seq=n, state=State.DONE) for n in (1, 2, 3)])
        prune = Prune(before=START - dt.timedelta(365), seen_before=START, limit=2, size_bytes_max=1)
        assert await store.commit([prune]) == [2]
        assert await store.commit([prune]) == [1]
        assert [row.seq for row in await store.messages()] == [4, 5]
        await store.commit([Settle(seq=5, state=State.DONE)])
        assert await store.commit([prune]) == [1]
        await store.close()
        again = await opened(postgres, schema)  # the newest is gone, its number is not given again
        (accepted,) = await again.commit([Accept((message(6),))])
        assert accepted.messages[0].seq == 6
        await again.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_foreign_and_newer_schemas_are_left_alone(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        change(postgres, "public", f"CREATE SCHEMA {schema}")
        change(postgres, schema, "CREATE TABLE customers (id integer)")
        assert await code_of(opened(postgres, schema)) == "journal.foreign"
        change(postgres, schema, "DROP TABLE customers")
        await (await opened(postgres, schema)).close()
        change(postgres, schema, "INSERT INTO version VALUES (99, 0, 99)")
        assert await code_of(opened(postgres, schema)) == "journal.newer"

    asyncio.run(run())


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    async def run() -> None:
        store = PostgresqlStore("postgresql://me:hush@127.0.0.1:1/db", start_wait_s=0.0)
        with pytest.raises(JournalError) as caught:
            await store.open()
        assert caught.value.code == "journal.unavailable"
        assert "hush" not in str(caught.value)
        with pytest.raises(JournalError) as caught:
            await PostgresqlStore("postgres//nonsense:hush").open()
        assert (caught.value.code, "hush" in str(caught.value)) == ("journal.path", False)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM contents", "message without a body: 1"),
        ("UPDATE messages SET is_head = false", "open message that should be head"),
        ("UPDATE counters SET n = n + 1", "counter differs"),
        ("UPDATE messages SET part = part + 1", "message 1 differs from its index row"),
        ("UPDATE contents SET message = 'x'", "message 1 cannot be read"),
    ],
)
def test_verify_names_what_is_broken(postgres: PostgresServer, schema: str, damage: str, found: str) -> None:
    async def run() -> None:
        store = await opened(postgres, schema)
        await store.commit([Accept((message(1),))])
        await store.close()

    asyncio.run(run())
    assert verify(postgres.url, schema) == []
    change(postgres, schema, damage)
    assert any(violation.startswith(found) for violation in verify(postgres.url, schema))
