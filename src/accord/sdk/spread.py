"""Reading in parts and writing chunks, each by any process: what a connector offers to a bulk flow that several machines work on.

A connection whose capabilities say ``bulk_spread`` implements ``SpreadSource``. A part is sent to another process (pickled) with all it
needs to be read there: addresses, credentials, declarations; never a live connection. The engine sends it in an encrypted envelope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from accord.record import Entity
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead

if TYPE_CHECKING:
    import polars


class ReadPart(Protocol):
    """A stretch of what is read."""

    @property
    def ended(self) -> tuple[str, ...]:
        """Files that have been read to their end with it."""
        ...

    def batches(self, notes: dict[str, str]) -> Iterator[Batch]:
        """As ``BulkSource.read_bulk``; blocking. What the connection must hear of is put in ``notes``. Raises ReadFailed."""
        ...


class SpreadSource(Protocol):
    def parts(self, entity: Entity, request: BulkRead) -> AbstractAsyncContextManager[Sequence[ReadPart]]:
        """All that ``read_bulk`` would read, in the same order and the same batches, whatever was read before. Parts can be read
        until the context ends: it may hold what they share, such as a snapshot. Entering raises ReadFailed."""
        ...

    def heard(self, notes: Mapping[str, str]) -> None:
        """What the parts noted where they were read; before ``settled`` is called for their files."""
        ...


class Stager(Protocol):
    """Writes rows beside a target, where nobody sees them. Sent to other processes (pickled), like a ``ReadPart``."""

    def stage(self, frame: polars.DataFrame) -> Any:
        """The rows of one chunk, lasting when it returns; blocking. What is returned is sent to the load (pickled) and comes back in
        ``Chunk.staged``, once, in another try, or never. Raises LoadFailed."""
        ...


@runtime_checkable
class SpreadLoad(Protocol):
    """A ``Load`` whose chunks other processes may write; numbers, order and ledger stay the load's. It refuses no row for good."""

    async def stager(self) -> Stager:
        """For the chunks of this load until ``leave``; called after ``begin``. What a stager of an earlier one has left is nobody's.
        Raises LoadFailed."""
        ...
