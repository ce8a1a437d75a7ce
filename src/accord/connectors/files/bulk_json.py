"""JSON Lines in columns: a typed decoder for the lines that fit, the reader of rows for the others."""

from __future__ import annotations

import codecs
import io
from typing import BinaryIO

from accord.connectors.files.bulk_lines import UTF8, Block, Lines, is_utf8
from accord.connectors.files.rows import JsonLinesReader, Mark, Row, json_row, malformed, texts
from accord.record.batch import OddRow
from accord.sdk.json_frames import JsonFramer

_SPACES = b" \t\r"
_BROKEN = b"\xff"  # in the place of a line that is no text: no decoder takes it


class JsonLinesBlocks:
    def __init__(self, reader: JsonLinesReader, file: BinaryIO, as_written: frozenset[str] = frozenset()) -> None:
        self.reader, self.converter = reader, reader.converter
        self.lines = Lines(file)
        self.framer = JsonFramer(self.converter.fields, self.converter.names, as_written)
        self.encoding = codecs.lookup(reader.encoding).name

    def read(self, mark: Mark, rows: int) -> Block:
        """Up to ``rows`` lines from ``mark`` on."""
        import polars as pl

        raw, _, is_end = self.lines.read(mark.offset, rows)
        lines = raw.split(b"\n")
        if lines and mark.offset == 0:
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        lines = [line for line in lines if line.strip(_SPACES)]
        frame, odd_lines = self.framer.rows(self._utf8(raw, lines))
        sure = _without(range(len(lines)), set(odd_lines))
        odd: list[OddRow] = []
        skipped: list[int] = []  # lines of nothing but spaces that only Unicode knows
        for line in odd_lines:
            row = self._row(lines[line], mark.number + line + 1 - len(skipped))
            if row is None:
                skipped.append(line)
            else:
                odd.append(OddRow(row.number, row.record, row.reason))
        places = pl.Series("numbers", [mark.number + line + 1 for line in sure], dtype=pl.Int64)
        for count, line in enumerate(skipped):
            places = places - (places > mark.number + line + 1 - count).cast(pl.Int64)
        after = Mark(mark.offset + len(raw), mark.number + len(lines) - len(skipped))
        return Block(frame, places, tuple(odd), after, is_end)

    def _utf8(self, raw: bytes, lines: list[bytes]) -> list[bytes]:
        """The lines as UTF-8, checked here: a decoder that skips over parts would not notice. Too long ones are broken."""
        size_max = self.reader.size_max
        if len(raw) >= size_max:
            lines = [line if len(line) + 1 < size_max else _BROKEN for line in lines]
        if self.encoding in UTF8 and is_utf8(raw, self.encoding):
            return lines
        return [_transcoded(line, self.encoding) for line in lines]

    def _row(self, line: bytes, number: int) -> Row | None:
        """As the reader of rows gives it; None for a line it passes over."""
        text, _, reason = next(
            texts(io.BytesIO(b"\n" + line + b"\n"), Mark(1), self.reader.encoding, self.reader.size_max)
        )
        if reason:
            return malformed(text, number, 0, reason)
        return json_row(self.converter, text, number, 0) if text.strip() else None


def _transcoded(line: bytes, encoding: str) -> bytes:
    try:
        return line.decode(encoding).encode()
    except UnicodeError:
        return _BROKEN


def _without(places: range, gone: set[int]) -> list[int]:
    return [place for place in places if place not in gone] if gone else list(places)
