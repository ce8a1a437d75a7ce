"""Snapshots of the state, beside the log: so that the log can be trimmed and an empty machine need not read all of it.

Two objects take turns in the object store ``<stream>-snapshots`` (ADR-20 of NATS: chunks, SHA-256). Each says in its description which
position of the log it holds. The log is kept from the older of the two on, so that either can be used: that one counts only when all of
it was read and its digest fits, for a put that was cut off or a lost answer leaves a description without its chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
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
from accord.journal.stores.jetstream_faults import snapshot_damaged, unavailable

STALLED_S = 10.0  # without a chunk: the fetch is given up
_SLOTS = ("a", "b")
_ERRORS = (nats.errors.Error, OSError, TimeoutError)


class Snapshot(msgspec.Struct, frozen=True):
    """``id`` names this very copy: another one in its slot has another."""

    slot: str
    position: Position
    size_bytes: int
    id: str
    chunks: int


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
                snapshots.append(Snapshot(slot, position, info.size or 0, info.nuid or "", info.chunks or 0))
        except _ERRORS as error:
            raise unavailable(error) from error
        return sorted(snapshots, key=lambda snapshot: -snapshot.position.seq)

    async def put(self, source: Path, position: Position) -> int:
        """In the place of one that is not whole or of another log, or else of the older one. Returns the seq from which on the log is still
        needed: that of the one kept, or 0 when nothing may be trimmed, because the two were not seen to be whole. A copy that is no newer
        than what is there is not put."""
        own = [s for s in await self.found() if s.position.log == position.log]
        kept = await self._first_whole(own)
        if kept is not None and kept.position.seq >= position.seq:
            return 0
        slot = next(s for s in _SLOTS if kept is None or s != kept.slot)
        await self._write(slot, source, position)
        now = {s.slot: s for s in await self.found()}
        new = now.get(slot)
        if kept is None or now.get(kept.slot) != kept or new is None or new.position != position:
            return 0
        return min(kept.position.counted, position.counted) if await self._is_whole(new) else 0

    async def _first_whole(self, snapshots: Sequence[Snapshot]) -> Snapshot | None:
        for snapshot in snapshots:
            if await self._is_whole(snapshot):
                return snapshot
        return None

    async def _is_whole(self, snapshot: Snapshot) -> bool:
        try:
            await self._read(snapshot, None)
        except JournalError as error:
            if error.code != "journal.corrupt":
                raise
            return False
        return True

    async def _write(self, slot: str, source: Path, position: Position) -> None:
        meta = api.ObjectMeta(description=encode_entry(position).hex())
        try:
            with source.open("rb") as data:
                await (await self._objects()).put(slot, data, meta=meta)
        except _ERRORS as error:
            raise unavailable(error) from error

    async def fetch(self, snapshot: Snapshot, to: Path) -> None:
        """Raises JournalError ``journal.corrupt`` when it is not whole, ``journal.unavailable``, also when it comes no further."""
        with to.open("wb", buffering=0) as file:
            await self._read(snapshot, file)

    async def _read(self, snapshot: Snapshot, file: FileIO | None) -> None:
        watched = _Watched(file)
        try:
            there = await self._chunks_of(snapshot)
            if there != snapshot.chunks:  # reading would wait for the rest
                raise snapshot_damaged(f"{there} of {snapshot.chunks} chunks are there")
            get = asyncio.ensure_future((await self._objects()).get(snapshot.slot, writeinto=watched))  # type: ignore[arg-type]
            await _while_it_moves(get, lambda: watched.written)
        except js_errors.DigestMismatchError as error:
            raise snapshot_damaged("its digest is another") from error
        except _ERRORS as error:
            raise unavailable(error) from error

    async def _chunks_of(self, snapshot: Snapshot) -> int:
        """As the leader has them."""
        subject = f"$O.{self._bucket}.C.{snapshot.id}"
        info = await self._context().stream_info(f"OBJ_{self._bucket}", subjects_filter=subject)
        return (info.state.subjects or {}).get(subject, 0)


async def _while_it_moves(work: asyncio.Future[Any], progress: Callable[[], int]) -> None:
    before = -1
    try:
        while not (await asyncio.wait([work], timeout=STALLED_S))[0]:
            if progress() == before:
                raise TimeoutError("the snapshot comes no further")
            before = progress()
        await work
    finally:
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


class _Watched:
    """Counts what is written, to the file if there is one."""

    def __init__(self, file: FileIO | None) -> None:
        self._file = file
        self.written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        view = memoryview(data)
        while self._file is not None and view:
            view = view[self._file.write(view) :]
        return len(data)
