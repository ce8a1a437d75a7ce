"""Reading in parts, each by any process: what a connector offers to a bulk flow whose rows are worked on by several machines.

A connection whose capabilities say ``bulk_spread`` implements ``SpreadSource``. A part is sent to another process (pickled) with all it
needs to be read there: addresses, credentials, declarations; never a live connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from accord.record import Entity
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead


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
