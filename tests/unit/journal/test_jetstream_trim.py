"""Snapshots and trimming: what interrupted puts, other logs, late engines and servers that are killed leave behind."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from tests.servers import NatsCluster, running_nats
from tests.unit.journal.test_jetstream import Machine, accepts, administrator, ids, until

from accord.journal.stores.jetstream_entries import Position
from accord.journal.stores.jetstream_keep import KeepSettings
from accord.journal.stores.jetstream_log import PURGES_SINCE, version_numbers
from accord.journal.stores.jetstream_snapshots import Snapshot, Snapshots, _while_it_moves

pytestmark = pytest.mark.server
OFTEN = KeepSettings(entries=10, size_bytes=0)


@pytest.fixture
def stream() -> str:
    return f"trim_{uuid.uuid4().hex[:12]}"


def at(seq: int, log: bytes = b"log") -> Position:
    return Position(log=log, seq=seq, counted=seq)


async def put(snapshots: Snapshots, folder: Path, position: Position) -> int:
    source = folder / "state"
    source.write_bytes(b"state" * 60_000)  # three chunks
    return await snapshots.put(source, position)


async def ends(snapshots: Snapshots) -> dict[str, int]:
    return {snapshot.slot: snapshot.position.seq for snapshot in await snapshots.found()}


async def without_chunks(js: JetStreamContext, stream: str, snapshot: Snapshot) -> None:
    """As the client leaves it that did not hear of its description's acknowledgement."""
    await js.purge_stream(f"OBJ_{stream}-snapshots", subject=f"$O.{stream}-snapshots.C.{snapshot.id}")


def test_the_log_is_needed_from_the_older_of_two_whole_snapshots(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with administrator(nats_server) as js:
            snapshots = Snapshots(lambda: js, stream, 1)
            assert [await put(snapshots, tmp_path, at(seq)) for seq in (10, 20, 30)] == [0, 10, 20]
            assert sorted((await ends(snapshots)).values()) == [20, 30]

    asyncio.run(run())


def test_a_snapshot_that_is_not_whole_is_replaced_and_nothing_trimmed_behind_it(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with administrator(nats_server) as js:
            snapshots = Snapshots(lambda: js, stream, 1)
            for seq in (10, 20):
                await put(snapshots, tmp_path, at(seq))
            newest, oldest = await snapshots.found()
            await without_chunks(js, stream, newest)
            assert await put(snapshots, tmp_path, at(30)) == 10
            assert await ends(snapshots) == {oldest.slot: 10, newest.slot: 30}
            for snapshot in await snapshots.found():
                await without_chunks(js, stream, snapshot)
            assert await put(snapshots, tmp_path, at(40)) == 0

    asyncio.run(run())


def test_snapshots_of_another_log_are_replaced_and_no_reason_to_trim(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with administrator(nats_server) as js:
            snapshots = Snapshots(lambda: js, stream, 1)
            for seq in (1000, 2000):
                await put(snapshots, tmp_path, at(seq, b"before"))
            assert [await put(snapshots, tmp_path, at(seq)) for seq in (10, 20)] == [0, 10]
            assert sorted((await ends(snapshots)).values()) == [10, 20]

    asyncio.run(run())


def test_a_copy_older_than_what_is_there_is_not_put(nats_server: NatsCluster, stream: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with administrator(nats_server) as js:
            snapshots = Snapshots(lambda: js, stream, 1)
            for seq in (20, 30):
                await put(snapshots, tmp_path, at(seq))
            before = await ends(snapshots)
            assert await put(snapshots, tmp_path, at(15)) == 0
            assert await ends(snapshots) == before

    asyncio.run(run())


def test_a_put_that_was_cut_off_leaves_what_was_there(
    nats_server: NatsCluster, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with administrator(nats_server) as js:
            snapshots = Snapshots(lambda: js, stream, 1)
            for seq in (10, 20):
                await put(snapshots, tmp_path, at(seq))
            before = await snapshots.found()
            publish, sent = js.publish, 0

            async def cut_off(*args: Any, **options: Any) -> Any:
                nonlocal sent
                sent += 1
                if sent == 2:
                    raise asyncio.CancelledError
                return await publish(*args, **options)

            monkeypatch.setattr(js, "publish", cut_off)
            with pytest.raises(asyncio.CancelledError):
                await put(snapshots, tmp_path, at(30))
            assert await snapshots.found() == before
            monkeypatch.undo()
            assert await put(snapshots, tmp_path, at(40)) == 20

    asyncio.run(run())


def test_a_machine_begins_from_the_older_snapshot_when_the_newest_has_lost_its_chunks(
    nats_server: NatsCluster, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        first = Machine(nats_server, stream, tmp_path / "first", keep=OFTEN)
        await first.store.open()
        async with administrator(nats_server) as js:
            number = 0
            while (await js.stream_info(stream)).state.first_seq <= 1:
                number += 1
                await first.store.commit(accepts(number))
            await first.store.close()
            newest, _ = await Snapshots(lambda: js, stream, 1).found()
            await without_chunks(js, stream, newest)
        machine = Machine(nats_server, stream, tmp_path / "empty")
        await asyncio.wait_for(machine.store.open(), 20)
        assert await ids(machine.store) == [f"m{n}" for n in range(1, number + 1)]
        await machine.store.close()

    asyncio.run(run())


@pytest.mark.timeout(120)
def test_an_empty_machine_has_everything_after_all_servers_were_killed(stream: str, tmp_path: Path) -> None:
    """Servers before ``PURGES_SINCE`` lose what was written between a snapshot and the trim, and the snapshots too; so beside them
    nothing is trimmed."""

    async def run(cluster: NatsCluster) -> None:
        first = Machine(cluster, stream, tmp_path / "first", keep=OFTEN)
        await first.store.open()
        async with administrator(cluster) as js:
            number, firsts = 0, {1}  # a second trim follows a snapshot in the place of another
            async with asyncio.timeout(40):
                while len(firsts) < 3 and not any(told.startswith("no-snapshot") for told in first.told):
                    number += 1
                    await first.store.commit(accepts(number))
                    firsts.add((await js.stream_info(stream)).state.first_seq)
            connected = first.store._log._nats.connected_server_version
            is_old = (connected.major, connected.minor, connected.patch) < (2, 9, 21)
            assert (len(firsts) == 1) == is_old
            for _ in range(5):
                number += 1
                await first.store.commit(accepts(number))
        await first.store.abandon()
        cluster.stop()
        cluster.start()
        empty = Machine(cluster, stream, tmp_path / "empty", lease_s=0.0)
        await until(empty.store.open)
        assert await ids(empty.store) == [f"m{n}" for n in range(1, number + 1)]
        await empty.store.close()
        assert await empty.verify() == []

    with running_nats(3) as cluster:
        asyncio.run(run(cluster))


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("2.9.10", True),
        ("2.9.20", True),
        ("2.9.21", False),
        ("2.10.0-RC.1", False),
        ("2.15.1", False),
        ("unknown", True),
    ],
)
def test_which_servers_are_too_old_to_purge(version: str, is_old: bool) -> None:
    assert (version_numbers(version) < PURGES_SINCE) == is_old


def test_a_snapshot_is_not_read_on_when_who_asked_for_it_has_gone() -> None:
    async def work() -> None:
        reading = asyncio.ensure_future(asyncio.Event().wait())
        asking = asyncio.ensure_future(_while_it_moves(reading, lambda: 0))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert reading.cancelled()

    asyncio.run(work())
