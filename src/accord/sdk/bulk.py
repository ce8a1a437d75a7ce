"""The bulk part of the connector contract: reading and writing batches of columns.

A connection whose capabilities say ``bulk_read`` or ``bulk_write`` implements ``BulkSource`` or ``BulkTarget``. The engine serves
all others page by page, so a connector needs this only for speed, for loading modes, or for reading in parallel.

A load survives kill -9 at any instant because position and data move together: the engine names every chunk by a number that is
the same on every attempt, and asks the target first which chunks it already has. A target keeps the number in the transaction
of the data (tables), or in the name of a file that is moved into place whole (files). What is written under way and shown only
at the end (``replace``, ``history``, ``delete_missing``) is staged; ``finish`` shows it in one step and may be called again.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from accord.record import Entity, Field, Reject
from accord.record.batch import Batch

if TYPE_CHECKING:
    import polars

CHUNK_ROWS = 50_000  # rows of one chunk: large enough for columns to pay, small enough that a dozen fit in memory


class LoadMode(enum.StrEnum):
    APPEND = "append"
    UPSERT = "upsert"
    REPLACE = "replace"  # the new rows take the place of all old ones, in one step
    DELETE_MISSING = "delete_missing"  # upsert, then rows whose key was not read are deleted
    HISTORY = "history"  # slowly changing dimension type 2: old versions are closed, not overwritten

    @property
    def is_staged(self) -> bool:
        """Chunks are collected beside the target."""
        return self in (LoadMode.REPLACE, LoadMode.DELETE_MISSING, LoadMode.HISTORY)

    @property
    def is_shown_at_end(self) -> bool:
        """The target changes when the load finishes, not chunk by chunk."""
        return self in (LoadMode.REPLACE, LoadMode.HISTORY)


class BulkRead(msgspec.Struct, frozen=True, kw_only=True):
    """What to read. ``position``: where an earlier read stopped (None: the beginning). ``fields``: only these are needed (None: all).

    ``since``: only records whose ``cursor`` field is at or after this value (typed as the field); the engine has already taken
    the overlap off it. ``until``: only records whose ``cursor`` is below it. Rows come ordered by cursor and key when ``cursor`` is
    given, in the source's own lasting order otherwise.

    ``as_written``: fields whose written form shows in what becomes of them. A row in which one of them does not have the form that its
    column keeps (a decimal without needless zeros, a time in UTC) is told among the odd ones, as it was written.

    ``partitions``: how many connections read at once (capability ``bulk_partitions``); batches and positions are the same for any number.
    Where several machines read, at most so many at once; 1: each of their cores.
    """

    position: Any = None
    fields: frozenset[str] | None = None
    rows: int = CHUNK_ROWS
    cursor: str = ""
    since: Any = None
    until: Any = None
    as_written: frozenset[str] = frozenset()
    partitions: int = 1

    def fields_of(self, entity: Entity) -> dict[str, Field]:
        """Those of the entity's fields that are asked for."""
        return {n: f for n, f in entity.fields.items() if self.fields is None or n in self.fields}


class BulkSource(Protocol):
    def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """Batches of at most ``request.rows`` rows, the last one marked. Memory is bounded by a few batches. Raises ReadFailed."""
        ...


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One load. ``id`` is the same when a killed load is taken up again. ``key``: the fields that identify a record of the target.

    ``deleted_share_max``: DELETE_MISSING refuses to delete more than this share of the target's rows. ``started``: ISO 8601, the time
    from which HISTORY says versions are valid.
    """

    id: str
    mode: LoadMode
    key: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    deleted_share_max: float = 0.2
    started: str = ""

    def digest_of(self, entity: Entity) -> str:
        """16 hex digits that name this load of this entity: of several loads of one run, each has its own."""
        return hashlib.blake2b(f"{self.id}/{entity.name}".encode(), digest_size=8).hexdigest()


class Chunk(msgspec.Struct, frozen=True):
    """``number`` counts from 0 and is the same on every attempt, as are the rows of a chunk. ``frame`` is in the target's types.
    ``attempt``: opaque; what a target that keeps a ledger keeps with the chunk. ``staged``: what the load's own stager has made of the
    rows in another process (``accord.sdk.spread``); ``frame`` is empty then."""

    number: int
    frame: polars.DataFrame
    attempt: str = ""
    staged: Any = None


class RowReject(msgspec.Struct, frozen=True):
    """A row the target refused for good. ``row``: its index in the chunk's frame."""

    row: int
    reason: str
    path: str = ""
    code: str = "connector.rejected"


