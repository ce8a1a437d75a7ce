"""Line formats read by byte offset: CSV, JSON Lines, fixed-width.

Invariant: a row's ``offset`` is the byte after it, always a record boundary; reading from there gives exactly the rest. Memory
is one chunk and one row. A row that cannot be read is a Row with a reason and its raw text, and the next one follows it.

Lines are split on the newline byte, so files whose newline is not one byte (UTF-16, UTF-32) are read as a UTF-8 copy on disk
(``is_by_byte``), and offsets count in that copy.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec

from accord.connectors.files.spec import FilesEntity
from accord.connectors.files.values import Converter
from accord.sdk.http import decode_json

csv.field_size_limit(
    64 * 1024 * 1024
)  # rows are bounded by `record_size_max`, told per row instead of an error for the file


class Unreadable(Exception):
    """The file as a whole, or all that follows, cannot be read; the text says why."""


class Row(NamedTuple):
    """``number`` counts records from 1. ``reason`` is set when it could not be read; then ``record`` holds the raw text."""

    record: dict[str, Any]
    number: int
    offset: int
    reason: str = ""


class Mark(NamedTuple):
    """Where a read goes on: after ``number`` records, at byte ``offset``."""

    offset: int = 0
    number: int = 0


def malformed(raw: str, number: int, offset: int, reason: str) -> Row:
    return Row({"accord_raw": raw, "accord_row": number, "accord_reason": reason}, number, offset, reason)


def is_by_byte(encoding: str) -> bool:
    return not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32", "utf-7"))


def lines(file: BinaryIO, offset: int, size_max: int) -> Iterator[tuple[bytes, int, bool]]:
    """Lines with their ends, the byte after each, and whether it was cut for being longer than ``size_max``."""
    file.seek(offset)
    while line := file.readline(size_max):
        is_cut = len(line) == size_max and not line.endswith(b"\n")
        offset += len(line)
        if is_cut:
            while rest := file.readline(size_max):
                offset += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield line, offset, is_cut


def texts(file: BinaryIO, mark: Mark, encoding: str, size_max: int) -> Iterator[tuple[str, int, str]]:
    """Text of each line without its end, the offset after it, and why it could not be decoded or was cut."""
    for line, offset, is_cut in lines(file, mark.offset, size_max):
        body = line.rstrip(b"\r\n")
        if offset - len(line) == 0 and body.startswith(codecs.BOM_UTF8):
            body = body[3:]
        if is_cut:
            yield body.decode(encoding, "backslashreplace"), offset, f"the row is longer than {size_max} bytes"
            continue
        try:
            yield body.decode(encoding), offset, ""
        except UnicodeDecodeError:
            yield body.decode(encoding, "backslashreplace"), offset, f"the row is not {encoding} text"


class CsvReader:
    """Rows of delimited text; a quoted value may hold line ends (RFC 4180)."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.extra, self.converter, self.encoding, self.size_max = extra, converter, encoding, size_max
        quote = re.escape(extra.quote) if extra.quote else ""
        self._closing = re.compile(rf"(?:[^{quote}]|{quote}{quote})*+{quote}") if quote else None

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        fields, mark_ = self.header(file, mark)
        number = mark.number
        for text, offset, reason in self.records(file, mark_):
            if not text and not reason:
                continue
            number += 1
            yield self.row(text, number, offset, reason, fields)

    def row(self, text: str, number: int, offset: int, reason: str, fields: list[str]) -> Row:
        """The row a record's text stands for; ``fields``: the field of each column, '' for columns nobody declared."""
        if reason:
            return malformed(text, number, offset, reason)
        values = self._split(text)
        if values is None:
            return malformed(text, number, offset, "the quotes of the row do not match")
        if len(values) != len(fields):
            return malformed(text, number, offset, f"the row has {len(values)} values, the header {len(fields)}")
        kept = [(field, value) for field, value in zip(fields, values, strict=True) if field]
        return Row(self.converter.of_texts([f for f, _ in kept], [v for _, v in kept]), number, offset)

    def header(self, file: BinaryIO, mark: Mark) -> tuple[list[str], Mark]:
        """Field per column ('' for columns nobody declared) and where the records begin."""
        if not self.extra.header:
            return list(self.converter.fields), mark
        names, offset = self.names(file)
        by_name = {name: field for field, name in self.converter.names.items()}
        fields = [by_name.get(name, "") for name in names]
        missing = [n for n, f in by_name.items() if n not in names and not self.converter.fields[f].nullable]
        if names and missing:
            raise Unreadable(f"the header lacks the column '{missing[0]}'")
        return fields, mark if mark.offset else Mark(offset, 0)

    def names(self, file: BinaryIO) -> tuple[list[str], int]:
        """Of the header row, and the offset behind it; none of an empty file. Raises Unreadable."""
        text, offset, reason = next(self.records(file, Mark()), ("", 0, ""))
        names = self._split(text) if not reason else None
        if names is None:
            raise Unreadable(f"the header row cannot be read: {reason or 'its quotes do not match'}")
        return [name.strip() for name in names] if text else [], offset

    def _split(self, text: str) -> list[str] | None:
        options: dict[str, Any] = {"delimiter": self.extra.delimiter, "strict": True}
        options |= {"quotechar": self.extra.quote} if self.extra.quote else {"quoting": csv.QUOTE_NONE}
        try:
            rows = list(csv.reader([part + "\n" for part in text.split("\n")], **options))
        except csv.Error:
            return None
        return rows[0] if len(rows) == 1 else ([] if not rows else None)

    def records(self, file: BinaryIO, mark: Mark) -> Iterator[tuple[str, int, str]]:
        """Lines joined while a quoted value is open. One that never closes ends at its first line: the others still count."""
        source = texts(file, mark, self.encoding, self.size_max)
        while True:
            joined: list[str] = []
            first: tuple[str, int] | None = None
            size, is_open = 0, False
            for text, offset, reason in source:
                if reason and not joined:
                    yield text, offset, reason
                    continue
                is_open = self._is_open(text, is_open) and not reason
                if not joined and not is_open:
                    yield text, offset, ""
                    continue
                first = first or (text, offset)
                joined.append(text)
                size += len(text)
                if reason or size > self.size_max:
                    is_open = True
                    break
                if not is_open:
                    yield "\n".join(joined), offset, ""
                    joined, first, size = [], None, 0
            if first is None:
                return
            yield first[0], first[1], "a quote is opened and never closed"
            source = texts(file, Mark(first[1]), self.encoding, self.size_max)

    def _is_open(self, text: str, is_open: bool) -> bool:
        """Whether a quoted value is still open at the end of the line."""
        quote, delimiter = self.extra.quote, self.extra.delimiter
        if self._closing is None or (quote not in text):
            return is_open
        at = 0
        while True:
            if is_open or text.startswith(quote, at):
                closed = self._closing.match(text, at if is_open else at + 1)
                if closed is None:
                    return True
                at, is_open = closed.end(), False
            at = text.find(delimiter, at) + 1
            if at == 0:
                return False


