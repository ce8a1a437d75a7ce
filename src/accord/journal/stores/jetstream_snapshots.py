"""Snapshots of the state, beside the log: so that the log can be trimmed and an empty machine need not read all of it.

Two objects take turns in the object store ``<stream>-snapshots`` (ADR-20 of NATS: chunks, SHA-256). Each says in its description which
position of the log it holds. The log is kept from the older of the two on, so that either can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
from nats.js import JetStreamContext, api
from nats.js import errors as js_errors
from nats.js.object_store import ObjectStore

from accord.errors import JournalError
from accord.journal.stores.jetstream_entries import Position, decode_position, encode_entry
from accord.journal.stores.jetstream_faults import unavailable

STALLED_S = 10.0  # without a chunk: the fetch is given up
_SLOTS = ("a", "b")
_ERRORS = (nats.errors.Error, OSError, TimeoutError)


class Snapshot(msgspec.Struct, frozen=True):
    slot: str
    position: Position
    size_bytes: int


class Snapshots:
    """Raises JournalError ``journal.unavailable`` when the object store cannot be used."""

    def __init__(self, context: Callable[[], JetStreamContext], stream: str, replicas: int) -> None:
        self._context = context
        self._bucket = f"{stream}-snapshots"
        self._replicas = replicas

    async def _objects(self) -> ObjectStore:
        js = self._context()
        try:
            return await js.object_store(self._bucket)
        except js_errors.BucketNotFoundError:
            config = api.ObjectStoreConfig(
                description="Snapshots of an Accord project's journal.",
                storage=api.StorageType.FILE,
                replicas=self._replicas,
            )
            return await js.create_object_store(self._bucket, config)

    async def found(self) -> list[Snapshot]:
        """The newest first."""
        try:
            objects = await self._objects()
            snapshots = []
            for slot in _SLOTS:
                try:
                    info = await objects.get_info(slot)
                except js_errors.NotFoundError:
                    continue
                position = decode_position(bytes.fromhex(info.description or ""))
                snapshots.append(Snapshot(slot, position, info.size or 0))
        except _ERRORS as error:
            raise unavailable(error) from error
        return sorted(snapshots, key=lambda snapshot: -snapshot.position.seq)

    async def put(self, source: Path, position: Position) -> int:
        """In the place of the older one, which goes when the new one is whole. Returns the position's seq from which on the log is still
        needed: the other one's, or 0."""
        known = await self.found()
        slot = next((s for s in _SLOTS if s not in {k.slot for k in known}), "") or known[-1].slot
        meta = api.ObjectMeta(description=encode_entry(position).hex())
        try:
            with source.open("rb") as data:
                await (await self._objects()).put(slot, data, meta=meta)
        except _ERRORS as error:
            raise unavailable(error) from error
        return max((s.position.counted for s in known if s.slot != slot), default=0)

    async def fetch(self, snapshot: Snapshot, to: Path) -> None:
        """Checked against its digest. Raises JournalError ``journal.unavailable``, also when it comes no further."""
        with to.open("wb", buffering=0) as file:
            watched = _Watched(file)
            get = asyncio.ensure_future((await self._objects()).get(snapshot.slot, writeinto=watched))  # type: ignore[arg-type]
            try:
                await _while_it_moves(get, lambda: watched.written)
            except js_errors.DigestMismatchError as error:
                raise JournalError(
                    "A snapshot of the journal is damaged.",
                    mend="Remove that object from the object store; the older one is used then.",
                    code="journal.corrupt",
                ) from error
            except _ERRORS as error:
                raise unavailable(error) from error


async def _while_it_moves(work: asyncio.Future[Any], progress: Callable[[], int]) -> None:
    before = -1
    while True:
        done, _ = await asyncio.wait([work], timeout=STALLED_S)
        if done:
            await work
            return
        if progress() == before:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise TimeoutError("the snapshot comes no further")
        before = progress()


class _Watched:
    """A file that counts what was written to it."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        return len(data)
