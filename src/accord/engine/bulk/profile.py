"""What a run's data looks like, field by field, counted chunk by chunk.

Nulls, smallest and largest value are of all rows. ``distinct`` is exact up to HASHES_KEPT values, beyond it an estimate from the
smallest hashes (K minimum values: Bar-Yossef et al., 2002; about 6 % off). ``values`` are all values of a field that has few; of
other fields, and for patterns, a sample of each chunk is counted. Of personal fields there are counts only.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal as PyDecimal
from typing import TYPE_CHECKING, Any

import msgspec

from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Field,
    Float,
    Integer,
    String,
    Type,
    name_of,
)
from accord.sdk.frames import Framer

if TYPE_CHECKING:
    import polars

    from accord.engine.bulk.reading import Read

SAMPLE_ROWS = 1_000  # of each chunk, for top values and patterns: a share of 1 % is still seen
HASHES_KEPT = 256  # of a field while its run is open; 2 KB of the journal
VALUES_MAX = 50  # a field with more values than this is no list of values
COUNTED_MAX = 200  # values or patterns counted at once; those counted least are forgotten
SHOWN_MAX = 10  # top values and patterns kept of an ended run, of fields that are no list of values
TEXT_LENGTH_MAX = 60  # of a value or pattern that is kept
_ORDERED: dict[type[Type], Any] = {
    Integer: int,
    Decimal: PyDecimal,
    Float: float,
    Date: dt.date,
    DateTime: dt.datetime,
    Duration: dt.timedelta,
    String: str,
    Enum: str,
}
_LISTED = (String, Enum, Boolean, Integer, Decimal, Date)


class FieldProfile(msgspec.Struct, kw_only=True):
    """``low`` and ``high``: as JSON has them. ``values`` and ``patterns``: text → how often; of all rows when ``is_complete``, else of
    the rows sampled. ``distinct``: None where values cannot be compared."""

    type: str
    is_personal: bool = False
    nulls: int = 0
    distinct: int | None = None
    low: Any = None
    high: Any = None
    values: dict[str, int] = {}
    is_complete: bool = True
    patterns: dict[str, int] = {}
    hashes: list[int] = []


class Profile(msgspec.Struct, kw_only=True):
    """Of one run. ``rows``: those that were profiled; ``read``: all that were read, set at its end."""

    run: str
    started: dt.datetime
    is_whole: bool = True
    rows: int = 0
    read: int = 0
    sampled: int = 0
    fields: dict[str, FieldProfile] = {}


class Profiler:
    """``profile`` grows with every chunk. ``before``: what was counted until the run was cut off."""

    def __init__(self, fields: Mapping[str, Field], profile: Profile) -> None:
        self._fields = fields
        self.profile = profile
        for name, field in fields.items():
            profile.fields.setdefault(
                name, FieldProfile(type=name_of(field.type), is_personal=field.personal is not None)
            )

    def add(self, read: Read) -> None:
        """The rows that columns hold; where a connector gives records one by one, those that fit their columns."""
        frame = read.batch.frame
        if not frame.height and read.batch.odd:
            records = [odd.record for odd in read.batch.odd if not odd.reason and isinstance(odd.record, dict)]
            frame = Framer(self._fields).split(records, range(len(records)), {})[0]
        if not frame.height:
            return
        sample = frame.gather_every(max(1, frame.height // SAMPLE_ROWS)).head(SAMPLE_ROWS)
        self.profile.rows += frame.height
        self.profile.sampled += sample.height
        for name, field in self._fields.items():
            if name in frame.columns:
                _count(self.profile.fields[name], field, frame[name], sample[name])

    def ended(self, read: int) -> Profile:
        """As it is kept: without hashes, and with the top of what was counted."""
        fields = {name: _kept(one) for name, one in self.profile.fields.items()}
        return msgspec.structs.replace(self.profile, read=read, fields=fields)


def _count(one: FieldProfile, field: Field, column: polars.Series, sample: polars.Series) -> None:
    one.nulls += column.null_count()
    kind = type(field.type)
    if kind not in _ORDERED and kind is not Boolean:
        return
    _add_hashes(one, column)
    if one.is_personal:
        return
    if kind in _ORDERED:
        _widen(one, column, _ORDERED[kind])
    if kind in _LISTED:
        _add_values(one, column, sample)
    else:
        one.is_complete = False
    if kind is String:
        one.patterns = _joined(one.patterns, _patterns(sample))


def _add_hashes(one: FieldProfile, column: polars.Series) -> None:
    present = column.drop_nulls() if column.null_count() else column
    hashed = present.hash(seed=0)
    if len(one.hashes) == HASHES_KEPT:
        hashed = hashed.filter(hashed < one.hashes[-1])
    smallest = hashed.unique().bottom_k(HASHES_KEPT).to_list()
    one.hashes = sorted({*one.hashes, *smallest})[:HASHES_KEPT]
    full = len(one.hashes) == HASHES_KEPT
    one.distinct = round((HASHES_KEPT - 1) * 2**64 / one.hashes[-1]) if full else len(one.hashes)


def _widen(one: FieldProfile, column: polars.Series, kind: Any) -> None:
    low: Any = column.min()
    high: Any = column.max()
    if low is None:
        return
    lows, highs = [low], [high]
    if one.low is not None:
        lows.append(msgspec.convert(one.low, kind, strict=False))
        highs.append(msgspec.convert(one.high, kind, strict=False))
    one.low, one.high = _plain(min(lows)), _plain(max(highs))


def _plain(value: Any) -> Any:
    if isinstance(value, PyDecimal):
        return format(value.normalize(), "f")
    return msgspec.to_builtins(value[:TEXT_LENGTH_MAX] if isinstance(value, str) else value)


def _add_values(one: FieldProfile, column: polars.Series, sample: polars.Series) -> None:
    if one.is_complete and sample.n_unique() <= VALUES_MAX + 1:
        found = _joined(one.values, _counted(column), most=VALUES_MAX + 1)
        if len(found) <= VALUES_MAX:
            one.values = found
            return
    if one.is_complete:
        one.is_complete, one.values = False, {}
    one.values = _joined(one.values, _counted(sample))


def _counted(column: polars.Series) -> dict[str, int]:
    """Texts that differ only behind TEXT_LENGTH_MAX are one."""
    import polars as pl

    counts = column.drop_nulls().value_counts(sort=True, name="n").head(COUNTED_MAX)
    values = counts[column.name]
    if isinstance(values.dtype, pl.Decimal):
        texts = [_plain(value) for value in values.to_list()]
    else:
        texts = values.cast(pl.String).str.slice(0, TEXT_LENGTH_MAX).to_list()
    return _joined({}, dict(zip(texts, counts["n"].to_list(), strict=True)))


def _patterns(sample: polars.Series) -> dict[str, int]:
    texts = sample.drop_nulls().str.slice(0, TEXT_LENGTH_MAX)
    return _counted(texts.str.replace_all(r"\p{L}+", "a").str.replace_all(r"\p{Nd}", "9"))


def _joined(before: dict[str, int], more: dict[str, int], most: int = COUNTED_MAX) -> dict[str, int]:
    return dict((Counter(before) + Counter(more)).most_common(most))


def _kept(one: FieldProfile) -> FieldProfile:
    values = one.values if one.is_complete else _joined({}, one.values, SHOWN_MAX)
    return msgspec.structs.replace(one, hashes=[], values=values, patterns=_joined({}, one.patterns, SHOWN_MAX))
