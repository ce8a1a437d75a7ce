"""Loads into a folder of files: a data set, as warehouses and notebooks read it.

Files of a chunk are written beside their place, synced, and moved in whole under names made of the load and the chunk's number.
Then a marker ``.accord-loads/<data set>/<load>/<chunk>.json`` says that the chunk is there. Files of a chunk without a marker
are removed when the load is taken up, so whatever instant it was killed at, each row is there once. ``replace`` fills a folder beside
the data set, which takes its place by two renames; for an instant between them there is none.

Other processes may write a chunk's files: into ``staged/<pass>`` beside the markers, a folder for each pass of a load. Here they are
moved in, under the same names and with the same marker. What a pass that was cut off has left there is nobody's, and goes when the
next begins.

Rows are divided by ``partition`` into folders ``field=value``, the convention of Hive, Spark, DuckDB and Polars.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from accord.connectors.files.dataset_files import DatasetFiles, FileStager, StagedFiles, failure_of, whole
from accord.connectors.files.spec import FilesEntity
from accord.record import Entity, Outcome
from accord.sdk.bulk import Chunk, LedgerEntry, Loaded, LoadMode, LoadSpec, Written, loaded_of
from accord.sdk.durable import sync_folder

T = TypeVar("T")
MARKERS = ".accord-loads"


class DatasetLoad:
    at_once = 1
    tells = True

    def __init__(
        self, root: Path, entity: Entity, extra: FilesEntity, spec: LoadSpec, outcome_of: Callable[[OSError], Outcome]
    ) -> None:
        self._is_replacing = spec.mode is LoadMode.REPLACE
        self._outcome_of = outcome_of
        self._load = spec.digest_of(entity)
        self._place = root / extra.dataset
        hidden = self._place.with_name(f".{self._place.name}.{self._load}")
        self._base = hidden if self._is_replacing else self._place
        self._old = self._place.with_name(f".{self._place.name}.{self._load}.old")
        self._markers = root / MARKERS / extra.dataset / self._load
        self._staged = self._markers / "staged"
        self._pass = self._staged / uuid.uuid4().hex
        self._files = DatasetFiles(
            entity, extra, tuple(name for name in entity.fields if not spec.fields or name in spec.fields)
        )

    async def begin(self) -> None:
        await self._work(self._begin)

    async def write(self, chunk: Chunk) -> Written:
        return await self._work(lambda: self._write(chunk))

    async def stager(self) -> FileStager:
        """See ``accord.sdk.spread.SpreadLoad``."""
        return await self._work(self._stager)

    async def known(self, number: int) -> Written | None:
        return await self._work(lambda: self._known(number))

    async def finish(self) -> Loaded:
        return await self._work(self._finish)

    async def abandon(self) -> None:
        await self._work(self._forget)

    async def leave(self) -> None:
        """Nothing is held open between chunks. What was staged and not taken is of no use to the next pass."""
        await asyncio.to_thread(shutil.rmtree, self._pass, True)

    def _forget(self) -> None:
        shutil.rmtree(self._staged, ignore_errors=True)
        if self._is_replacing:
            shutil.rmtree(self._markers, ignore_errors=True)
            shutil.rmtree(self._base, ignore_errors=True)

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except Exception as error:
            raise failure_of(error, self._outcome_of) from error

    def _begin(self) -> None:
        if not self._is_shown():
            self._base.mkdir(parents=True, exist_ok=True)
            if self._markers.exists():
                self._clear()
            self._markers.mkdir(parents=True, exist_ok=True)

    def _clear(self) -> None:
        """Removes what a pass that was cut off has left of a chunk without its marker: the chunk may come again with other rows, which
        belong into other folders."""
        shutil.rmtree(self._staged, ignore_errors=True)
        for path in list(self._base.rglob(f"*{self._load}-*")):
            number = path.name.lstrip(".").removeprefix(f"{self._load}-").split(".")[0]
            if not self._marker(int(number)).exists():
                path.unlink()
                sync_folder(path.parent)

    def _stager(self) -> FileStager:
        self._pass.mkdir(parents=True, exist_ok=True)
        return FileStager(self._files, self._pass.resolve(), self._outcome_of)

    def _is_shown(self) -> bool:
        """A replacing load has begun, and the folder it filled is not beside the data set any more."""
        return self._is_replacing and self._markers.exists() and not self._base.exists()

    def _write(self, chunk: Chunk) -> Written:
        if (known := self._known(chunk.number)) is not None:
            return known
        rows = chunk.frame.height
        if isinstance(chunk.staged, StagedFiles):
            rows = chunk.staged.rows
            self._take(chunk.number, chunk.staged)
        else:
            for folder, part in self._files.parts(chunk.frame):
                self._files.put(self._path(folder, chunk.number), part)
        entry = LedgerEntry(rows=rows, inserted=rows, attempt=chunk.attempt)
        whole(self._marker(chunk.number), lambda path: path.write_bytes(msgspec.json.encode(entry)))
        return Written(rows)

    def _take(self, number: int, staged: StagedFiles) -> None:
        """They are whole and synced where they are."""
        for folder, path in staged.files:
            target = self._path(folder, number)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:  # the data set is on a disk of its own
                    raise
                whole(target, lambda temporary, path=path: shutil.copyfile(path, temporary))  # type: ignore[misc]
            sync_folder(target.parent)

    def _path(self, folder: str, number: int) -> Path:
        path = self._base / folder / f"{self._load}-{number:06d}.{self._files.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _known(self, number: int) -> Written | None:
        marker = self._marker(number)
        return msgspec.json.decode(marker.read_bytes(), type=LedgerEntry).written if marker.exists() else None

    def _marker(self, number: int) -> Path:
        return self._markers / f"{number:06d}.json"

    def _finish(self) -> Loaded:
        if self._is_replacing and not self._is_shown():
            if self._place.exists():
                self._place.rename(self._old)
            self._base.rename(self._place)
            sync_folder(self._place.parent)
        if self._is_replacing:
            shutil.rmtree(self._old, ignore_errors=True)
        shutil.rmtree(self._staged, ignore_errors=True)
        markers = sorted(self._markers.glob("*.json"))
        return loaded_of(msgspec.json.decode(marker.read_bytes(), type=LedgerEntry) for marker in markers)
