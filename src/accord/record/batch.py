"""A batch: many records of one entity, in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars


class OddRow(msgspec.Struct, frozen=True):
    """A row that could not take its columns' types. ``record`` is what a reader of rows would have given; ``reason`` is set when
    not even that could be read (``record`` then holds only the raw text). It goes the way of rows: its contract decides."""

    number: int
    record: dict[str, Any]
    reason: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records as a Polars frame of the entity's fields, in the columns' types of ``accord.record.columns``.

    ``numbers``: where each row of the frame stood in what was read (a file's row number, counted from 1; the running number
    of a query's row), ascending; None when they are ``first_number``, ``first_number + 1``, …. ``odd``: rows of this stretch
    that are not in the frame. ``position``: JSON value to read on after this batch, frame and odd rows alike. ``origin``:
    what a person calls the place it came from (``in/orders.csv``, ``table orders``). ``after_s``: nothing is in it yet, the source works
    on it elsewhere: ask for the next batch after so many seconds. Its ``position`` names that work, so that a reader that is cut off
    finds it again; only batches before the first rows of a read may be such.
    """

    frame: polars.DataFrame
    position: Any
    first_number: int = 1
    numbers: polars.Series | None = None
    odd: tuple[OddRow, ...] = ()
    origin: str = ""
    is_last: bool = False
    after_s: float = 0.0
