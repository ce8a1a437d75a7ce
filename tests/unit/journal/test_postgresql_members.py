"""Members on one PostgreSQL journal beyond the suite: locks, lost connections and answers, stuck commits, layouts of other releases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.servers import PostgresServer

from accord.journal.encoding import encode
from accord.journal.operations import Accept, Settle, State
from accord.journal.shared import part_of
from accord.journal.stores.postgresql import PostgresqlStore
from accord.journal.stores.postgresql_member import PostgresqlMember
from accord.journal.stores.postgresql_migrate import migrate
from accord.journal.stores.postgresql_schema import MIGRATIONS, Migration
from accord.journal.stores.postgresql_session import connect, lock_journal
from accord.journal.stores.postgresql_verify import verify
from accord.testing.journal_suite import letter, message
from accord.testing.proxy import Proxy, Toxics
from accord.testing.shared_harness import EVERY_PART, code_of, final_code, in_part
from unit.journal.test_postgresql import change, end_backends, opened, schema, until
from unit.journal.test_postgresql_shared import PostgresHarness

pytestmark = pytest.mark.server
__all__ = ["schema"]


async def joined(
    server: PostgresServer, schema: str, name: str, parts: Sequence[int] = (), **settings: Any
) -> PostgresqlMember:
    store = PostgresqlMember(server.url, schema, **settings)
    await store.open()
    await store.join(name, "127.0.0.1:1")
    assert await store.take(parts) == set(parts)
    return store


async def accept(store: PostgresqlStore, *messages: Any) -> list[int]:
    (accepted,) = await store.commit([Accept(messages)])
    return [one.seq for one in accepted.messages]


# locks and lost connections


def test_an_engine_alone_and_members_exclude_each_other(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        alone = await opened(postgres, schema)
        assert await code_of(PostgresqlMember(postgres.url, schema, lock_wait_s=0.0).open()) == "journal.locked"
        assert await accept(alone, message(1), message(2)) == [1, 2]
        await alone.close()
        first, second = await joined(postgres, schema, "a", EVERY_PART), await joined(postgres, schema, "b")
        for _ in range(2):
            assert await code_of(opened(postgres, schema, lock_wait_s=0.0)) == "journal.locked"
            await first.close()
        await second.take(EVERY_PART)
        (third,) = await accept(second, message(3))
        await second.close()
        alone = await opened(postgres, schema, lock_wait_s=0.0)
        (fourth,) = await accept(alone, message(4))
        assert 2 < third < fourth
        assert [lease.is_recovered for lease in await alone.lease("f", 0, 10)] == [True]
        await alone.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_an_outage_of_the_database_ends_no_member(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        harness = PostgresHarness(postgres.url)
        harness.schema = schema
        members = [await joined(postgres, schema, "a", [0]), await joined(postgres, schema, "b", [1])]
        end_backends(postgres)
        for member in members:  # during the outage all were silent
            await harness.silence(member, 60.0)
        for number, member in enumerate(members):
            await until(lambda member=member, number=number: accept(member, in_part(number, number)))
            census = await member.census()
            assert (len(census.members), census.owners) == (2, {0: members[0]._id, 1: members[1]._id})
        for member in members:
            await member.close()

    asyncio.run(run())


def test_who_lost_its_connection_has_a_moment_to_come_back(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        harness = PostgresHarness(postgres.url)
        harness.schema = schema
        first, second = await joined(postgres, schema, "a", [0]), await joined(postgres, schema, "b")
        await harness.kill(first)
        assert len((await second.census()).members) == 2
        await harness.silence(first, second.gone_s + 0.1)
        assert len((await second.census()).members) == 1
        third = await joined(postgres, schema, "b")  # of the same name: the process was started anew
        await harness.kill(second)
        assert len((await third.census()).members) == 1
        await third.close()

    asyncio.run(run())


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_members_commit_whose_answer_is_lost_is_found_out(
    postgres: PostgresServer, schema: str, is_committed: bool
) -> None:
    async def run() -> None:
        store = await joined(postgres, schema, "a", EVERY_PART)
        (first,) = await accept(store, message(1))
        assert store._session is not None
        execute = store._session.writer.execute

        async def lose_the_answer(query: Any, *values: Any, **named: Any) -> Any:
            if query == "COMMIT":
                if is_committed:
                    await execute("COMMIT")
                end_backends(postgres)
            return await execute(query, *values, **named)

        store._session.writer.execute = lose_the_answer  # type: ignore[method-assign]
        group = [Accept((message(2),)), Settle(seq=first, state=State.DEAD, dead=letter())]
        assert await code_of(store.commit(group)) == ("" if is_committed else "journal.unavailable")
        (third,) = await until(lambda: accept(store, message(3)))
        assert await store.counts() == ({("f", "ready"): 2, ("f", "dead"): 1} if is_committed else {("f", "ready"): 2})
        found = [row.seq for row in await store.messages()]
        assert found == sorted({*found, first, third})
        await store.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_who_stopped_in_the_middle_of_a_commit_keeps_nobody_waiting(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        harness = PostgresHarness(postgres.url)
        harness.schema = schema
        first, second = await joined(postgres, schema, "a", [0]), await joined(postgres, schema, "b")
        assert first._session is not None
        await first._session.writer.execute("BEGIN")
        await first._session.writer.execute("UPDATE members SET commits = 1 WHERE id = %s", (first._id,))
        await harness.silence(first, second.lease_s + 1)
        started = time.monotonic()
        assert len((await second.census()).members) == 1
        assert await second.take([0]) == {0}
        assert time.monotonic() - started < second.lease_s / 2
        assert await final_code(lambda: accept(first, in_part(1, 0))) == "journal.fenced"
        for store in (first, second):
            await store.close()

    asyncio.run(run())


# a database that is there and says nothing


@pytest.mark.parametrize("kind", [PostgresqlStore, PostgresqlMember])
@pytest.mark.parametrize("silent_from", ["BEGIN", "COMMIT"])
def test_a_silent_database_is_one_that_is_away(
    postgres: PostgresServer, schema: str, silent_from: str, kind: type[PostgresqlStore]
) -> None:
    async def run() -> None:
        async with Proxy("127.0.0.1", postgres.port) as proxy:
            url = postgres.url.replace(f":{postgres.port}/", f":{proxy.port}/")
            store = kind(url, schema, commit_wait_s=0.5)
            await store.open()
            if isinstance(store, PostgresqlMember):
                await store.join("a", "127.0.0.1:1")
                await store.take(EVERY_PART)
            (first,) = await accept(store, message(1))
            assert store._session is not None
            execute = store._session.writer.execute

            async def fall_silent(query: Any, *values: Any, **named: Any) -> Any:
                if query == silent_from:
                    proxy.toxics = Toxics(half_open=True)
                return await execute(query, *values, **named)

            store._session.writer.execute = fall_silent  # type: ignore[method-assign]
            group = [Accept((message(2),)), Settle(seq=first, state=State.DONE)]
            commit = asyncio.create_task(code_of(store.commit(group)))
            async with asyncio.timeout(10):  # others hear of it at once, also those who wait for nothing
                while store.unavailable() is None:
                    await asyncio.sleep(0.01)
            assert (
                await code_of(store.commit([Accept((message(3),))])) == "journal.unavailable" or silent_from == "COMMIT"
            )
            proxy.toxics = Toxics()
            async with asyncio.timeout(20):
                assert await commit == "journal.unavailable"  # what was under way in the pulled cable is gone with it
            (after,) = await until(lambda: accept(store, message(4)))
            assert [row.seq for row in await store.messages()] == [first, after]
            await store.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


# layouts of other releases

ADDING = Migration(("ALTER TABLE messages ADD COLUMN note text",), compatible_from=2)
CHANGING = Migration(("ALTER TABLE messages RENAME COLUMN reason TO why",), compatible_from=3)


class AddingMember(PostgresqlMember):
    migrations = (*MIGRATIONS, ADDING)


class ChangingMember(PostgresqlMember):
    migrations = (*MIGRATIONS, CHANGING)


def test_a_migration_that_only_adds_is_applied_beside_running_engines(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        old = await joined(postgres, schema, "old", [0])
        await accept(old, in_part(1, 0))
        new = AddingMember(postgres.url, schema, lock_wait_s=0.0)
        await new.open()
        await new.join("new", "127.0.0.1:1")
        await new.take([1])
        await accept(new, in_part(2, 1))
        assert await accept(old, in_part(3, 0))
        end_backends(postgres)
        assert await until(lambda: accept(old, in_part(4, 0)))
        await new.close()
        await old.close()
        again = await opened(postgres, schema)  # the last release starts on what the new one has left
        assert len(await again.messages()) == 4
        await again.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())


def test_a_migration_that_changes_waits_until_no_engine_runs(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        old = await joined(postgres, schema, "old", [0])
        assert await code_of(ChangingMember(postgres.url, schema, lock_wait_s=0.0).open()) == "journal.locked"
        assert await accept(old, in_part(1, 0))
        await old.close()
        new = ChangingMember(postgres.url, schema, lock_wait_s=0.0)
        await new.open()
        assert await code_of(PostgresqlMember(postgres.url, schema).open()) == "journal.newer"
        await new.close()
        assert await code_of(opened(postgres, schema)) == "journal.newer"
        assert change(postgres, schema, "SELECT id FROM messages") == [("m1",)]

    asyncio.run(run())


def test_members_that_start_together_make_the_schema_once(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        stores = [PostgresqlMember(postgres.url, schema) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        ids = [(await store.join(f"node {n}", "127.0.0.1:1")).id for n, store in enumerate(stores)]
        assert ids == sorted(set(ids))
        for store in stores:
            await store.close()
        assert change(postgres, schema, "SELECT version, compatible_from FROM version ORDER BY 1") == [(1, 1), (2, 2)]

    asyncio.run(run())


# What an engine of layout 1 leaves: the states, a counter for each, its row of owners.
_LAYOUT_1 = """
    INSERT INTO owners VALUES ('engine', 7, 3, 1, 'process 1 on somewhere', 9);
    INSERT INTO counters VALUES ('f', 0, '', 2), ('f', 2, 'erp', 2), ('f', 10, '', 1)
