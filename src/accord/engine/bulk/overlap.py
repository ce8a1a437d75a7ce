"""Reading changes by a cursor: where a run begins, and what of the overlap is known already.

The rule: a run reads every record whose cursor is at or after the largest one of all earlier runs less the overlap. So records with
equal values are not missed at the border, and one that was committed late, with an older value, is read as long as the overlap
reaches back to it (``full_every`` finds the others). A time that lies in the future when the run begins (a clock that is ahead, a typing
error) counts as the run's beginning: else everything until then would be passed over. Targets that upsert write what is read again
over itself. For those that append, the key and cursor of every record within the overlap are kept, and a record that is known is left
out.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from accord.engine.bulk.mapping import numbers_of
from accord.engine.bulk.reading import Read, cursor_value
from accord.errors import AccordError
from accord.flow.bulk.compile import BulkFlow
from accord.record import Reject
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import ReadFailed
from accord.sdk.http import encode_json

SEEN_MAX = 50_000  # records of an overlap whose identity is kept: about 2 MB of journal


class BulkFault(AccordError):
    """Why a run cannot go on."""

    code = "engine.bulk-failed"


def since_of(watermark: Any, overlap: dt.timedelta | int) -> Any:
    """``watermark`` in the cursor's type; None when there is none yet."""
    if watermark is None:
        return None
    if isinstance(watermark, dt.date) and not isinstance(watermark, dt.datetime) and isinstance(overlap, dt.timedelta):
        return watermark - dt.timedelta(days=-(-overlap // dt.timedelta(days=1)))
    return watermark - overlap


class SeenPart(msgspec.Struct, frozen=True):
    """What ``Seen`` takes of a chunk: the largest cursor value, and (cursor value, identity) of rows within the overlap before it."""

    largest: Any = None
    pairs: tuple[tuple[Any, str], ...] = ()


class Seen:
    """The largest cursor value so far, of times none after the run's beginning, and, for flows that append, the records of the overlap.
    Chunk after chunk: ``known`` before it is mapped, ``add`` in the same order once it is written."""

    def __init__(self, flow: BulkFlow, largest: Any, kept: bytes | None, began: dt.datetime) -> None:
        self._flow = flow
        self._field = flow.spec.read.cursor
        self.largest = largest
        self._began = began
        self.is_needed = bool(self._field) and any(write.mode is LoadMode.APPEND for write in flow.writes)
        pairs = msgspec.json.decode(kept, type=list[tuple[Any, str]]) if kept and self.is_needed else []
        self._seen: dict[str, Any] = {digest: self._typed(value) for value, digest in pairs}

    def _typed(self, value: Any) -> Any:
        return cursor_value(value, self._flow.source.fields[self._field])

    def known(self, read: Read) -> frozenset[int]:
        if not self.is_needed or not self._seen:
            return frozenset()
        upto = max(self._seen.values())
        return frozenset(
            number for number, value, digest in self._identities(read) if value <= upto and digest in self._seen
        )

    def part_of(self, read: Read) -> SeenPart:
        if not self._field:
            return SeenPart()
        values = [v for v in [read.batch.frame[self._field].max(), *self._odd_values(read)] if v is not None]
        largest = max((self._bounded(value) for value in values), default=None)
        if not self.is_needed or largest is None:
            return SeenPart(largest)
        least = since_of(largest, self._flow.overlap)
        return SeenPart(largest, tuple((value, digest) for _, value, digest in self._identities(read, least)))

    def part_kept(self, largest: Any, pairs: Sequence[tuple[Any, str]]) -> SeenPart:
        """As the journal has it."""
        if not self._field:
            return SeenPart()
        return SeenPart(self._typed(largest), tuple((self._typed(value), digest) for value, digest in pairs))

    def add(self, part: SeenPart) -> None:
        """Raises ReadFailed when the overlap holds more records than can be kept."""
        if part.largest is None:
            return
        self.largest = part.largest if self.largest is None else max(self.largest, part.largest)
        if not self.is_needed:
            return
        least = since_of(self.largest, self._flow.overlap)
        found = {**self._seen, **{digest: value for value, digest in part.pairs}}
        self._seen = {digest: value for digest, value in found.items() if value >= least}
        if len(self._seen) > SEEN_MAX:
            reason = (
                f"more than {SEEN_MAX} records of {self._flow.source.name} lie within the overlap of {self._flow.overlap}"
                f" before {self.largest}: shorten 'overlap', or load with mode upsert"
            )
            raise ReadFailed(Reject(reason, self._field, "engine.bulk-overlap"))

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, dt.datetime):
            return min(value, self._began)
        return min(value, self._began.date()) if isinstance(value, dt.date) else value

    def position(self) -> bytes:
        return msgspec.json.encode([(value, digest) for digest, value in self._seen.items()])

    def _odd_values(self, read: Read) -> Iterator[Any]:
        field = self._flow.source.fields[self._field]
        return (cursor_value(odd.record.get(self._field), field) for odd in read.batch.odd)

    def _identities(self, read: Read, least: Any = None) -> Iterator[tuple[int, Any, str]]:
        """(number, cursor value, digest of key and cursor) of the rows at or after ``least``."""
        import polars as pl

        names = [*self._flow.source.key, self._field]
        frame = read.batch.frame
        if frame.height:
            numbered = frame.select(names).with_columns(pl.Series("~number", numbers_of(read)))
            kept = numbered.filter(pl.col(self._field).is_not_null())
            if least is not None:
                kept = kept.filter(pl.col(self._field) >= least)
            for *values, number in kept.iter_rows():
                yield number, values[-1], _digest(values)
        for odd, value in zip(read.batch.odd, self._odd_values(read), strict=True):
            if value is not None and (least is None or value >= least):
                yield odd.number, value, _digest([*(odd.record.get(name) for name in names[:-1]), value])


def _digest(values: list[Any]) -> str:
    return base64.b85encode(hashlib.blake2b(encode_json(values), digest_size=9).digest()).decode()
