"""Stretches of whole lines: the same lines from the same byte on, whatever was read before."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from accord.connectors.files.rows import Mark
from accord.record.batch import OddRow

if TYPE_CHECKING:
    import polars as pl

BLOCK_SIZE_MAX = 16 * 1024 * 1024  # bytes of one batch: bounds memory where rows are long
_FIRST_SIZE = 1 << 20
UTF8 = ("utf-8", "ascii")  # encodings whose text is UTF-8 as it is


class Block(NamedTuple):
    """What a stretch of a file holds. ``mark``: where the next begins; ``is_end``: at the end of the file."""

    frame: pl.DataFrame
    numbers: pl.Series
    odd: tuple[OddRow, ...]
    mark: Mark
    is_end: bool


class Stretch(NamedTuple):
    """So many whole ``lines``; ``is_end``: they are the file's last, of which the very last may lack its line end."""

    raw: bytes
    lines: int
    is_end: bool


class Lines:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._guess = _FIRST_SIZE

    def read(self, offset: int, rows: int) -> Stretch:
        """At most ``rows`` lines and BLOCK_SIZE_MAX bytes (one line at least)."""
        self.file.seek(offset)
        raw = self.file.read(min(self._guess, BLOCK_SIZE_MAX))
        ends = raw.count(b"\n")
        is_end = False
        while len(raw) < BLOCK_SIZE_MAX and not is_end and ends < rows:
            more = self.file.read(min(len(raw) or 1, BLOCK_SIZE_MAX - len(raw)))
            is_end = not more
            ends += more.count(b"\n")
            raw += more
        if ends >= rows:
            end = _last_newline(raw, ends - rows) + 1
            lines = rows
        else:
            end = len(raw) if is_end else raw.rfind(b"\n") + 1 or len(raw)
            lines = ends + (end > 0 and raw[end - 1] != ord("\n"))
        self._guess = end + end // 16 + 4096
        return Stretch(raw[:end], lines, not self.has_more(offset + end))

    def has_more(self, offset: int) -> bool:
        self.file.seek(offset)
        return bool(self.file.read(1))


def _last_newline(raw: bytes, behind: int) -> int:
    """The index of the newline that has so many ``behind`` it."""
    at = raw.rfind(b"\n")
    for _ in range(behind):
        at = raw.rfind(b"\n", 0, at)
    return at


def is_utf8(raw: bytes, encoding: str) -> bool:
    """Whether it is text in one of UTF8."""
    if raw.isascii():
        return True
    if encoding != "utf-8":
        return False
    import polars as pl

    try:
        pl.Series([raw], dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.PolarsError:
        return False
    return True
