"""The contract of a journal store. Every store passes the same suite (``accord.testing.journal_suite``).

A store is synchronous (an embedded file: the group commit calls it inline) or asynchronous (a server: ``AsyncStore``). Both say
and promise the same; ``accord.journal.reads.JournalReads`` is how the engine reads either.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

from accord.errors import JournalError
from accord.journal.operations import DeadLetterRow, Lease, MessageRow, Operation
from accord.journal.search import ANY, InDoubt, MessageQuery


class Store(Protocol):
    """Synchronous and single-threaded: the group commit calls it from the event loop's thread.

    ``commit`` returns after the transaction is durable (fsync). If it raises JournalError, nothing of the group was kept;
    ``JournalFull`` says that the disk is full and that trying again later makes sense.
    """

    def open(self) -> None:
        """Creates or migrates. Marks all open messages as recovered."""
        ...

    def close(self) -> None: ...

    def commit(self, operations: Sequence[Operation]) -> list[Any]: ...

    # reads (see committed state only)

    def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        """Eligible messages of a flow with seq > after_seq, by seq. Does not change anything: who holds what is the engine's memory."""
        ...

    def next_of_key(self, flow: str, key: str) -> Lease | None:
        """The oldest open message of a flow and key, if any (whatever its open state)."""
        ...

    def counts(self) -> dict[tuple[str, str], int]:
        """(flow, state name in lower case) → number of messages. Cheap for open and dead; done may be a running counter."""
        ...

    def held(self) -> dict[str, int]:
        """system → messages held by it."""
        ...

    def next_due(self) -> dt.datetime | None: ...

    def cursor(self, name: str) -> bytes | None: ...

    def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        """(entity, key, wanted entity) → key there, through direct cross-references either way."""
        ...

    def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]: ...

    def messages(self, query: MessageQuery = ANY) -> list[MessageRow]: ...

    def in_doubt(self) -> list[InDoubt]:
        """Reads all open messages and dead letters."""
        ...

    def size_bytes(self) -> int: ...


class AsyncStore(Protocol):
    """A Store that waits for a server, with the same promises.

    The group commit has one ``commit`` under way at a time and reads ``lease`` and ``next_of_keys`` only between two commits.
    While the server cannot be reached, ``commit`` and reads raise JournalError ``journal.unavailable`` at once; the store
    reconnects by itself. A commit whose answer was lost waits until it is known what became of it.
    """

    is_async: ClassVar[Literal[True]] = True

    def unavailable(self) -> JournalError | None:
        """Why nothing can be committed at this moment; None when it can."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, operations: Sequence[Operation]) -> list[Any]: ...

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]: ...

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        """The oldest open message of each key, in the order of ``keys``."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]: ...

    async def held(self) -> dict[str, int]: ...

    async def next_due(self) -> dt.datetime | None: ...

    async def cursor(self, name: str) -> bytes | None: ...

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]: ...

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]: ...

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]: ...

    async def in_doubt(self) -> list[InDoubt]: ...

    async def size_bytes(self) -> int: ...
