"""The contract of a journal store. Every store passes the same suite (``accord.testing.journal_suite``)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

from accord.journal.operations import DeadLetterRow, Lease, MessageRow, Operation


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

    def messages(
        self, *, flow: str = "", key: str = "", id: str = "", state: str = "", after_seq: int = 0, limit: int = 100
    ) -> list[MessageRow]: ...

    def size_bytes(self) -> int: ...
