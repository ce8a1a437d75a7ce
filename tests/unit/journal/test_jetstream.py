"""The JetStream store beyond the suite: who counts, lost answers, large groups, standing by, snapshots, strange streams."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.js import JetStreamContext, api
from tests.servers import NatsCluster

from accord.errors import JournalError, JournalFull
from accord.journal.group import Journal
from accord.journal.operations import Accept, Operation, Prune, SaveCursors, Settle, State
from accord.journal.search import MessageQuery
from accord.journal.stores.jetstream import JetStreamStore
from accord.journal.stores.jetstream_entries import (
    POSITION_CURSOR,
    Group,
    Opening,
    Part,
    decode_entry,
    decode_position,
    digest_after,
    encode_entry,
)
from accord.journal.stores.jetstream_keep import KeepSettings
from accord.journal.stores.jetstream_log import WINDOW, LogSettings, LogStream, Raw
from accord.journal.stores.jetstream_verify import verify_log
from accord.journal.stores.sqlite_replica import SqliteReplica
from accord.record import Cursor
from accord.testing.journal_suite import START, message
from accord.testing.proxy import Proxy, Toxics

pytestmark = pytest.mark.server
FOREVER_S = 600.0


@pytest.fixture
def stream() -> str:
    return f"store_{uuid.uuid4().hex[:12]}"


class Machine:
    """A folder, and what its engine was told."""

    def __init__(self, cluster: NatsCluster, stream: str, folder: Path, **settings: Any) -> None:
        self.replica = SqliteReplica(folder / "journal.db")
        self.told: list[str] = []
        self.news = asyncio.Event()
        servers = settings.pop("servers", cluster.urls)
        replicas = settings.pop("replicas", len(cluster.servers))
        self.settings = LogSettings(servers=servers, stream=stream, replicas=replicas, start_wait_s=5.0)
        self.store = JetStreamStore(self.settings, self.replica, name=folder.name, tell=self.tell, **settings)

    def tell(self, state: str, owner: str) -> None:
        self.told.append(f"{state} {owner}")
        self.news.set()

    async def wait_told(self, news: str) -> None:
        async with asyncio.timeout(20):
            while news not in self.told:
                self.news.clear()
                await self.news.wait()

    async def verify(self) -> list[str]:
        return await asyncio.to_thread(verify_log, self.settings, self.replica.cursor(POSITION_CURSOR))


@contextlib.asynccontextmanager
async def administrator(cluster: NatsCluster) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(cluster.urls[0])
    try:
        yield connection.jetstream()
    finally:
        await connection.close()


async def code_of(work: Awaitable[Any]) -> str:
    with pytest.raises(JournalError) as caught:
        await work
    return caught.value.code


async def until(try_it: Callable[[], Awaitable[Any]]) -> Any:
    """Again while the journal is unavailable."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await try_it()
            except JournalError as error:
                assert error.code == "journal.unavailable"
                await asyncio.sleep(0.02)


def accepts(*numbers: int) -> list[Operation]:
    return [Accept(tuple(message(n, key=f"k{n}") for n in numbers))]


async def ids(store: JetStreamStore) -> list[str]:
    return [row.message.id for row in await store.messages(MessageQuery(limit=1000))]


