"""A search of the journal does not hold up the event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from accord.journal.group import Journal
from accord.journal.operations import Accept
from accord.journal.reads import SEARCHES_MAX
from accord.journal.search import MessageQuery
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_reads import SqliteReads
from accord.testing.journal_suite import message


class _Slow(SqliteStore):
    """Its searches wait until they are let go; ``at_once`` is how many waited together."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = threading.Event()
        self.at_once = 0
        self._now_searching = 0

    def reader(self) -> SqliteReads:
        self._now_searching += 1
        self.at_once = max(self.at_once, self._now_searching)
        assert self.go.wait(10)
        self._now_searching -= 1
        return super().reader()


def test_commits_go_on_while_searches_read(tmp_path: Path) -> None:
    async def run() -> None:
        store = _Slow(tmp_path / "journal.db")
        journal = Journal(store)
        journal.open()
        await journal.submit(Accept((message(1),)))
        searches = [asyncio.create_task(journal.reads.messages(MessageQuery(flow="f"))) for _ in range(5)]
        await asyncio.sleep(0)
        await journal.submit(Accept((message(2),)))
        assert not any(search.done() for search in searches)
        store.go.set()
        found: list[list[Any]] = await asyncio.gather(*searches)
        assert [len(rows) for rows in found] == [2] * 5
        assert store.at_once <= SEARCHES_MAX
        await journal.close()

    asyncio.run(run())


def test_a_store_without_readers_is_searched_inline() -> None:
    async def run() -> None:
        journal = Journal(MemoryStore())
        journal.open()
        await journal.submit(Accept((message(1),)))
        assert len(await journal.reads.messages()) == 1
        await journal.close()

    asyncio.run(run())
