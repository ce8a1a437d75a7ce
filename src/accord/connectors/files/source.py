"""Reading files as pages.

Position (JSON): ``{"file", "identity", "offset", "row", "done": {name: identity}}``: the file being read, how far, and files read
to their end that are still in place. Reading on in the middle of a file needs the same identity; a file that was replaced
meanwhile is a new file. A file read to its end but not yet moved gives one page without records and ``is_last``, so that a
crash between accepting and moving is repaired by the next read.

Event ids are ``name@identity:row``: a row read again is dropped by the journal, a new file of the same name is not.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.files.documents import ExcelReader, JsonReader, XmlReader
from accord.connectors.files.folder import Arrived, Folder
from accord.connectors.files.packed import is_packed, unpack
from accord.connectors.files.parquet import ParquetReader
from accord.connectors.files.partitions import Partitions
from accord.connectors.files.rows import (
    CsvReader,
    FixedReader,
    JsonLinesReader,
    Mark,
    Row,
    Unreadable,
    is_by_byte,
    malformed,
)
from accord.connectors.files.spec import FilesEntity, FilesSettings
from accord.connectors.files.values import Converter
from accord.record import Entity
from accord.sdk.connector import Page

_COPIED_AT_ONCE = 1 << 20


class Reader(Protocol):
    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]: ...


READERS: dict[str, Any] = {
    "csv": CsvReader,
    "jsonl": JsonLinesReader,
    "fixed": FixedReader,
    "json": JsonReader,
    "xml": XmlReader,
    "excel": ExcelReader,
    "parquet": ParquetReader,
}
TEXT_FORMATS = ("csv", "jsonl", "fixed", "json")


class Position(msgspec.Struct):
    file: str = ""
    identity: str = ""
    offset: int = 0
    row: int = 0
    done: dict[str, str] = {}


def read_position(position: Any) -> Position:
    return msgspec.convert(position, Position) if isinstance(position, dict) else Position()


def extra_of(entity: Entity) -> FilesEntity:
    return entity.extra if isinstance(entity.extra, FilesEntity) else FilesEntity()


def pages(
    folder: Folder,
    entity: Entity,
    settings: FilesSettings,
    files: list[Arrived],
    start: Position,
    broken: dict[str, str],
) -> Iterator[Page]:
    """Pages of at most ``page_rows`` records. ``broken``: files that could not be read to their end, with the reason."""
    extra = extra_of(entity)
    done = {f.name: f.identity for f in files if start.done.get(f.name) == f.identity}
    for file in files:
        is_here = (start.file, start.identity) == (file.name, file.identity)
        mark = Mark(start.offset, start.row) if is_here else Mark()
        if file.name in done:
            if not extra.keep:
                yield Page([], msgspec.to_builtins(Position(done=dict(done))), [], file.name, True)
            continue
        yield from _file_pages(entity, extra, settings, file, mark, done, broken)
        done[file.name] = file.identity


def _file_pages(
    entity: Entity,
    extra: FilesEntity,
    settings: FilesSettings,
    file: Arrived,
    mark: Mark,
    done: dict[str, str],
    broken: dict[str, str],
) -> Iterator[Page]:
    rows = _rows(entity, extra, settings, file, mark, broken)
    short = hashlib.blake2b(file.identity.encode(), digest_size=6).hexdigest()
    chunk = list(itertools.islice(rows, extra.page_rows))
    while True:
        following = list(itertools.islice(rows, extra.page_rows)) if len(chunk) == extra.page_rows else []
        is_last = not following
        if chunk:
            mark = Mark(chunk[-1].offset, chunk[-1].number)
        at = (
            Position(done={**done, file.name: file.identity})
            if is_last
            else Position(file=file.name, identity=file.identity, offset=mark.offset, row=mark.number, done=dict(done))
        )
        yield Page(
            [row.record for row in chunk],
            msgspec.to_builtins(at),
            [f"{file.name}@{short}:{row.number}" for row in chunk],
            file.name,
            is_last,
            {index: row.reason for index, row in enumerate(chunk) if row.reason},
            [f"{file.name} row {row.number}" for row in chunk],
        )
        if is_last:
            return
        chunk = following


def _rows(
    entity: Entity, extra: FilesEntity, settings: FilesSettings, file: Arrived, mark: Mark, broken: dict[str, str]
) -> Iterator[Row]:
    """Rows of a file; where it breaks, one malformed row says so and the rest of the file is given up (and kept as a file)."""
    form = extra.format_of(file.name)
    encoding = extra.encoding or settings.encoding
    partitions = Partitions(entity, extra, settings.zone)
    inside = {name: field for name, field in entity.fields.items() if name not in partitions.fields}
    converter = Converter(inside, extra, ZoneInfo(settings.zone))
    number, offset = mark.number, mark.offset
    try:
        values = partitions.values(file.name)
        with opened(file.path, encoding if form in TEXT_FORMATS else "utf-8") as (stream, encoding):
            reader: Reader = READERS[form](extra, converter, encoding, settings.record_size_max)
            for row in reader.rows(stream, mark):
                number, offset = row.number, row.offset
                yield row._replace(record={**row.record, **values}) if values and not row.reason else row
    except Unreadable as error:
        broken[file.name] = str(error)
        yield malformed("", number + 1, offset, f"{error}; the file is kept in '{settings.rejected}'")


@contextlib.contextmanager
def opened(path: Path, encoding: str) -> Iterator[tuple[BinaryIO, str]]:
    """The file and its encoding; where lines are not split by one byte, a UTF-8 copy of it. Raises Unreadable."""
    with contextlib.ExitStack() as stack:
        file: Any
        if is_packed(path.name):
            file = stack.enter_context(tempfile.TemporaryFile())
            unpack(path, file)
        else:
            file = stack.enter_context(path.open("rb"))
        if is_by_byte(encoding):
            yield file, encoding
            return
        with tempfile.TemporaryFile() as copy:
            decoder = codecs.getincrementaldecoder(encoding)()
            try:
                while chunk := file.read(_COPIED_AT_ONCE):
                    copy.write(decoder.decode(chunk).encode())
                copy.write(decoder.decode(b"", True).encode())
            except UnicodeDecodeError:
                raise Unreadable(f"the file is not {encoding} text") from None
            copy.seek(0)
            yield copy, "utf-8"