"""


def test_a_journal_of_layout_1_is_kept_and_its_engine_fenced(postgres: PostgresServer, schema: str) -> None:
    async def run() -> None:
        session = await connect(postgres.url, schema)
        await lock_journal(session.writer, schema, 0.0)
        await migrate(session.writer, schema, 0, MIGRATIONS[:1])
        rows = [message(n, key=f"k{n}") for n in range(1, 6)]
        for number, (row, state) in enumerate(zip(rows, (0, 0, 2, 2, 10), strict=True), start=1):
            await session.writer.execute(
                "INSERT INTO messages (seq, part, id, flow, key, state, is_head, accepted_at, held_by, settled_at)"
                " VALUES (%s, %s, %s, 'f', %s, %s, %s, %s, %s, %s)",
                (
                    number, part_of("f", row.key), row.id, row.key, state, state < 10,
                    1767268800000000, "erp" if state == 2 else "", 0 if state == 10 else None,
                ),
            )  # fmt: skip
            await session.writer.execute("INSERT INTO contents VALUES (%s, %s)", (number, encode(row)))
        await session.writer.execute(_LAYOUT_1)
        assert await code_of(opened(postgres, schema, lock_wait_s=0.0)) == "journal.locked"
        await session.close()
        store = await opened(postgres, schema)
        assert await store.counts() == {("f", "ready"): 2, ("f", "held"): 2, ("f", "done"): 1}
        assert await store.held() == {"erp": 2}
        leases = await store.lease("f", 0, 10)
        assert [(lease.message, lease.is_recovered) for lease in leases] == [(rows[0], True), (rows[1], True)]
        assert await accept(store, message(6)) == [10]  # the largest that was ever given, pruned or not, was 9
        fence = "UPDATE owners SET commits = 4 WHERE name = 'engine' AND token = 7 AND commits = 3 RETURNING 1"
        assert change(postgres, schema, fence) == []  # the statement with which an engine of layout 1 commits
        await store.close()
        assert verify(postgres.url, schema) == []

    asyncio.run(run())