class JsonLinesReader:
    """One JSON object per line."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.converter, self.encoding, self.size_max = converter, encoding, size_max

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        number = mark.number
        for text, offset, reason in texts(file, mark, self.encoding, self.size_max):
            if not text.strip() and not reason:
                continue
            number += 1
            yield malformed(text, number, offset, reason) if reason else json_row(self.converter, text, number, offset)


def json_row(converter: Converter, text: str, number: int, offset: int) -> Row:
    try:
        value = decode_json(text.encode())
    except msgspec.DecodeError:
        return malformed(text, number, offset, "the row is not JSON")
    if not isinstance(value, dict):
        return malformed(text, number, offset, "the row is JSON, but no object")
    return Row(renamed(converter, value), number, offset)


def renamed(converter: Converter, value: dict[str, Any]) -> dict[str, Any]:
    """Keys of the file to fields; only declared ones."""
    return {field: value[name] for field, name in converter.names.items() if name in value}


class FixedReader:
    """Fixed-width columns; a line that ends early has spaces there."""

    def __init__(self, extra: FilesEntity, converter: Converter, encoding: str, size_max: int) -> None:
        self.converter, self.encoding, self.size_max = converter, encoding, size_max
        self.columns = {
            f: (c.start - 1, c.start - 1 + c.width) for f, c in extra.columns.items() if f in converter.fields
        }

    def rows(self, file: BinaryIO, mark: Mark) -> Iterator[Row]:
        number = mark.number
        width = max((end for _, end in self.columns.values()), default=0)
        for text, offset, reason in texts(file, mark, self.encoding, self.size_max):
            if not text.strip() and not reason:
                continue
            number += 1
            if reason or len(text.rstrip()) > width:
                yield malformed(
                    text, number, offset, reason or f"the row is longer than its {width} declared characters"
                )
                continue
            record = {f: self.converter.of_text(f, text[a:b]) for f, (a, b) in self.columns.items()}
            yield Row(record, number, offset)
