"""A target that takes chunks: a connector's own load, or any connector's ``write``, record by record with lasting effect ids."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from accord.engine.delivery import Port, spread
from accord.flow.bulk.write import BulkWrite
from accord.mapping.columns.dtypes import records_of
from accord.record import Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.bulk import BulkTarget, Chunk, Load, Loaded, LoadSpec, RowReject, Written
from accord.sdk.connector import LoadFailed, WriteItem, WriteMode


def load_of(write: BulkWrite, port: Port, spec: LoadSpec) -> Load:
    if write.is_native:
        target: BulkTarget = port.connection  # type: ignore[assignment]
        return target.load(write.entity, spec)
    assert write.row_mode is not None, "the check lets only these through"
    return ItemLoad(port, write, write.row_mode, spec)


class ItemLoad:
    """A Load on ``Connection.write``. What a target promises for a single write is what is promised here: see ``accord check``."""

    at_once = 1
    tells = False

    def __init__(self, port: Port, write: BulkWrite, mode: WriteMode, spec: LoadSpec) -> None:
        self._connection = port.connection
        self._items_max = max(1, port.items_max.get(write.entity.name, 1))
        self._write = write
        self._mode = mode
        self._spec = spec
        self._first = True  # a chunk that was under way when the process died may be there in part
        self._done: dict[int, Outcome] = {}  # of the chunk that failed in its middle
        self._number = -1

    async def begin(self) -> None:
        return None

    async def write(self, chunk: Chunk) -> Written:
        if chunk.number != self._number:
            self._number, self._done = chunk.number, {}
        records = records_of(chunk.frame, self._write.entity.fields)
        items = [
            WriteItem(self._effect_id(chunk.number, row), record, in_doubt=self._first)
            for row, record in enumerate(records)
        ]
        for start in range(0, len(items), self._items_max):
            rows = [row for row in range(start, min(start + self._items_max, len(items))) if row not in self._done]
            if rows:
                await self._send(items, rows)
        self._first = False
        rejects = [
            RowReject(row, outcome.reason, outcome.path, outcome.code)
            for row, outcome in sorted(self._done.items(), key=lambda one: one[0])
            if isinstance(outcome, Reject)
        ]
        return Written(len(items) - len(rejects), tuple(rejects))

    async def _send(self, items: list[WriteItem], rows: list[int]) -> None:
        outcome = await self._connection.write(self._write.entity, self._mode, [items[row] for row in rows])
        if isinstance(outcome, Reject) and len(rows) > 1:
            for row in rows:  # one of them spoils the others
                await self._send(items, [row])
            return
        failed: Retry | Reconnect | None = None
        for row, one in zip(rows, spread(outcome, len(rows)), strict=True):
            if isinstance(one, Done | Reject):
                self._done[row] = one
            else:
                failed = failed or one
        if failed is not None:
            self._first = True
            raise LoadFailed(failed)

    async def known(self, number: int) -> Written | None:
        return None

    async def finish(self) -> Loaded:
        return Loaded()

    async def abandon(self) -> None:
        return None

    async def leave(self) -> None:
        return None

    def _effect_id(self, chunk: int, row: int) -> str:
        return hashlib.blake2b(f"{self._spec.id}/{chunk}/{row}".encode(), digest_size=16).hexdigest()


def joined_sums(a: str, b: str) -> str:
    """Of all the rows of both."""
    return f"{(int(a, 16) + int(b, 16)) % 2**64:x}"


def sum_of(frame: Any) -> str:
    """A checksum of rows: their hashes summed up, so that their order does not count."""
    return _sum(_hashes(frame))


def sum_and_order_of(frame: Any) -> tuple[str, str]:
    """The checksum, and one that is another when the rows come in another order."""
    hashes = _hashes(frame)
    if not len(hashes):
        return "0", ""
    import polars as pl

    places = pl.int_range(1, len(hashes) + 1, eager=True, dtype=pl.UInt64)
    return _sum(hashes), _sum((hashes % 2**31) * (places % 2**31))


def _sum(hashes: Any) -> str:
    high, low = (hashes // 2**32).sum(), (hashes % 2**32).sum()  # the sum of the whole would overflow
    return f"{(high * 2**32 + low) % 2**64:x}"


def _hashes(frame: Any) -> Any:
    """Of each row."""
    try:
        return frame.hash_rows(seed=0)
    except Exception:  # noqa: BLE001 - Polars cannot hash every nested type
        return frame.select(row=_as_text(frame))["row"].hash(seed=0)


def _as_text(frame: Any) -> Any:
    import polars as pl

    return pl.struct(pl.all()).struct.json_encode()


async def in_gate(port: Port, lane: Any, work: Callable[[], Awaitable[Any]]) -> Any:
    """Does one request inside the system's gate; waits here until its budget has room, since a pass that began anew would need as much
    of it again. Raises LoadFailed(Reconnect) when it may not be tried now."""
    gate = port.gate
    while not gate.enter_now() and not await gate.enter(lane):
        if await gate.budget_waited(lane):
            continue
        raise LoadFailed(Reconnect(gate.why_not, after_s=max(gate.wait_s(), gate.budget_wait_s(lane))))
    outcome: Outcome | None = None
    try:
        result = await work()
        outcome = Done()
        return result
    except Exception as error:
        outcome = getattr(error, "outcome", None) or Retry("the connector failed unexpectedly")
        raise
    finally:
        gate.leave(outcome)
