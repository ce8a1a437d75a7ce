"""Reads the log and holds the state on this machine against it. Works beside a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from accord.journal.stores.jetstream_entries import Position, advance, decode_entry, decode_position
from accord.journal.stores.jetstream_log import LogSettings, LogStream, Raw
from accord.journal.stores.jetstream_snapshots import Snapshots


def verify_log(settings: LogSettings, position: bytes | None) -> list[str]:
    """The violations found, empty when all is well. ``position`` is what the local state keeps as its position.

    Raises JournalError ``journal.unavailable``, ``journal.stream``.
    """
    return asyncio.run(_verify(settings, Position() if position is None else decode_position(position)))


async def _verify(settings: LogSettings, local: Position) -> list[str]:
    log = LogStream(settings, lambda _why: None)
    await log.connect()
    try:
        extent = await log.find()
        snapshots = (
            await Snapshots(lambda: log.context, log.stream, settings.replicas).found() if extent.first > 1 else []
        )
        positions = [("the state on this machine", local)] if local.counted else []
        positions += [(f"snapshot {snapshot.slot}", snapshot.position) for snapshot in snapshots]
        return [found async for found in _violations(log, extent.first, extent.last, positions)]
    finally:
        await log.close()


async def _violations(
    log: LogStream, first: int, last: int, positions: list[tuple[str, Position]]
) -> AsyncIterator[str]:
    for name, position in positions:
        if position.counted > last:
            yield f"{name} has applied entry {position.counted}, the log ends at {last}"
        if position.seq + 1 < first:
            yield f"{name} ends at entry {position.seq}, the log begins at {first}: a newer snapshot is needed"
    at = Position(seq=first - 1)
    async for raw in _messages(log, first, last):
        try:
            entry = decode_entry(raw.data)
        except ValueError as error:
            yield f"entry {raw.seq} cannot be read: {error}"
            return
        if raw.seq == first:  # the log is trimmed up to an entry that counted
            at = Position(seq=first - 1, digest=entry.after)
        at, _ = advance(at, raw.seq, entry, raw.data)
        for name, position in positions:
            if position.counted == raw.seq and position.digest != at.digest:
                yield f"{name} differs from the log at entry {raw.seq}: checksum {position.digest.hex()}, not {at.digest.hex()}"
    if at.seq < last:
        yield f"entry {at.seq + 1} is missing, the log ends at {last}"


async def _messages(log: LogStream, first: int, last: int) -> AsyncIterator[Raw]:
    seq = first
    while seq <= last:
        raws = await log.read(seq)
        if not raws:
            return
        for raw in raws:
            yield raw
        seq += len(raws)
