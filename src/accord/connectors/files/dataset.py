"""Loads into a folder of files: a data set, as warehouses and notebooks read it.

Files of a chunk are written beside their place, synced, and moved in whole under names made of the load and the chunk's number.
Then a marker ``.accord-loads/<data set>/<load>/<chunk>.json`` says that the chunk is there. A chunk without a marker is written
again over itself, so whatever instant a load was killed at, each row is there once. ``replace`` fills a folder beside the data set
and takes its place by two renames; for an instant between them there is none.

Rows are divided by ``partition`` into folders ``field=value``, the convention of Hive, Spark, DuckDB and Polars.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from accord.connectors.files.packed import open_to_write
from accord.connectors.files.spec import FilesEntity
from accord.record import Entity, Outcome
from accord.record import types as t
from accord.sdk.bulk import Chunk, LedgerEntry, Loaded, LoadMode, LoadSpec, Written, loaded_of
from accord.sdk.connector import LoadFailed
from accord.sdk.durable import sync_folder
from accord.sdk.http import decode_json, encode_json

if TYPE_CHECKING:
    import polars

T = TypeVar("T")
MARKERS = ".accord-loads"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Polars tells of the system's errors in its own
ROWS_AT_ONCE = 10_000  # of a chunk made into Python records at once, for JSON Lines


class DatasetLoad:
    at_once = 1
    tells = True

    def __init__(
        self, root: Path, entity: Entity, extra: FilesEntity, spec: LoadSpec, outcome_of: Callable[[OSError], Outcome]
    ) -> None:
        self._entity = entity
        self._extra = extra
        self._is_replacing = spec.mode is LoadMode.REPLACE
        self._outcome_of = outcome_of
        self._load = spec.digest_of(entity)
        self._place = root / extra.dataset
        hidden = self._place.with_name(f".{self._place.name}.{self._load}")
        self._base = hidden if self._is_replacing else self._place
        self._old = self._place.with_name(f".{self._place.name}.{self._load}.old")
        self._markers = root / MARKERS / extra.dataset / self._load
        self._format = extra.format or "parquet"
        self._suffix = self._format if extra.packed is None else f"{self._format}.{extra.packed}"
        self._fields = [name for name in entity.fields if not spec.fields or name in spec.fields]

    async def begin(self) -> None:
        await self._work(self._begin)

    async def write(self, chunk: Chunk) -> Written:
        return await self._work(lambda: self._write(chunk))

    async def known(self, number: int) -> Written | None:
        return await self._work(lambda: self._known(number))

    async def finish(self) -> Loaded:
        return await self._work(self._finish)

    async def abandon(self) -> None:
        if self._is_replacing:
            await self._work(self._forget)

    async def leave(self) -> None:
        """Nothing is held open between chunks."""

    def _forget(self) -> None:
        shutil.rmtree(self._markers, ignore_errors=True)
        shutil.rmtree(self._base, ignore_errors=True)

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise LoadFailed(self._outcome_of(error)) from error
        except Exception as error:
            found = _OS_ERROR.search(str(error))
            if found is None:
                raise
            number = int(found[1])
            raise LoadFailed(self._outcome_of(OSError(number, os.strerror(number)))) from error

    def _begin(self) -> None:
        if not self._is_shown():
            self._base.mkdir(parents=True, exist_ok=True)
            self._markers.mkdir(parents=True, exist_ok=True)

    def _is_shown(self) -> bool:
        """A replacing load has begun, and the folder it filled is not beside the data set any more."""
        return self._is_replacing and self._markers.exists() and not self._base.exists()

    def _write(self, chunk: Chunk) -> Written:
        if (known := self._known(chunk.number)) is not None:
            return known
        frame = chunk.frame.select(self._fields)
        for folder, part in self._parts(frame):
            self._put(self._base / folder / f"{self._load}-{chunk.number:06d}.{self._suffix}", part)
        entry = LedgerEntry(rows=len(frame), inserted=len(frame), attempt=chunk.attempt)
        _whole(self._marker(chunk.number), lambda path: path.write_bytes(msgspec.json.encode(entry)))
        return Written(len(frame))

    def _known(self, number: int) -> Written | None:
        marker = self._marker(number)
        return msgspec.json.decode(marker.read_bytes(), type=LedgerEntry).written if marker.exists() else None

    def _marker(self, number: int) -> Path:
        return self._markers / f"{number:06d}.json"

    def _parts(self, frame: polars.DataFrame) -> Iterator[tuple[str, polars.DataFrame]]:
        if frame.is_empty():
            return
        by = list(self._extra.partition)
        if not by:
            yield "", frame
            return
        for values, part in frame.partition_by(by, as_dict=True, maintain_order=True).items():
            names = [f"{name}={_segment(value)}" for name, value in zip(by, values, strict=True)]
            yield "/".join(names), part.drop(by)

    def _put(self, path: Path, frame: polars.DataFrame) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        match self._format:
            case "parquet":
                _whole(path, frame.write_parquet)
            case "csv":
                _whole(path, lambda target: self._write_csv(target, frame))
            case _:
                _whole(path, lambda target: self._write_lines(target, frame))

    def _write_csv(self, path: Path, frame: polars.DataFrame) -> None:
        with open_to_write(path, self._extra.packed) as file:
            _texts(frame, self._entity).write_csv(file)

    def _write_lines(self, path: Path, frame: polars.DataFrame) -> None:
        jsons = [name for name in frame.columns if isinstance(self._entity.fields[name].type, t.Json)]
        with open_to_write(path, self._extra.packed) as file:
            for start in range(0, len(frame), ROWS_AT_ONCE):
                for record in frame[start : start + ROWS_AT_ONCE].iter_rows(named=True):
                    for name in jsons:
                        if record[name] is not None:
                            record[name] = decode_json(record[name].encode())
                    file.write(encode_json(record) + b"\n")

    def _finish(self) -> Loaded:
        if self._is_replacing and not self._is_shown():
            if self._place.exists():
                self._place.rename(self._old)
            self._base.rename(self._place)
            sync_folder(self._place.parent)
        if self._is_replacing:
            shutil.rmtree(self._old, ignore_errors=True)
        markers = sorted(self._markers.glob("*.json"))
        return loaded_of(msgspec.json.decode(marker.read_bytes(), type=LedgerEntry) for marker in markers)


def _segment(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return NULL_PARTITION if value is None else urllib.parse.quote(str(value), safe=" ,+@")


def _texts(frame: polars.DataFrame, entity: Entity) -> polars.DataFrame:
    """Columns CSV has no form for, as JSON text; instants with their Z."""
    import polars as pl

    made = []
    for name in frame.columns:
        match entity.fields[name].type:
            case t.List() | t.Object():
                values = [None if value is None else encode_json(value).decode() for value in frame[name].to_list()]
                made.append(pl.Series(name, values, pl.String))
            case t.DateTime():
                made.append(frame[name].dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
            case t.Duration():
                values = [None if value is None else msgspec.to_builtins(value) for value in frame[name].to_list()]
                made.append(pl.Series(name, values, pl.String))
            case _:
                made.append(frame[name])
    return pl.DataFrame(made)


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """A file that is there whole or not at all, also after the machine has failed."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
