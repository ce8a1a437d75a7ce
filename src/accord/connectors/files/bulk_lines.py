"""Stretches of whole lines: the same lines from the same byte on, whatever was read before."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from accord.connectors.files.rows import Mark
from accord.record.batch import OddRow

if TYPE_CHECKING:
    import polars as pl

BLOCK_SIZE_MAX = 16 * 1024 * 1024  # bytes of one batch: bounds memory where rows are long
_FIRST_SIZE = 1 << 20


class Block(NamedTuple):
    """What a stretch of a file holds. ``mark``: where the next begins; ``is_end``: at the end of the file."""

    frame: pl.DataFrame
    numbers: pl.Series
    odd: tuple[OddRow, ...]
    mark: Mark
    is_end: bool


class Lines:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._guess = _FIRST_SIZE

    def read(self, offset: int, rows: int) -> tuple[bytes, bool]:
        """At most ``rows`` whole lines and BLOCK_SIZE_MAX bytes (one line at least), and whether they are the file's last."""
        self.file.seek(offset)
        raw = self.file.read(min(self._guess, BLOCK_SIZE_MAX))
        is_end = False
        while len(raw) < BLOCK_SIZE_MAX and not is_end and raw.count(b"\n") < rows:
            more = self.file.read(min(len(raw) or 1, BLOCK_SIZE_MAX - len(raw)))
            is_end = not more
            raw += more
        end = nth_newline(raw, rows)
        if end is None:
            end = len(raw) if is_end else raw.rfind(b"\n") + 1 or len(raw)
        self._guess = end + end // 16 + 4096
        return raw[:end], not self.has_more(offset + end)

    def has_more(self, offset: int) -> bool:
        self.file.seek(offset)
        return bool(self.file.read(1))


def nth_newline(raw: bytes, nth: int) -> int | None:
    """The index after the ``nth`` newline, None when there are fewer. Halves the stretch instead of looking at each."""
    if raw.count(b"\n") < nth:
        return None
    low, high, before = 0, len(raw), 0
    while high - low > 1:
        middle = (low + high) // 2
        count = raw.count(b"\n", low, middle)
        if before + count >= nth:
            high = middle
        else:
            low, before = middle, before + count
    return high
