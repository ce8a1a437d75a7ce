"""Reading in parts, each by any process: what a connector offers to a bulk flow whose rows are worked on by several machines.

A connection whose capabilities say ``bulk_spread`` implements ``SpreadSource``. A part is sent to another process (pickled) with all it
needs to be read there: addresses, credentials, declarations; never a live connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    async def parts(self, entity: Entity, request: BulkRead) -> Sequence[ReadPart]:
        """All that ``read_bulk`` would read, in the same order. A read taken up at the position of any batch gives the parts after
        it. Raises ReadFailed."""
        ...

    def heard(self, notes: Mapping[str, str]) -> None:
        """What the parts noted where they were read; before ``settled`` is called for their files."""
        ...
