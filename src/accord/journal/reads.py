"""How the engine reads any journal: every read is awaited, and keeps its place among the commits.

What a read tells is true until the next commit, so the engine must hear of it after the news of all earlier commits and before
that of any later one. An embedded store is read at once, without giving up the event loop. A server is read between two commits,
in their order: ``lease`` and ``next_of_key(s)``, on whose order the queues rely; the other reads need no order.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from accord.journal.operations import DeadLetterRow, Lease, MessageRow
from accord.journal.search import ANY, InDoubt, MessageQuery
from accord.journal.store import AsyncStore, Store

if TYPE_CHECKING:
    from accord.journal.stores.sqlite_reads import SqliteReads

_T = TypeVar("_T")

SEARCHES_MAX = 2  # at once; each may read the whole file, and the rest of the engine needs the disk too


class JournalReads(Protocol):
    """As ``Store`` says of each. All raise JournalError while the journal cannot be read."""

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]: ...

    async def next_of_key(self, flow: str, key: str) -> Lease | None: ...

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]: ...

    async def counts(self) -> dict[tuple[str, str], int]: ...

    async def held(self) -> dict[str, int]: ...

    async def next_due(self) -> dt.datetime | None: ...

    async def cursor(self, name: str) -> bytes | None: ...

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]: ...

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]: ...

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]: ...

    async def in_doubt(self) -> list[InDoubt]: ...

    async def size_bytes(self) -> int: ...


class InlineReads:
    """Reads of an embedded store: nothing else runs while they do.

    A search may read the whole journal; it runs in a thread where the store has readers for others (``reader``).
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searches = asyncio.Semaphore(SEARCHES_MAX)

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        return self._store.lease(flow, after_seq, limit)

    async def next_of_key(self, flow: str, key: str) -> Lease | None:
        return self._store.next_of_key(flow, key)

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        return [self._store.next_of_key(flow, key) for key in keys]

    async def counts(self) -> dict[tuple[str, str], int]:
        return self._store.counts()

    async def held(self) -> dict[str, int]:
        return self._store.held()

    async def next_due(self) -> dt.datetime | None:
        return self._store.next_due()

    async def cursor(self, name: str) -> bytes | None:
        return self._store.cursor(name)

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        return self._store.references(queries)

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        return self._store.dead_letters(flow=flow, after_seq=after_seq, limit=limit)

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        return await self._search(lambda reads: reads.messages(query))

    async def in_doubt(self) -> list[InDoubt]:
        return await self._search(lambda reads: reads.in_doubt())

    async def _search(self, ask: Callable[[Store | SqliteReads], list[_T]]) -> list[_T]:
        reader: Callable[[], SqliteReads] | None = getattr(self._store, "reader", None)
        if reader is None:
            return ask(self._store)

        def search() -> list[_T]:
            with contextlib.closing(reader()) as reads:
                return ask(reads)

        async with self._searches:
            return await asyncio.to_thread(search)

    async def size_bytes(self) -> int:
        return self._store.size_bytes()


class OrderedReads:
    """Reads of a server. ``order`` is held by every commit until its news has been told."""

    def __init__(self, store: AsyncStore, order: asyncio.Lock) -> None:
        self._store = store
        self._order = order
        self._asked: list[tuple[str, str, asyncio.Future[Lease | None]]] = []
        self._answering: asyncio.Task[None] | None = None
        self.counts = store.counts
        self.held = store.held
        self.next_due = store.next_due
        self.cursor = store.cursor
        self.references = store.references
        self.dead_letters = store.dead_letters
        self.messages = store.messages
        self.in_doubt = store.in_doubt
        self.size_bytes = store.size_bytes

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        async with self._order:
            return await self._store.lease(flow, after_seq, limit)

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        async with self._order:
            return await self._store.next_of_keys(flow, keys)

    async def next_of_key(self, flow: str, key: str) -> Lease | None:
        """What is asked while a commit is under way is answered together after it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Lease | None] = loop.create_future()
        self._asked.append((flow, key, future))
        if self._answering is None:
            self._answering = loop.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        try:
            while self._asked:
                async with self._order:
                    asked, self._asked = self._asked, []
                    await self._answer_together(asked)
        finally:
            self._answering = None

    async def _answer_together(self, asked: list[tuple[str, str, asyncio.Future[Lease | None]]]) -> None:
        by_flow: dict[str, list[tuple[str, asyncio.Future[Lease | None]]]] = {}
        for flow, key, future in asked:
            by_flow.setdefault(flow, []).append((key, future))
        for flow, ones in by_flow.items():
            try:
                found = await self._store.next_of_keys(flow, [key for key, _ in ones])
            except Exception as error:  # noqa: BLE001 (whatever it is, those who asked must hear it)
                for _, future in ones:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), lease in zip(ones, found, strict=True):
                if not future.done():
                    future.set_result(lease)