def test_who_lost_the_log_to_another_commits_nothing(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first", beat_s=FOREVER_S)
        await first.store.open()
        await first.store.commit(accepts(1))
        second = Machine(nats_server, stream, tmp_path / "second", lease_s=0.0)
        await second.store.open()  # as after a lease that has ended
        await second.store.commit(accepts(2))
        assert await code_of(first.store.commit(accepts(3))) == "journal.fenced"
        assert await code_of(first.store.commit(accepts(3))) == "journal.fenced"
        assert await code_of(first.store.lease("f", 0, 10)) == "journal.fenced"
        assert first.told == ["active first", "fenced second"]
        await first.store.close()
        assert await ids(second.store) == ["m1", "m2"]
        await second.store.close()
        assert await second.verify() == []

    asyncio.run(run())


def test_an_entry_in_ignorance_of_another_is_void_even_if_the_server_takes_it(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "one", beat_s=FOREVER_S)
        await machine.store.open()
        stale = encode_entry(Group(machine.store._state.position.digest, 0, tuple(accepts(9))))
        await machine.store.commit(accepts(1))
        async with administrator(nats_server) as js:
            await js.publish(f"{stream}.log.0", stale)  # with no condition
            await machine.store.commit(accepts(2))
            last = await js.get_msg(stream, machine.store._state.position.seq)
            await js.publish(f"{stream}.log.0", last.data or b"")  # a second copy of what has counted
            (accepted,) = await machine.store.commit(accepts(3))
        assert accepted.messages[0].seq == 3
        assert await ids(machine.store) == ["m1", "m2", "m3"]
        await machine.store.close()
        other = Machine(nats_server, stream, tmp_path / "two")
        await other.store.open()
        assert await ids(other.store) == ["m1", "m2", "m3"]
        await other.store.close()
        assert (await machine.verify(), await other.verify()) == ([], [])

    asyncio.run(run())


def test_groups_larger_than_a_message_travel_in_parts(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "one", beat_s=FOREVER_S)
        await machine.store.open()
        size = machine.store._log.size_bytes_max
        large = msgspec.structs.replace(message(1), body=bytes(range(256)) * 20_000)
        assert len(large.body) > 4 * size
        await machine.store.commit([Accept((large,)), SaveCursors((Cursor("c", b"1"),))])
        digest = machine.store._state.position.digest
        await machine.store.abandon()
        async with administrator(nats_server) as js:  # a writer that dies within its group
            for number in range(2):
                part = encode_entry(Part(digest, number, 2 - number, b"x" * 100))
                await js.publish(f"{stream}.log.0", part)
                digest = digest_after(digest, part)
        other = Machine(nats_server, stream, tmp_path / "two", lease_s=0.0)
        await other.store.open()
        assert [row.message for row in await other.store.messages()] == [large]
        assert await other.store.cursor("c") == b"1"
        await other.store.commit(accepts(2))
        await other.store.close()
        assert await other.verify() == []
        again = Machine(nats_server, stream, tmp_path / "one")
        await again.store.open()
        assert await ids(again.store) == ["m1", "m2"]
        await again.store.close()

    asyncio.run(run())


def test_a_standby_takes_over_at_once_after_a_close_and_when_the_lease_ends(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first", beat_s=0.1)
        await first.store.open()
        await first.store.commit(accepts(1))
        second = Machine(nats_server, stream, tmp_path / "second", lease_s=1.0, beat_s=0.1)
        opening = asyncio.create_task(second.store.open())
        await second.wait_told("standby first")
        await asyncio.wait([opening], timeout=2.5)  # longer than the lease, which the first one's beats renew
        assert not opening.done()
        await first.store.commit(accepts(2))
        await first.store.close()
        await asyncio.wait_for(opening, 2.5)
        assert await ids(second.store) == ["m1", "m2"]
        assert [lease.is_recovered for lease in await second.store.lease("f", 0, 10)] == [True, True]
        third = Machine(nats_server, stream, tmp_path / "third", lease_s=1.0)
        opening = asyncio.create_task(third.store.open())
        await third.wait_told("standby second")
        await second.store.abandon()
        await asyncio.wait_for(opening, 10)
        assert await ids(third.store) == ["m1", "m2"]
        await third.store.close()

    asyncio.run(run())


def test_the_same_folder_need_not_wait_and_commands_are_refused(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first")
        await first.store.open()
        await first.store.commit(accepts(1))
        await first.store.abandon()
        again = Machine(nats_server, stream, tmp_path / "first", lease_s=FOREVER_S, beat_s=0.1)
        await asyncio.wait_for(again.store.open(), 10)
        command = Machine(nats_server, stream, tmp_path / "other", may_stand_by=False)
        with pytest.raises(JournalError, match="in use by the engine on first") as caught:
            await command.store.open()
        assert caught.value.code == "journal.locked"
        await again.store.close()

    asyncio.run(run())


async def write_until_trimmed(machine: Machine, js: JetStreamContext, stream: str, number: int = 0) -> int:
    """The number of the last message, after which the log no longer has its beginning."""
    async with asyncio.timeout(30):
        while (await js.stream_info(stream)).state.first_seq <= 1:
            number += 1
            await machine.store.commit(accepts(number))
    return number


def test_who_asks_a_server_that_lags_behind_still_takes_the_log_once(
    nats_server: NatsCluster, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opening is written, and the server that is read from does not show it for a while."""
    read, append, hidden = LogStream.read, LogStream.append, 0

    async def appended(log: LogStream, data: bytes, id_: str, last: int, *, is_sent: bool = False) -> int | None:
        nonlocal hidden
        if isinstance(decode_entry(data), Opening):
            hidden = 3
        return await append(log, data, id_, last, is_sent=is_sent)

    async def lagging(log: LogStream, first: int, limit: int = WINDOW) -> list[Raw]:
        nonlocal hidden
        entries = await read(log, first, limit)
        if entries and hidden:
            hidden -= 1
            return []
        return entries

    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first")
        await first.store.open()
        await first.store.commit(accepts(1))
        await first.store.close()
        monkeypatch.setattr(LogStream, "read", lagging)
        monkeypatch.setattr(LogStream, "append", appended)
        again = Machine(nats_server, stream, tmp_path / "first")
        await again.store.open()
        assert hidden == 0
        await again.store.commit(accepts(2))
        assert await ids(again.store) == ["m1", "m2"]
        await again.store.close()
        assert await again.verify() == []
        async with administrator(nats_server) as js:
            last = (await js.stream_info(stream)).state.last_seq
            kept = [decode_entry((await js.get_msg(stream, seq)).data) for seq in range(1, last + 1)]
        assert [type(entry) for entry in kept].count(Opening) == 2  # a second one would be another engine's

    asyncio.run(run())


def test_an_empty_machine_begins_from_a_snapshot_and_so_does_one_left_behind(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        often = {"keep": KeepSettings(entries=10, size_bytes=0)}
        first = Machine(nats_server, stream, tmp_path / "first", **often)
        await first.store.open()
        await first.store.commit(accepts(1))
        behind = Machine(nats_server, stream, tmp_path / "behind", lease_s=0.0)
        await behind.store.open()
        await behind.store.abandon()
        await first.store.abandon()
        first = Machine(nats_server, stream, tmp_path / "first", lease_s=0.0, **often)
        await first.store.open()
        async with administrator(nats_server) as js:
            last = await write_until_trimmed(first, js, stream, 1)
        await first.store.commit([Settle(seq=1, state=State.DONE)])
        await first.store.close()
        assert await first.verify() == []
        expected = [(f"m{n}", State.DONE if n == 1 else State.READY) for n in range(1, last + 1)]
        for name in ("empty", "behind"):
            machine = Machine(nats_server, stream, tmp_path / name)
            await machine.store.open()
            rows = await machine.store.messages(MessageQuery(limit=1000))
            assert [(row.message.id, row.state) for row in rows] == expected
            await machine.store.close()
            assert await machine.verify() == []

    asyncio.run(run())


def test_a_damaged_snapshot_gives_way_to_the_older_one(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first", keep=KeepSettings(entries=10, size_bytes=0))
        await first.store.open()
        async with administrator(nats_server) as js:
            last = await write_until_trimmed(first, js, stream)
            await first.store.close()
            objects = await js.object_store(f"{stream}-snapshots")
            found = [await objects.get_info(slot) for slot in "ab"]
            newest = max(found, key=lambda info: decode_position(bytes.fromhex(info.description or "")).seq)
            chunks = f"$O.{stream}-snapshots.C.{newest.nuid}"
            await js.purge_stream(f"OBJ_{stream}-snapshots", subject=chunks)
            await js.publish(chunks, b"nonsense")
        machine = Machine(nats_server, stream, tmp_path / "empty")
        await machine.store.open()
        assert await ids(machine.store) == [f"m{n}" for n in range(1, last + 1)]
        await machine.store.close()

    asyncio.run(run())


def test_the_state_of_another_log_or_of_a_lost_one_is_refused(
    nats_server: NatsCluster, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.journal.stores.jetstream_follow.LAST_WAIT_S", 0.2)

    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first")
        await first.store.open()
        await first.store.commit(accepts(1))
        await first.store.commit(accepts(2))
        await first.store.close()
        async with administrator(nats_server) as js:
            await js.delete_stream(stream)
        assert await code_of(Machine(nats_server, stream, tmp_path / "first").store.open()) == "journal.log-lost"
        second = Machine(nats_server, stream, tmp_path / "second")
        await second.store.open()
        for number in range(5):
            await second.store.commit(accepts(number))
        await second.store.close()
        assert await code_of(Machine(nats_server, stream, tmp_path / "first").store.open()) == "journal.other-log"
        assert any("differs from the log" in violation for violation in await first.verify())
        assert await second.verify() == []

    asyncio.run(run())


def test_a_file_with_a_journal_of_its_own_is_left_alone(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "own")
        own = machine.replica.store(lambda: START)
        own.open()
        own.commit(accepts(1))
        own.close()
        assert await code_of(machine.store.open()) == "journal.foreign"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"num_replicas": 1}, "it has 1 replicas, the project wants 3"),
        ({"max_age": 3600.0}, "drops old messages"),
        ({"subjects": ["{0}.log.0", "{0}.more"]}, "its subjects are"),
        ({"storage": api.StorageType.MEMORY}, "its storage must be file"),
    ],
)
def test_a_stream_that_does_not_keep_what_it_must_is_refused(
    nats_server: NatsCluster, stream: str, tmp_path: Path, config: dict[str, Any], what: str
) -> None:
    async def run() -> None:
        fit = {"subjects": ["{0}.log.0"], "allow_direct": True, "discard": api.DiscardPolicy.NEW, "num_replicas": 1}
        given = {**fit, **config}
        given["subjects"] = [subject.format(stream) for subject in given["subjects"]]
        async with administrator(nats_server) as js:
            await js.add_stream(api.StreamConfig(name=stream, **given))
        replicas = 3 if "num_replicas" in config else 1
        machine = Machine(nats_server, stream, tmp_path / "one", replicas=replicas)
        with pytest.raises(JournalError, match=what) as caught:
            await machine.store.open()
        assert caught.value.code == "journal.stream"

    asyncio.run(run())


def test_a_commit_whose_answer_is_lost_is_found_out(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with Proxy("127.0.0.1", nats_server.servers[0].port) as proxy:
            servers = (f"nats://127.0.0.1:{proxy.port}",)
            machine = Machine(nats_server, stream, tmp_path / "one", servers=servers, beat_s=FOREVER_S)
            await machine.store.open()
            await machine.store.commit(accepts(1))
            proxy.toxics = Toxics(reset=1.0)  # what is sent arrives, its answer does not
            commit = asyncio.create_task(machine.store.commit(accepts(2)))
            async with asyncio.timeout(20):
                while machine.store.unavailable() is None:
                    await asyncio.sleep(0.01)
            assert await code_of(machine.store.commit(accepts(3))) == "journal.unavailable"
            assert await code_of(machine.store.lease("f", 0, 10)) == "journal.unavailable"
            assert await ids(machine.store) == ["m1"]  # told is only what was acknowledged
            proxy.toxics = Toxics()
            (accepted,) = await asyncio.wait_for(commit, 20)
            assert accepted.messages[0].seq == 2
            (accepted,) = await until(lambda: machine.store.commit(accepts(3)))
            assert accepted.messages[0].seq == 3
            await machine.store.close()
            assert await machine.verify() == []

    asyncio.run(run())


def test_the_group_commit_refuses_at_once_and_goes_on_by_itself(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with Proxy("127.0.0.1", nats_server.servers[0].port) as proxy:
            servers = (f"nats://127.0.0.1:{proxy.port}",)
            machine = Machine(nats_server, stream, tmp_path / "one", servers=servers, beat_s=0.1)
            journal = Journal(machine.store)
            await journal.start()
            futures = [journal.submit(Accept((message(n, key=f"k{n}"),))) for n in range(600)]
            assert [(await f).messages[0].seq for f in futures] == list(range(1, 601))
            assert journal.commits < 10
            proxy.toxics = Toxics(half_open=True)
            async with asyncio.timeout(20):
                while machine.store.unavailable() is None:
                    await asyncio.sleep(0.01)
            with pytest.raises(JournalError) as caught:
                journal.submit(Accept((message(601),)))
            assert caught.value.code == "journal.unavailable"
            proxy.toxics = Toxics()

            async def again() -> Any:
                return await journal.submit(Accept((message(601),)))

            assert (await until(again)).messages[0].seq == 601
            bad = journal.submit(Accept((message(602, key="\ud800"),)))
            good = journal.submit(Accept((message(603),)))
            assert await code_of(bad) == "journal.operation"
            assert (await good).messages[0].seq == 602
            await journal.close()
            assert await machine.verify() == []

    asyncio.run(run())


def test_what_only_the_disk_refuses_is_skipped_by_every_machine_alike(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "one")
        await machine.store.open()
        too_large = 2**63  # fits the log's encoding, not a column
        work = machine.store.commit([*accepts(1), Settle(seq=too_large, state=State.DONE)])
        assert await code_of(work) == "journal.operation"
        assert await ids(machine.store) == []
        await machine.store.commit(accepts(2))
        await machine.store.close()
        other = Machine(nats_server, stream, tmp_path / "two")
        await other.store.open()
        assert await ids(other.store) == ["m2"]
        await other.store.close()

    asyncio.run(run())


def test_a_bound_in_bytes_becomes_the_same_messages_on_every_machine(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "one")
        await machine.store.open()
        await machine.store.commit(accepts(*range(1, 101)))
        await machine.store.commit([Settle(seq=n, state=State.DONE) for n in range(1, 91)])
        half = await machine.store.size_bytes() // 2
        (pruned,) = await machine.store.commit([Prune(START, START, 500, size_bytes_max=half)])
        assert 40 <= pruned <= 60
        left = await ids(machine.store)
        assert left == [f"m{n}" for n in range(pruned + 1, 101)]
        await machine.store.close()
        other = Machine(nats_server, stream, tmp_path / "two")
        await other.store.open()
        assert await ids(other.store) == left
        await other.store.close()

    asyncio.run(run())


def test_a_server_that_is_not_there_is_told_without_the_password(nats_server: NatsCluster, tmp_path: Path) -> None:
    async def run() -> None:
        settings = LogSettings(servers=("nats://127.0.0.1:1",), credentials="me:hush", start_wait_s=0.3)
        store = JetStreamStore(settings, SqliteReplica(tmp_path / "journal.db"))
        with pytest.raises(JournalError) as caught:
            await store.open()
        assert caught.value.code == "journal.unavailable"
        assert "hush" not in str(caught.value)
        assert store.unavailable() is not None

    asyncio.run(run())


def test_verify_tells_a_state_that_was_changed(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> Machine:
        machine = Machine(nats_server, stream, tmp_path / "one")
        await machine.store.open()
        await machine.store.commit(accepts(1))
        await machine.store.close()
        return machine

    machine = asyncio.run(run())
    assert asyncio.run(machine.verify()) == []
    position = decode_position(machine.replica.cursor(POSITION_CURSOR) or b"")
    wrong = encode_entry(msgspec.structs.replace(position, digest=b"0" * 16))
    with contextlib.closing(sqlite3.connect(machine.replica.path)) as db, db:
        db.execute("UPDATE cursors SET position = ? WHERE name = ?", (wrong, POSITION_CURSOR))
    assert [violation.partition(":")[0] for violation in asyncio.run(machine.verify())] == [
        f"the state on this machine differs from the log at entry {position.counted}"
    ]


def test_an_acknowledged_entry_the_disk_does_not_take_is_kept_and_told_when_it_does(
    nats_server: NatsCluster, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.journal.stores.jetstream.APPLY_AGAIN_S", 0.02)

    async def run() -> None:
        machine = Machine(nats_server, stream, tmp_path / "one")
        await machine.store.open()
        state = machine.store._state.store
        commit, has_room = state.commit, asyncio.Event()

        def without_room(operations: Any) -> Any:
            if has_room.is_set():
                return commit(operations)
            raise JournalFull("The disk is full.", mend="Free space.")

        monkeypatch.setattr(state, "commit", without_room)
        work = asyncio.create_task(machine.store.commit(accepts(1)))
        async with asyncio.timeout(20):
            while (error := machine.store.unavailable()) is None:
                await asyncio.sleep(0.01)
        assert "disk is full" in error.what
        assert await code_of(machine.store.commit(accepts(2))) == "journal.unavailable"
        assert not work.done()
        has_room.set()
        (accepted,) = await asyncio.wait_for(work, 20)
        assert accepted.messages[0].seq == 1
        await until(lambda: machine.store.commit(accepts(2)))
        assert await ids(machine.store) == ["m1", "m2"]
        await machine.store.close()
        assert await machine.verify() == []

    asyncio.run(run())
