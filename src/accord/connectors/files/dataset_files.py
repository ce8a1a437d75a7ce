"""The files of a data set: how rows are divided among folders, and how a file is written whole, in this process or another."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from accord.connectors.files.packed import open_to_write
from accord.connectors.files.partitions import folder_name
from accord.connectors.files.spec import FilesEntity
from accord.record import Entity, Outcome
from accord.record import types as t
from accord.sdk.connector import LoadFailed
from accord.sdk.durable import sync_folder
from accord.sdk.http import decode_json, encode_json

if TYPE_CHECKING:
    import polars

ROWS_AT_ONCE = 10_000  # of a chunk made into Python records at once, for JSON Lines
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Polars tells of the system's errors in its own


class DatasetFiles(msgspec.Struct, frozen=True):
    """``fields``: those that are written."""

    entity: Entity
    extra: FilesEntity
    fields: tuple[str, ...]

    @property
    def suffix(self) -> str:
        form = self.extra.format or "parquet"
        return form if self.extra.packed is None else f"{form}.{self.extra.packed}"

    def parts(self, frame: polars.DataFrame) -> Iterator[tuple[str, polars.DataFrame]]:
        """Folder ('': that of the data set) and rows of each file."""
        frame = frame.select(self.fields)
        if frame.is_empty():
            return
        by = list(self.extra.partition)
        if not by:
            yield "", frame
            return
        for values, part in frame.partition_by(by, as_dict=True, maintain_order=True).items():
            yield "/".join(map(folder_name, by, values)), part.drop(by)

    def put(self, path: Path, frame: polars.DataFrame) -> None:
        """Whole and lasting. Raises OSError, or what Polars makes of it."""
        match self.extra.format or "parquet":
            case "parquet":
                whole(path, frame.write_parquet)
            case "csv":
                whole(path, lambda target: self._write_csv(target, frame))
            case _:
                whole(path, lambda target: self._write_lines(target, frame))

    def _write_csv(self, path: Path, frame: polars.DataFrame) -> None:
        with open_to_write(path, self.extra.packed) as file:
            _texts(frame, self.entity).write_csv(file)

    def _write_lines(self, path: Path, frame: polars.DataFrame) -> None:
        jsons = [name for name in frame.columns if isinstance(self.entity.fields[name].type, t.Json)]
        with open_to_write(path, self.extra.packed) as file:
            for start in range(0, len(frame), ROWS_AT_ONCE):
                for record in frame[start : start + ROWS_AT_ONCE].iter_rows(named=True):
                    for name in jsons:
                        if record[name] is not None:
                            record[name] = decode_json(record[name].encode())
                    file.write(encode_json(record) + b"\n")


class StagedFiles(msgspec.Struct, frozen=True):
    """A chunk's files before they are the data set's: the folder each belongs to, and where it is."""

    rows: int
    files: tuple[tuple[str, Path], ...]


class FileStager(msgspec.Struct, frozen=True):
    """Writes chunks into ``folder``, under names that nobody else uses. When the folder is gone nobody wants them any more."""

    files: DatasetFiles
    folder: Path
    outcome_of: Callable[[OSError], Outcome]

    def stage(self, frame: polars.DataFrame) -> StagedFiles:
        """Raises LoadFailed."""
        made = []
        try:
            for folder, part in self.files.parts(frame):
                path = self.folder / f"{uuid.uuid4().hex}.{self.files.suffix}"
                self.files.put(path, part)
                made.append((folder, path))
        except Exception as error:
            raise failure_of(error, self.outcome_of) from error
        return StagedFiles(frame.height, tuple(made))


def failure_of(error: Exception, outcome_of: Callable[[OSError], Outcome]) -> Exception:
    """LoadFailed for an error of the file system, also where Polars tells of it; else the error itself."""
    if isinstance(error, OSError):
        return LoadFailed(outcome_of(error))
    found = _OS_ERROR.search(str(error))
    if found is None:
        return error
    number = int(found[1])
    return LoadFailed(outcome_of(OSError(number, os.strerror(number))))


def whole(path: Path, write: Callable[[Path], Any]) -> None:
    """A file that is there whole or not at all, also after the machine has failed."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


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
