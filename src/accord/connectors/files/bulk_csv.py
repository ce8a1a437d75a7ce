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
from accord.connectors.files.bulk_lines import UTF8, Block, Lines, is_utf8
from accord.connectors.files.rows import CsvReader, Mark
from accord.record.batch import OddRow

if TYPE_CHECKING:
    import polars as pl

_CONTROL = [bytes([c]) for c in range(32) if c not in b"\t\n"]
_SPLITTER = "\x01"  # stands in no line that is split by it
_SINGLE_BYTE = re.compile(r"utf-8|ascii|latin|iso8859|cp125[0-8]|cp437|cp850|cp852|koi8")


class CsvBlocks:
    def __init__(self, reader: CsvReader, file: BinaryIO, as_written: frozenset[str] = frozenset()) -> None:
        self.reader, self.file = reader, file
        self.converter, self.extra = reader.converter, reader.extra
        self.fields, self.start = reader.header(file, Mark())
        self.cells = Cells(self.converter, as_written)
        self.encoding = codecs.lookup(reader.encoding).name
        self.is_columnar = (
            bool(self.fields)
            and bool(_SINGLE_BYTE.match(self.encoding))
            and self.extra.delimiter.isascii()
            and self.extra.quote.isascii()
            and (self.extra.delimiter == "\t" or self.extra.delimiter >= " ")
        )
        self.lines = Lines(file)

    def read(self, mark: Mark, rows: int) -> Block:
        """Up to ``rows`` lines from ``mark`` on."""
        mark = mark if mark.offset else self.start
        raw, count, is_end = self.lines.read(mark.offset, rows)
        text = self._normal(raw, mark) if raw and self.is_columnar else None
        if text is None:
            texts = self._texts(raw, mark)
            return self._careful(raw, texts, None, mark, is_end)
        if not (self.extra.quote and self.extra.quote.encode() in text) and self._is_even(text, count):
            table = self._table(text)
            if table is not None:
                return self._typed(table, None, [], Mark(mark.offset + len(raw), mark.number + table.height), is_end)
        lines = self._split(text, count)
        table = self._whole(text, lines)
        if table is not None:
            return self._typed(table, None, [], Mark(mark.offset + len(raw), mark.number + table.height), is_end)
        return self._careful(raw, lines, text, mark, is_end)

    def _normal(self, raw: bytes, mark: Mark) -> bytes | None:
        """The lines as UTF-8 with plain ends; None when they hold control characters, no text, or a line that may be too long."""
        if mark.offset == 0:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if not self._lines_are_short(raw):
            return None
        if b"\r" in raw:
            raw = raw.replace(b"\r\n", b"\n").removesuffix(b"\r")
        if any(control in raw for control in _CONTROL):
            return None
        if self.encoding in UTF8:
            return raw if is_utf8(raw, self.encoding) else None
        try:
            return raw.decode(self.encoding).encode()
        except UnicodeError:
            return None

    def _lines_are_short(self, raw: bytes) -> bool:
        """Whether no line can reach ``size_max``: every window of half of it has a line end."""
        half = max(1, self.reader.size_max // 2)
        return all(raw.find(b"\n", at, at + half) >= 0 for at in range(0, len(raw) - half, half))

    def _is_even(self, text: bytes, count: int) -> bool:
        """Whether lines without quotes can all have the right number of cells; a longer one makes ``_table`` refuse, so none is shorter
        or empty."""
        if len(self.fields) == 1 and (b"\n\n" in text or text.startswith(b"\n")):
            return False
        return text.count(self.extra.delimiter.encode()) == count * (len(self.fields) - 1)

    def _table(self, text: bytes) -> pl.DataFrame | None:
        """None when a line has more cells than there are columns; what it has less is empty."""
        return _columns(text, self.extra.delimiter, self.extra.quote or None, len(self.fields))

    def _whole(self, text: bytes, lines: pl.Series) -> pl.DataFrame | None:
        """All lines at once where those with quotes keep to the pattern and the others have, together, the cells they need: a longer
        one makes ``_table`` refuse, so none is shorter. None when that is not so."""
        extra = self.extra
        if not extra.quote or len(self.fields) == 1:
            return None
        quoted = lines.filter(lines.str.contains(extra.quote, literal=True))
        if not quoted.str.contains(self._pattern).all():
            return None
        delimiters = (
            text.count(extra.delimiter.encode()) - quoted.str.count_matches(extra.delimiter, literal=True).sum()
        )
        if delimiters != (len(lines) - len(quoted)) * (len(self.fields) - 1):
            return None
        table = self._table(text)
        return table if table is not None and table.height == len(lines) else None

    def _split(self, text: bytes, count: int) -> pl.Series:
        import polars as pl

        lines = _columns(text, _SPLITTER, None, 1)
        if lines is None or lines.height != count:
            parts = text.decode().split("\n")
            return pl.Series(parts[:-1] if text.endswith(b"\n") else parts, dtype=pl.String)
        return lines.to_series()

    def _texts(self, raw: bytes, mark: Mark) -> pl.Series:
        """Text of each line without its end; null for what is no text or too long."""
        import polars as pl

        made: list[str | None] = []
        for index, line in enumerate(_lines_of(raw)):
            if index == 0 and mark.offset == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                is_long = len(line) + 1 >= self.reader.size_max
                made.append(None if is_long else line.rstrip(b"\r").decode(self.reader.encoding))
            except UnicodeDecodeError:
                made.append(None)
        return pl.Series(made, dtype=pl.String)

    def _careful(self, raw: bytes, lines: pl.Series, text: bytes | None, mark: Mark, is_end: bool) -> Block:
        """Line by line: sure ones together, the others by the reader of rows. ``text``: the lines as one, if they are."""
        import polars as pl

        ends = _Ends(raw, mark.offset)
        is_sure = self._sure(lines, are_plain=text is not None)
        others: dict[int, tuple[str, int, str]] = {}
        gone: list[int] = []  # lines that belong to the record before them, and empty ones
        after = mark.offset + len(raw)
        begins = 0
        for at in (~is_sure).arg_true():
            if at < begins:
                continue
            begins = at + 1
            if lines[at] == "":
                gone.append(at)
                continue
            record, offset, reason = next(self.reader.records(self.file, Mark(ends[at - 1] if at else mark.offset)))
            if record or reason:
                others[at] = (record, offset, reason)
            else:
                gone.append(at)
            if offset != ends[at]:
                begins = ends.line_after(offset)
                gone.extend(range(at + 1, begins))
                after = max(after, offset)
        if after != mark.offset + len(raw):
            is_end = not self.lines.has_more(after)
        kept = is_sure
        if gone:
            kept = is_sure & ~pl.int_range(len(lines), eager=True).is_in(gone)
        counted = kept if not others else kept | pl.int_range(len(lines), eager=True).is_in(list(others))
        number_of = counted.cast(pl.Int64).cum_sum() + mark.number
        odd = [self._row(number_of[line], *other) for line, other in others.items()]
        end = Mark(after, mark.number + int(counted.sum()))
        sure = lines.filter(kept)
        numbers = number_of.filter(kept).alias("numbers")
        whole = text if text is not None and len(sure) == len(lines) else "\n".join(sure).encode()
        table = self._table(whole) if whole else None
        if table is None or table.height != len(sure):
            odd += [self._row(number, line, 0, "") for number, line in zip(numbers, sure, strict=True)]
            odd.sort(key=lambda row: row.number)
            return Block(self.cells.empty(), numbers.clear(), tuple(odd), end, is_end)
        return self._typed(table, numbers, odd, end, is_end)

    def _sure(self, lines: pl.Series, *, are_plain: bool) -> pl.Series:
        """``are_plain``: it is known that none of them holds a control character."""
        import polars as pl

        if not self.is_columnar:
            return pl.Series([False] * len(lines), dtype=pl.Boolean)
        if not self.extra.quote:
            return (lines.str.contains(self._pattern) & (lines != "")).fill_null(False)
        if lines.null_count():
            return (lines.str.contains(self._pattern) & (lines != "")).fill_null(False)
        if len(self.fields) == 1 or not are_plain:
            return lines.str.contains(self._pattern) & (lines != "")
        is_quoted = lines.str.contains(self.extra.quote, literal=True)
        is_even = lines.str.count_matches(self.extra.delimiter, literal=True) == len(self.fields) - 1
        quoted = is_quoted.arg_true()
        good = lines.gather(quoted).str.contains(self._pattern)
        bad = quoted.filter(~good)
        is_sure = is_even | is_quoted
        return is_sure & ~pl.int_range(len(lines), eager=True).is_in(bad.implode()) if len(bad) else is_sure

    @functools.cached_property
    def _pattern(self) -> str:
        """A whole line of as many cells as there are columns, each quoted from end to end or not at all."""
        delimiter, quote = re.escape(self.extra.delimiter), re.escape(self.extra.quote)
        controls = r"\x00-\x08\x0a-\x1f"
        cell = f"[^{delimiter}{quote}{controls}]*"
        if quote:
            cell = f"(?:{cell}|{quote}(?:[^{quote}{controls}]|{quote}{quote})*{quote})"
        return f"^{cell}(?:{delimiter}{cell}){{{len(self.fields) - 1}}}$"

    def _row(self, number: int, text: str, offset: int, reason: str) -> OddRow:
        row = self.reader.row(text, number, offset, reason, self.fields)
        return OddRow(number, row.record, row.reason)

    def _typed(
        self, table: pl.DataFrame, numbers: pl.Series | None, odd: list[OddRow], after: Mark, is_end: bool
    ) -> Block:
        import polars as pl

        columns = {field: f"c{at}" for at, field in enumerate(self.fields) if field}
        frame, misfits = self.cells.frame({field: table[name] for field, name in columns.items()}, table.height)
        if numbers is None:
            first = after.number - table.height + 1
            numbers = pl.int_range(first, after.number + 1, dtype=pl.Int64, eager=True).alias("numbers")
        if misfits is None:
            return Block(frame, numbers, tuple(odd), after, is_end)
        texts = table.filter(misfits).select(columns.values())
        names = list(columns)
        for number, values in zip(numbers.filter(misfits), texts.rows(), strict=True):
            odd.append(OddRow(number, self.converter.of_texts(names, list(values))))
        odd.sort(key=lambda row: row.number)
        return Block(frame.filter(~misfits), numbers.filter(~misfits), tuple(odd), after, is_end)


class _Ends:
    """The byte after each line of a block, counted when first asked for."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self._raw, self._offset = raw, offset

    @functools.cached_property
    def _all(self) -> Sequence[int]:
        lines = _lines_of(self._raw)
        ends = list(itertools.accumulate(map(len, lines), lambda at, size: at + size + 1, initial=self._offset))[1:]
        ends[-1] = self._offset + len(self._raw)
        return ends

    def __getitem__(self, line: int) -> int:
        return self._all[line]

    def line_after(self, offset: int) -> int:
        """The line that begins at ``offset``."""
        return min(bisect.bisect_left(self._all, offset) + 1, len(self._all))


def _lines_of(raw: bytes) -> list[bytes]:
    lines = raw.split(b"\n")
    if raw.endswith(b"\n") or not raw:
        lines.pop()
    return lines


def _columns(text: bytes, delimiter: str, quote: str | None, count: int) -> pl.DataFrame | None:
    """Columns c0, c1, … of text; None when a line has more cells."""
    import polars as pl

    if text.startswith(codecs.BOM_UTF8):  # Polars would take it for the mark at a file's beginning
        text = codecs.BOM_UTF8 + text
    try:
        return pl.read_csv(
            text,
            has_header=False,
            separator=delimiter,
            quote_char=quote,
            schema={f"c{at}": pl.String for at in range(count)},
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:
        return None
