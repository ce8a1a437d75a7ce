"""Files as parts that other processes read: the folder must be there under the same path.

A part is a file, read from its beginning or where an earlier read stopped. Lines cannot be counted from the middle of a file, so text
files are not divided; Parquet files are, by row numbers, since they say how many rows they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from accord.connectors.files.bulk import batches
from accord.connectors.files.changed import Changed
from accord.connectors.files.connection import outcome_of
from accord.connectors.files.folder import Arrived
from accord.connectors.files.source import Position, extra_of
from accord.connectors.files.spec import FilesSettings
from accord.record import Entity
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import ReadFailed

PART_ROWS = 200_000  # of a Parquet file: a few seconds of work for one core, so that even one file keeps several busy


class FilePart(msgspec.Struct, frozen=True):
    """``start``: where in ``file``, and which files come before it. ``before_row``: where the part ends; None: at the file's end."""

    entity: Entity
    settings: FilesSettings
    file: Arrived
    start: Position
    request: BulkRead
    before_row: int | None = None
    ended: tuple[str, ...] = ()

    def batches(self, notes: dict[str, str]) -> Iterator[Batch]:
        request = msgspec.structs.replace(self.request, position=msgspec.to_builtins(self.start))
        files = [self.file]
        try:
            yield from batches(
                self.entity,
                self.settings,
                files,
                self.start,
                request,
                notes,
                before_row=self.before_row,
                before=self.start.done,
            )
        except Changed as error:
            raise ReadFailed(error.reject) from None
        except OSError as error:
            raise ReadFailed(outcome_of(error)) from None


def parts_of(
    entity: Entity, settings: FilesSettings, files: list[Arrived], start: Position, request: BulkRead
) -> Sequence[FilePart]:
    """Raises OSError."""
    done = {file.name: file.identity for file in files if start.done.get(file.name) == file.identity}
    found = []
    for file in files:
        if file.name in done:
            continue
        is_here = (start.file, start.identity) == (file.name, file.identity)
        first = start if is_here else Position(file=file.name, identity=file.identity)
        for row, before_row in _stretches(entity, file, first.row, request.rows):
            begins = Position(file.name, file.identity, first.offset, row, dict(done))
            ended = (file.name,) if before_row is None else ()
            found.append(FilePart(entity, settings, file, begins, request, before_row, ended))
        done[file.name] = file.identity
    return found


def _stretches(entity: Entity, file: Arrived, first: int, chunk: int) -> Iterator[tuple[int, int | None]]:
    """First row (from 0) of each part of a file, and the row before which it ends: whole chunks, counted from the file's beginning, so
    that a read taken up in the middle gives the same chunks."""
    rows = _rows_of(entity, file)
    part_rows = chunk * max(1, PART_ROWS // chunk)
    while rows is not None and (end := first - first % part_rows + part_rows) < rows:
        yield first, end
        first = end
    yield first, None


def _rows_of(entity: Entity, file: Arrived) -> int | None:
    """None where a file does not say, or cannot be read: who reads it says why."""
    if extra_of(entity).format_of(file.name) != "parquet" or not file.name.endswith(".parquet"):
        return None
    import polars as pl

    try:
        return int(pl.scan_parquet(file.path, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        return None
