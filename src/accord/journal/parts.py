"""What an embedded store answers for some parts only, for the hub that stands before it. Parts are given as a mask: bit p is part p."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from accord.errors import JournalError
from accord.journal.operations import Lease, Operation
from accord.journal.shared import PARTS, part_of
from accord.journal.store import Store

ALL_PARTS = -1
_WRAP = 1 << PARTS


def mask_of(parts: Iterable[int]) -> int:
    """As a signed number of 64 bits, which is what SQLite and msgpack take."""
    mask = sum({1 << part for part in parts})
    return mask - _WRAP if mask >= _WRAP // 2 else mask


def is_in(mask: int, part: int) -> bool:
    return bool((mask >> part) & 1)


def not_owner(flow: str, key: str) -> JournalError:
    return JournalError(
        f"A message of flow {flow} belongs to part {part_of(flow, key)}, which is not this member's.",
        mend="Its owner must accept it; the next census tells who that is.",
        code="journal.not-owner",
    )


class PartedStore(Store, Protocol):
    """A Store that several engines use through a hub. What it does for some parts only is what ``SharedStore`` says."""

    def commit_of(self, groups: Sequence[tuple[int, Sequence[Operation]]]) -> list[Any]:
        """As ``commit`` of all operations in one transaction, each group of them by the owner of these parts. Also raises JournalError
        ``journal.not-owner``."""
        ...

    def lease_of(self, parts: int, flow: str, after_seq: int, limit: int) -> list[Lease]: ...

    def held_of(self, parts: int) -> dict[str, int]: ...

    def next_due_of(self, parts: int) -> dt.datetime | None: ...

    def open_counts_of(self, parts: int) -> dict[str, int]:
        """Flow → open messages."""
        ...

    def recover(self, parts: int) -> None:
        """The open messages of these parts are recovered from now on, as all are when the store is opened: their owner died."""
        ...
