"""Delimited text in columns: a block of lines at a time, each cell as ``rows.CsvReader`` and ``values.Converter`` would give it.

Lines are sure when they have the right number of cells, no control characters and quotes only where RFC 4180 puts them; they
are parsed as columns of text and converted with patterns narrower than the converter's. Every other line is read by the reader
of rows, from its byte on, and so are the cells no pattern vouched for. A batch ends after so many lines or bytes counted from
its beginning, so the same position always gives the same rows.
"""

from __future__ import annotations

import bisect
import codecs
import functools
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from accord.connectors.files.bulk_cells import Cells
from accord.connectors.files.bulk_lines import Block, Lines
from accord.connectors.files.rows import CsvReader, Mark
from accord.record.batch import OddRow

if TYPE_CHECKING:
    import polars as pl

_CONTROL = bytes(c for c in range(32) if c not in b"\t\n")
_SINGLE_BYTE = re.compile(r"utf-8|ascii|latin|iso8859|cp125[0-8]|cp437|cp850|cp852|koi8")


class CsvBlocks:
    def __init__(self, reader: CsvReader, file: BinaryIO) -> None:
        self.reader, self.file = reader, file
        self.converter, self.extra = reader.converter, reader.extra
        fields, self.start = reader.header(file, Mark())
        self.fields = fields
        self.cells = Cells(self.converter)
        self.is_columnar = (
            bool(fields)
            and bool(_SINGLE_BYTE.match(codecs.lookup(reader.encoding).name))
            and self.extra.delimiter.isascii()
            and self.extra.quote.isascii()
            and self.extra.delimiter not in "\r\n\0"
        )
        self.is_utf8 = codecs.lookup(reader.encoding).name in ("utf-8", "ascii")
        self.lines = Lines(file)

    def read(self, mark: Mark, rows: int) -> Block:
        """Up to ``rows`` lines from ``mark`` on."""
        mark = mark if mark.offset else self.start
        raw, is_end = self.lines.read(mark.offset, rows)
        if not raw:
            return self._only_odd([], mark, is_end)
        if self.is_columnar:
            table = self._plain_table(raw, mark)
            if table is not None:
                return self._typed(table, None, [], Mark(mark.offset + len(raw), mark.number + table.height), is_end)
        return self._careful(raw, mark, is_end)

    def _plain_table(self, raw: bytes, mark: Mark) -> pl.DataFrame | None:
        """Columns of text when every line is sure and none has quotes; else None."""
        if mark.offset == 0:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if self.extra.quote and self.extra.quote.encode() in raw:
            return None
        if b"\r" in raw:
            raw = raw.replace(b"\r\n", b"\n")
        control = _CONTROL.replace(self.extra.delimiter.encode(), b"")
        if len(raw.translate(None, control)) != len(raw) or b"\n\n" in raw or raw.startswith(b"\n"):
            return None
        if not self._lines_are_short(raw):
            return None
        if not self.is_utf8:
            try:
                raw = raw.decode(self.reader.encoding).encode()
            except UnicodeError:
                return None
        count = raw.count(b"\n") + (not raw.endswith(b"\n"))
        if raw.count(self.extra.delimiter.encode()) != count * (len(self.fields) - 1):
            return None
        table = self._table(raw)
        return table if table is not None and table.height == count else None

    def _lines_are_short(self, raw: bytes) -> bool:
        """Whether no line can reach ``size_max``: every window of half of it has a line end."""
        half = max(1, self.reader.size_max // 2)
        return all(raw.find(b"\n", at, at + half) >= 0 for at in range(0, len(raw) - half, half))

    def _table(self, raw: bytes) -> pl.DataFrame | None:
        """None when a line has more cells than there are columns; what it has less is empty."""
        import polars as pl

        if raw.startswith(codecs.BOM_UTF8):  # Polars would take it for the mark at a file's beginning
            raw = codecs.BOM_UTF8 + raw
        try:
            return pl.read_csv(
                raw,
                has_header=False,
                separator=self.extra.delimiter,
                quote_char=self.extra.quote or None,
                schema={f"c{at}": pl.String for at in range(len(self.fields))},
                empty_string_is_null=False,
            )
        except pl.exceptions.PolarsError:
            return None

    def _careful(self, raw: bytes, mark: Mark, is_end: bool) -> Block:
        """Line by line: sure ones together, the others by the reader of rows."""
        lines = raw.split(b"\n")
        ends = list(itertools.accumulate((len(line) + 1 for line in lines), initial=mark.offset))[1:]
        if raw.endswith(b"\n"):
            lines.pop()
            ends.pop()
        ends[-1] = mark.offset + len(raw)
        texts = self._texts(lines, mark)
        is_sure = self._sure(texts)
        kept: list[int] = []
        others: dict[int, tuple[str, int, str]] = {}
        at = 0
        while at < len(lines):
            if is_sure[at]:
                kept.append(at)
            elif texts[at] != "":
                text, offset, reason = next(self.reader.records(self.file, Mark(ends[at - 1] if at else mark.offset)))
                if text or reason:
                    others[at] = (text, offset, reason)
                at = bisect.bisect_left(ends, offset)
                if at == len(ends):
                    ends[-1] = max(ends[-1], offset)
                    is_end = not self.lines.has_more(ends[-1])
            at += 1
        order = sorted([*kept, *others])
        number_of = {line: mark.number + place for place, line in enumerate(order, 1)}
        odd = [self._row(number_of[line], *others[line]) for line in sorted(others)]
        after = Mark(ends[-1], mark.number + len(order))
        if not kept:
            return self._only_odd(odd, after, is_end)
        sure = [texts[line] or "" for line in kept]
        table = self._table("\n".join(sure).encode())
        if table is None or table.height != len(kept):
            rows = [self._row(number_of[line], text, 0, "") for line, text in zip(kept, sure, strict=True)]
            return self._only_odd(sorted(odd + rows, key=lambda row: row.number), after, is_end)
        return self._typed(table, [number_of[line] for line in kept], odd, after, is_end)

    def _texts(self, lines: Sequence[bytes], mark: Mark) -> list[str | None]:
        """Text of each line without its end; None for what is no text or too long."""
        made: list[str | None] = []
        for index, line in enumerate(lines):
            if index == 0 and mark.offset == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                is_long = len(line) + 1 >= self.reader.size_max
                made.append(None if is_long else line.rstrip(b"\r").decode(self.reader.encoding))
            except UnicodeDecodeError:
                made.append(None)
        return made

    def _sure(self, texts: list[str | None]) -> list[bool]:
        import polars as pl

        if not self.is_columnar:
            return [False] * len(texts)
        column = pl.Series(texts, dtype=pl.String)
        return (column.str.contains(self._pattern).fill_null(False) & (column != "").fill_null(False)).to_list()

    @functools.cached_property
    def _pattern(self) -> str:
        """A whole line of as many cells as there are columns, each quoted from end to end or not at all."""
        delimiter, quote = re.escape(self.extra.delimiter), re.escape(self.extra.quote)
        controls = r"\x00-\x08\x0a-\x1f"
        if self.extra.delimiter < " " and self.extra.delimiter != "\t":
            return "[^\x00-\U0010ffff]"  # a control character as delimiter: rows read it
        cell = f"[^{delimiter}{quote}{controls}]*"
        if quote:
            cell = f"(?:{cell}|{quote}(?:[^{quote}{controls}]|{quote}{quote})*{quote})"
        return f"^{cell}(?:{delimiter}{cell}){{{len(self.fields) - 1}}}$"

    def _row(self, number: int, text: str, offset: int, reason: str) -> OddRow:
        row = self.reader.row(text, number, offset, reason, self.fields)
        return OddRow(number, row.record, row.reason)

    def _typed(
        self, table: pl.DataFrame, numbers: list[int] | None, odd: list[OddRow], after: Mark, is_end: bool
    ) -> Block:
        import polars as pl

        columns = {field: f"c{at}" for at, field in enumerate(self.fields) if field}
        frame, misfits = self.cells.frame({field: table[name] for field, name in columns.items()}, table.height)
        first = after.number - table.height + 1
        places = (
            pl.Series("numbers", numbers, dtype=pl.Int64)
            if numbers is not None
            else pl.int_range(first, after.number + 1, dtype=pl.Int64, eager=True).alias("numbers")
        )
        if misfits is None:
            return Block(frame, places, tuple(odd), after, is_end)
        wrong = misfits.arg_true().to_list()
        texts = table[wrong]
        names = list(columns)
        for place, values in zip(wrong, texts.select(columns.values()).rows(), strict=True):
            odd.append(OddRow(places[place], self.converter.of_texts(names, list(values))))
        odd.sort(key=lambda row: row.number)
        return Block(frame.filter(~misfits), places.filter(~misfits), tuple(odd), after, is_end)

    def _only_odd(self, odd: list[OddRow], after: Mark, is_end: bool) -> Block:
        import polars as pl

        return Block(self.cells.empty(), pl.Series("numbers", [], dtype=pl.Int64), tuple(odd), after, is_end)
