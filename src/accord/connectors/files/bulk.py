"""Reading files in batches of columns.

Position (JSON): as of ``source``, with the files in the order in which they arrived. A batch never spans two files, and begins and
ends where its position says, so a read taken up again gives the same rows in the same batches. Files stay where they are: a
load says with ``settled`` when they may go.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from typing import Any, BinaryIO, Protocol
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.files.bulk_csv import CsvBlocks
from accord.connectors.files.bulk_json import JsonLinesBlocks
from accord.connectors.files.bulk_lines import Block
from accord.connectors.files.changed import check_unchanged
from accord.connectors.files.folder import Arrived
from accord.connectors.files.partitions import Partitions
from accord.connectors.files.rows import CsvReader, JsonLinesReader, Mark, Row, Unreadable
from accord.connectors.files.source import READERS, TEXT_FORMATS, Position, Reader, extra_of, opened
from accord.connectors.files.spec import FilesSettings
from accord.connectors.files.values import Converter
from accord.record import Entity
from accord.record.batch import Batch, OddRow
from accord.record.columns import schema_of
from accord.sdk.bulk import BulkRead
from accord.sdk.frames import Framer

ROWS_BY_ROW_MAX = 10_000  # rows of a batch where each was a Python record first


class Blocks(Protocol):
    def read(self, mark: Mark, rows: int) -> Block: ...


class RowBlocks:
    """Formats read row by row, put into frames."""

    def __init__(
        self, reader: Reader, file: BinaryIO, converter: Converter, as_written: frozenset[str] = frozenset()
    ) -> None:
        self.reader, self.file = reader, file
        self.framer = Framer(converter.fields, as_written=as_written)
        self._rows: Iterator[Row] | None = None
        self._ahead: list[Row] = []

    def read(self, mark: Mark, rows: int) -> Block:
        if self._rows is None:
            self._rows = self.reader.rows(self.file, mark)
        rows = min(rows, ROWS_BY_ROW_MAX)
        taken = list(itertools.islice(itertools.chain(self._ahead, self._rows), rows))
        self._ahead = list(itertools.islice(self._rows, 1))
        reasons = {index: row.reason for index, row in enumerate(taken) if row.reason}
        frame, numbers, odd = self.framer.split([row.record for row in taken], [row.number for row in taken], reasons)
        after = Mark(taken[-1].offset, taken[-1].number) if taken else mark
        return Block(frame, numbers, odd, after, not self._ahead)


def batches(
    entity: Entity,
    settings: FilesSettings,
    files: list[Arrived],
    start: Position,
    request: BulkRead,
    broken: dict[str, str],
    *,
    before_row: int | None = None,
    before: Mapping[str, str] | None = None,
) -> Generator[Batch, None, None]:
    """Batches of all files, the last one marked. ``broken``: files that could not be read to their end, with the reason.
    ``before_row``: what is read ends there (of one file that is read by row number). ``before``: files that are read elsewhere and come
    before these; every position has them."""
    done = {**(before or {})}
    done |= {f.name: f.identity for f in files if start.done.get(f.name) == f.identity}
    partitions = Partitions(entity, extra_of(entity), settings.zone)
    skips = extra_of(entity).keep  # others are to be settled
    left = [f for f in files if f.name not in done and not (skips and partitions.is_outside(f.name, request))]
    fields = request.fields_of(entity)
    if not left:
        yield _nothing(fields, done)
    for place, file in enumerate(left):
        is_here = (start.file, start.identity) == (file.name, file.identity)
        mark = Mark(start.offset, start.row) if is_here else Mark()
        for block in _blocks(entity, settings, file, mark, request, broken, before_row, partitions):
            check_unchanged(file)
            if block.is_end:
                done[file.name] = file.identity
            at = Position(
                file="" if block.is_end else file.name,
                identity="" if block.is_end else file.identity,
                offset=0 if block.is_end else block.mark.offset,
                row=0 if block.is_end else block.mark.number,
                done=dict(done),
            )
            frame, numbers = _since(block, request)
            yield Batch(
                frame=frame.select(list(fields)) if len(fields) < frame.width else frame,
                position=msgspec.to_builtins(at),
                numbers=numbers,
                odd=block.odd,
                origin=file.name,
                is_last=block.is_end and place == len(left) - 1,
            )


def _since(block: Block, request: BulkRead) -> tuple[Any, Any]:
    """A file is read whole; its rows outside ``since`` and ``until`` are left out. Odd rows stay: rows decide about them."""
    import polars as pl

    if not request.cursor or request.cursor not in block.frame.columns:
        return block.frame, block.numbers
    column = block.frame[request.cursor]
    keep = pl.Series([True]).new_from_index(0, block.frame.height)
    if request.since is not None:
        keep = keep & (column >= request.since).fill_null(True)
    if request.until is not None:
        keep = keep & (column < request.until).fill_null(True)
    return block.frame.filter(keep), block.numbers.filter(keep)


def _nothing(fields: Any, done: dict[str, str]) -> Batch:
    import polars as pl

    return Batch(
        frame=pl.DataFrame(schema=schema_of(fields)),
        position=msgspec.to_builtins(Position(done=done)),
        numbers=pl.Series("numbers", [], dtype=pl.Int64),
        is_last=True,
    )


def _blocks(
    entity: Entity,
    settings: FilesSettings,
    file: Arrived,
    mark: Mark,
    request: BulkRead,
    broken: dict[str, str],
    before_row: int | None,
    partitions: Partitions,
) -> Iterator[Block]:
    """Where the file breaks, an odd row says so and the rest of it is given up."""
    extra = extra_of(entity)
    if partitions.is_outside(file.name, request):
        yield _empty(entity, mark)
        return
    form = extra.format_of(file.name)
    wanted = request.fields
    is_by_place = form in ("csv", "excel") and not extra.header
    fields = {
        n: f
        for n, f in entity.fields.items()
        if n not in partitions.fields and (wanted is None or is_by_place or n in wanted)
    }
    converter = Converter(fields, extra, ZoneInfo(settings.zone))
    encoding = extra.encoding or settings.encoding
    try:
        values = partitions.values(file.name)
        with opened(file.path, encoding if form in TEXT_FORMATS else "utf-8") as (stream, encoding):
            reader = READERS[form](extra, converter, encoding, settings.record_size_max)
            blocks = _of_format(reader, stream, converter, request.as_written)
            is_end = False
            while not is_end and (before_row is None or mark.number < before_row):
                rows = request.rows if before_row is None else min(request.rows, before_row - mark.number)
                block = blocks.read(mark, rows)
                mark, is_end = block.mark, block.is_end
                yield _with_values(block, entity, partitions, values) if values else block
    except Unreadable as error:
        broken[file.name] = str(error)
        row = OddRow(
            mark.number + 1, {"accord_raw": "", "accord_row": mark.number + 1, "accord_reason": str(error)}, str(error)
        )
        yield _empty(entity, mark, row)


def _empty(entity: Entity, mark: Mark, *odd: OddRow) -> Block:
    """The end of a file."""
    import polars as pl

    return Block(
        pl.DataFrame(schema=schema_of(entity.fields)), pl.Series("numbers", [], dtype=pl.Int64), odd, mark, True
    )


def _with_values(block: Block, entity: Entity, partitions: Partitions, values: dict[str, Any]) -> Block:
    """With what the file's folders say; rows that could not be read stay what they are."""
    columns = partitions.columns(values, block.frame.height)
    frame = block.frame.with_columns(columns)
    odd = tuple(
        row if row.reason else msgspec.structs.replace(row, record={**row.record, **values}) for row in block.odd
    )
    order = [name for name in entity.fields if name in frame.columns]
    return block._replace(frame=frame.select(order), odd=odd)


def _of_format(reader: Any, stream: BinaryIO, converter: Converter, as_written: frozenset[str]) -> Blocks:
    if isinstance(reader, CsvReader):
        return CsvBlocks(reader, stream, as_written)
    if isinstance(reader, JsonLinesReader):
        return JsonLinesBlocks(reader, stream, as_written)
    return RowBlocks(reader, stream, converter, as_written)