class Written(msgspec.Struct, frozen=True):
    """What came of a chunk: every row is in ``rejects`` or was written. ``was_there``: the target had the whole chunk already;
    ``rejects`` is then what it refused the first time, and ``attempt`` what the chunk was given with then."""

    rows: int
    rejects: tuple[RowReject, ...] = ()
    was_there: bool = False
    attempt: str = ""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The whole load, as the target counts it; None where it cannot tell."""

    inserted: int | None = None
    updated: int | None = None
    unchanged: int | None = None
    deleted: int | None = None


class LedgerEntry(msgspec.Struct, frozen=True):
    """What a target keeps of a chunk, or of the end of a load, in the transaction of the data."""

    rows: int = 0
    rejects: tuple[RowReject, ...] = ()
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int | None = None
    attempt: str = ""

    @property
    def written(self) -> Written:
        """The answer to a repeat."""
        return Written(self.rows, self.rejects, was_there=True, attempt=self.attempt)


def loaded_of(entries: Iterable[LedgerEntry]) -> Loaded:
    """All entries of a load together."""
    found = list(entries)
    deleted = [entry.deleted for entry in found if entry.deleted is not None]
    return Loaded(
        inserted=sum(entry.inserted for entry in found),
        updated=sum(entry.updated for entry in found),
        unchanged=sum(entry.unchanged for entry in found),
        deleted=sum(deleted) if deleted else None,
    )


def too_many_deleted(gone: int, total: int, share_max: float) -> Reject | None:
    """The guard of DELETE_MISSING: None when ``gone`` of ``total`` rows may be deleted."""
    if gone <= total * share_max:
        return None
    return Reject(
        f"{gone} of {total} rows were not read and would be deleted, more than {share_max:.0%} (`deleted_share_max`); nothing was "
        "deleted. If the source is right, raise the share for one run",
        code="connector.too-many-deleted",
    )


class Load(Protocol):
    """One load under way. Methods are called one after another, but for ``write``, of which the engine keeps ``at_once`` in flight.

    Trouble of the whole target is raised as ``accord.sdk.connector.LoadFailed``: Retry and Reconnect are tried again by the
    engine (the same chunk, the same number), Reject ends the load.

    ``tells``: ``known`` answers; where it does not, some rows of a chunk that was under way may be there and others not.
    """

    at_once: int
    tells: bool

    async def begin(self) -> None:
        """Opens the load or takes it up again."""
        ...

    async def write(self, chunk: Chunk) -> Written:
        """Durable when it returns. A chunk written before (same load, same number) is not written again."""
        ...

    async def known(self, number: int) -> Written | None:
        """What came of a chunk that was written before; None when nothing of it is there. Asked only where ``tells``."""
        ...

    async def finish(self) -> Loaded:
        """Every chunk has been written: merges, swaps, deletes. Repeating it changes nothing."""
        ...

    async def abandon(self) -> None:
        """The load will never be finished: removes what was staged. Rows of APPEND and UPSERT stay."""
        ...

    async def leave(self) -> None:
        """Always the last call, whatever came before: lets go of what is held open (a file, a lock). Undoes nothing, raises nothing."""
        ...


class BulkTarget(Protocol):
    def load(self, entity: Entity, spec: LoadSpec) -> Load:
        """No I/O yet."""
        ...
