"""What an embedded store answers for some parts only, for the hub that stands before it. Parts are given as a mask: bit p is part p."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Protocol

from accord.journal.operations import Lease
from accord.journal.shared import PARTS
from accord.journal.store import Store

ALL_PARTS = -1
_WRAP = 1 << PARTS


def mask_of(parts: Iterable[int]) -> int:
    """As a signed number of 64 bits, which is what SQLite and msgpack take."""
    mask = sum({1 << part for part in parts})
    return mask - _WRAP if mask >= _WRAP // 2 else mask


def is_in(mask: int, part: int) -> bool:
    return bool((mask >> part) & 1)


class PartedStore(Store, Protocol):
    """A Store that several engines use through a hub. ReleaseDue and ReleaseHeld keep to their ``parts`` as well."""

    def lease_of(self, parts: int, flow: str, after_seq: int, limit: int) -> list[Lease]: ...

    def held_of(self, parts: int) -> dict[str, int]: ...

    def next_due_of(self, parts: int) -> dt.datetime | None: ...

    def open_counts_of(self, parts: int) -> dict[str, int]:
        """Flow → open messages."""
        ...

    def recover(self, parts: int) -> None:
        """The open messages of these parts are recovered from now on, as all are when the store is opened: their owner died."""
        ...
