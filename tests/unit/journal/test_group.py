"""Group commit: who is committed with whom, what failures do, bounds, closing."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accord.errors import JournalError, JournalFull
from accord.journal.group import Journal
from accord.journal.operations import Accept, Operation, SaveCursors, Settle, State
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.record import Cursor
from accord.testing.journal_suite import message


class RecordingStore(MemoryStore):
    """Remembers the size of each commit; fails with ``fail_with`` while it is set; each commit takes ``takes_s`` of ``time``."""

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.fail_with: Exception | None = None
        self.time = 0.0
        self.takes_s = takes_s

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        if self.fail_with:
            raise self.fail_with
        results = super().commit(operations)
        self.groups.append(len(operations))
        self.time += self.takes_s
        return results

    def clock(self) -> float:
        return self.time


def save(value: int) -> SaveCursors:
    return SaveCursors((Cursor("c", b"%d" % value),))


def test_what_one_turn_submits_is_one_commit() -> None:
    async def run() -> None:
        store = RecordingStore()
        journal = Journal(store)
        journal.open()
        futures = [journal.submit(Accept((message(n),))) for n in range(5)]
        assert journal.pending == 5
        assert not any(future.done() for future in futures)
        assert [f.messages[0].seq for f in await asyncio.gather(*futures)] == [1, 2, 3, 4, 5]
        assert store.groups == [5]
        assert (journal.commits, journal.operations, journal.pending) == (1, 5, 0)
        await journal.close()

    asyncio.run(run())


def test_a_commit_is_bounded_by_messages_and_the_rest_follows() -> None:
    async def run() -> None:
        store = RecordingStore()
        journal = Journal(store, commit_size_max=4)
        journal.open()
        large = Accept(tuple(message(n) for n in range(100, 110)))
        operations = [save(1), save(2), Accept((message(1), message(2))), save(3), large, save(4)]
        await asyncio.gather(*(journal.submit(operation) for operation in operations))
        assert store.groups == [3, 1, 1, 1]
        await journal.close()

    asyncio.run(run())


@pytest.mark.parametrize(("takes_s", "wait_us", "group"), [(0.0, 2000, 1), (0.004, 2000, 3), (0.004, 0, 1)])
def test_slow_commits_wait_while_more_comes_but_not_longer_than_allowed(
    takes_s: float, wait_us: int, group: int
) -> None:
    """One operation arrives per turn, three turns long; time stands still between commits."""

    async def run() -> None:
        store = RecordingStore(takes_s)
        journal = Journal(store, wait_us=wait_us, clock=store.clock)
        journal.open()
        await journal.submit(save(0))
        store.groups.clear()
        futures = []
        for n in range(3):
            futures.append(journal.submit(save(n)))
            await asyncio.sleep(0)
        await asyncio.gather(*futures)
        assert store.groups[0] == group
        assert sum(store.groups) == 3
        await journal.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (JournalFull("full"), JournalFull, "journal.full"),
        (JournalError("io", code="journal.commit"), JournalError, "journal.commit"),
        (RuntimeError("a defect"), JournalError, "journal.commit"),
    ],
)
def test_a_failed_commit_fails_its_futures_and_the_journal_stays_usable(
    error: Exception, kind: type, code: str
) -> None:
    async def run() -> None:
        store = RecordingStore()
        journal = Journal(store)
        journal.open()
        store.fail_with = error
        results = await asyncio.gather(journal.submit(save(1)), journal.submit(save(2)), return_exceptions=True)
        assert [type(result) for result in results] == [kind, kind]
        assert {result.code for result in results if isinstance(result, JournalError)} == {code}
        store.fail_with = None
        await journal.submit(save(3))
        assert store.cursor("c") == b"3"
        await journal.close()

    asyncio.run(run())


def test_an_operation_that_cannot_be_stored_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    async def run() -> None:
        journal = Journal(SqliteStore(tmp_path / "j.db"))
        journal.open()
        naive = Settle(seq=1, state=State.WAITING, due=dt.datetime(2026, 1, 1))
        operations = [Accept((message(1),)), Accept((message(2, key="\ud800"),)), naive, Accept((message(3),))]
        first, second, third, fourth = await asyncio.gather(
            *(journal.submit(operation) for operation in operations), return_exceptions=True
        )
        assert (first.messages[0].seq, fourth.messages[0].seq) == (1, 2)
        assert [second.code, third.code] == ["journal.operation", "journal.operation"]
        assert [row.message.id for row in journal.read.messages()] == ["m1", "m3"]
        await journal.close()

    asyncio.run(run())


def test_a_caller_that_went_away_does_not_disturb_the_commit() -> None:
    async def run() -> None:
        journal = Journal(MemoryStore())
        journal.open()
        gone, stays = journal.submit(save(1)), journal.submit(Accept((message(1),)))
        gone.cancel()
        assert (await stays).messages[0].seq == 1
        assert journal.read.cursor("c") == b"1"
        await journal.close()

    asyncio.run(run())


def test_the_queue_is_bounded_and_room_can_be_awaited() -> None:
    async def run() -> None:
        journal = Journal(MemoryStore(), pending_max=4)
        journal.open()
        await journal.wait_room()
        futures = [journal.submit(save(n)) for n in range(4)]
        with pytest.raises(JournalError) as caught:
            journal.submit(save(9))
        assert caught.value.code == "journal.overloaded"
        await asyncio.wait_for(journal.wait_room(), 5)
        assert all(future.done() for future in futures)
        journal.submit(save(9))
        await journal.close()

    asyncio.run(run())


def test_close_commits_what_was_submitted_and_takes_no_more(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "j.db"
        journal = Journal(SqliteStore(path), commit_size_max=2)
        journal.open()
        futures = [journal.submit(Accept((message(n),))) for n in range(5)]
        await journal.close()
        await journal.close()
        assert [future.result().messages[0].seq for future in futures] == [1, 2, 3, 4, 5]
        with pytest.raises(JournalError) as caught:
            journal.submit(save(1))
        assert caught.value.code == "journal.closed"
        await asyncio.sleep(0)  # the turn that was scheduled before the close finds nothing to do
        store = SqliteStore(path)
        store.open()
        assert len(store.messages()) == 5
        store.close()

    asyncio.run(run())
