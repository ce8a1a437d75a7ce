"""Records to a frame: the values that surely fit their columns, and which records are odd.

What is taken is what a contract takes without changing its value; everything else (text where a number is declared, numbers
too large for the column, moments without a zone) makes its record odd, and rows decide about it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from accord.record import Field
from accord.record import types as t
from accord.record.batch import OddRow
from accord.record.columns import dtype_of, schema_of
from accord.sdk import texts
from accord.sdk.http import encode_json

if TYPE_CHECKING:
    import polars as pl

Get = Callable[[Sequence[Any], str], list[Any]]  # the values of one name in many records
_INT64 = 2**63


def of_dicts(records: Sequence[Any], name: str) -> list[Any]:
    return [record.get(name) for record in records]


def of_structs(records: Sequence[Any], name: str) -> list[Any]:
    return list(map(attrgetter(name), records))


class Framer:
    """Makes frames of one entity's fields. ``get``: how a value is taken out of a record (a dict unless told). ``as_written``: fields
    of which a value that its column does not keep as it was written does not fit either."""

    def __init__(
        self, fields: Mapping[str, Field], get: Get = of_dicts, as_written: Collection[str] = frozenset()
    ) -> None:
        self.as_written = frozenset(as_written)
        self.fields = dict(fields)
        self.schema = schema_of(fields)
        self.get = get

    def frame(self, records: Sequence[Any]) -> tuple[pl.DataFrame, set[int]]:
        """All records as rows, and the indexes of those that hold a value which does not fit (null there)."""
        import polars as pl

        misfits: set[int] = set()
        columns = [
            self.column(field.type, self.get(records, name), misfits, exact=name in self.as_written).alias(name)
            for name, field in self.fields.items()
        ]
        return pl.DataFrame(columns, schema=self.schema), misfits

    def split(
        self, records: Sequence[dict[str, Any]], numbers: Sequence[int], reasons: Mapping[int, str]
    ) -> tuple[pl.DataFrame, pl.Series, tuple[OddRow, ...]]:
        """Rows that fit, their numbers, and the odd ones; ``reasons`` are of records (by index) that could not be read."""
        import polars as pl

        frame, misfits = self.frame(records)
        misfits |= reasons.keys()
        odd = tuple(OddRow(numbers[i], records[i], reasons.get(i, "")) for i in sorted(misfits))
        places = pl.Series("numbers", numbers, dtype=pl.Int64)
        if misfits:
            keep = pl.Series([i not in misfits for i in range(len(records))], dtype=pl.Boolean)
            frame, places = frame.filter(keep), places.filter(keep)
        return frame, places, odd

    def column(self, type_: t.Type, values: list[Any], misfits: set[int], *, exact: bool = False) -> pl.Series:
        """A typed column. Indexes of values that do not fit are added to ``misfits``; with ``exact`` also of those that it does not
        keep as they were written."""
        import polars as pl

        match type_:
            case t.List():
                return self._list(type_, values, misfits, exact)
            case t.Object(fields=fields):
                return self._object(fields, values, misfits, exact)
            case t.Json():
                return pl.Series([json_text(v) for v in values], dtype=pl.String)
            case t.Duration():
                return pl.Series(_durations(values, misfits), dtype=pl.Duration("us"))
            case t.Boolean():
                return pl.Series(_only(values, bool, misfits), dtype=pl.Boolean)
            case t.Integer():
                return _integers(values, misfits)
            case t.Decimal() | t.Float():
                is_exact = isinstance(type_, t.Decimal)
                if is_exact and self.get is not of_dicts:
                    return _checked(_raw_numbers(values), texts.decimals, misfits, type_ if exact else None)
                made = _number_texts(values, (int, str) if is_exact else (int, float), keep_form=exact)
                read = texts.decimals if is_exact else texts.floats
                return _checked(made, read, misfits, type_ if exact else None)
            case t.Date():
                return _checked(_moments(values), texts.dates, misfits)
            case t.DateTime():
                return _checked(_moments(values), texts.instants, misfits, type_ if exact else None)
            case _:
                return _strings(values, misfits)

    def _object(self, fields: Mapping[str, Field], values: list[Any], misfits: set[int], exact: bool) -> pl.Series:
        import polars as pl

        is_null = pl.Series([v is None for v in values], dtype=pl.Boolean)
        if self.get is of_dicts:
            misfits.update(i for i, v in enumerate(values) if v is not None and not isinstance(v, dict))
            values = [v if isinstance(v, dict) else {} for v in values]
            inside = [
                self.column(f.type, of_dicts(values, n), misfits, exact=exact).alias(n) for n, f in fields.items()
            ]
        else:
            whole = not is_null.any()
            inside = [
                self.column(
                    f.type,
                    of_structs(values, n) if whole else [None if v is None else getattr(v, n) for v in values],
                    misfits,
                    exact=exact,
                ).alias(n)
                for n, f in fields.items()
            ]
        made = pl.DataFrame(inside).to_struct("v")
        if not is_null.any():
            return made
        return made.to_frame().select(pl.when(~is_null).then(pl.col("v"))).to_series()

    def _list(self, type_: t.List, values: list[Any], misfits: set[int], exact: bool) -> pl.Series:
        import polars as pl

        misfits.update(i for i, v in enumerate(values) if v is not None and not isinstance(v, list))
        lists = [v if isinstance(v, list) else () for v in values]
        parents = list(itertools.chain.from_iterable(itertools.repeat(i, len(v)) for i, v in enumerate(lists)))
        inner: set[int] = set()
        flat = self.column(type_.item, list(itertools.chain.from_iterable(lists)), inner, exact=exact)
        misfits.update(parents[i] for i in inner)
        grouped = (
            pl.DataFrame([pl.Series("p", parents, dtype=pl.Int64), flat.alias("v")])
            .group_by("p", maintain_order=True)
            .agg(pl.col("v"))
        )
        if grouped.height == len(values):
            return grouped["v"]
        dtype = dtype_of(type_)
        nothing = pl.Series("n", [None if v is None else [] for v in values], dtype=dtype)
        every = pl.DataFrame([pl.Series("p", range(len(values)), dtype=pl.Int64), nothing])
        joined = every.join(grouped, on="p", how="left", maintain_order="left")
        return joined.select(pl.coalesce("v", "n").alias("v")).to_series()


def json_text(value: Any) -> str | None:
    """A value of a ``json`` field as its column holds it."""
    text = str(value, "utf-8") if isinstance(value, msgspec.Raw) else encode_json(value).decode()
    return None if text == "null" else text


def _only(values: list[Any], kind: type, misfits: set[int]) -> list[Any]:
    bad = [i for i, v in enumerate(values) if v is not None and type(v) is not kind]
    if not bad:
        return values
    misfits.update(bad)
    return [v if type(v) is kind else None for v in values]


def _strings(values: list[Any], misfits: set[int]) -> pl.Series:
    import polars as pl

    try:
        return pl.Series(values, dtype=pl.String, strict=True)
    except (TypeError, pl.exceptions.PolarsError, UnicodeError):
        kept = _only(values, str, misfits)
        lone = [i for i, v in enumerate(kept) if v is not None and not _is_text(v)]
        misfits.update(lone)
        for i in lone:
            kept[i] = None
        return pl.Series(kept, dtype=pl.String)


def _is_text(value: str) -> bool:
    """False for halves of a surrogate pair, which no UTF-8 can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integers(values: list[Any], misfits: set[int]) -> pl.Series:
    import polars as pl

    kept = _only(values, int, misfits)
    try:
        return pl.Series(kept, dtype=pl.Int64, strict=True)
    except (OverflowError, TypeError, pl.exceptions.PolarsError):
        large = [i for i, v in enumerate(kept) if v is not None and not -_INT64 <= v < _INT64]
        misfits.update(large)
        return pl.Series([None if v is None or not -_INT64 <= v < _INT64 else v for v in kept], dtype=pl.Int64)


def _number_texts(values: Sequence[Any], plain: tuple[type, ...], *, keep_form: bool) -> list[str | None]:
    made: list[str | None] = []
    for value in values:
        kind = type(value)
        if value is None:
            made.append(None)
        elif kind is decimal.Decimal:
            text = str(value)
            made.append(format(value, "f") if "E" in text and abs(value.adjusted()) < 40 and not keep_form else text)
        elif kind in plain:
            made.append(str(value))
        else:
            made.append("?")
    return made


def _raw_numbers(values: Sequence[Any]) -> pl.Series:
    """JSON numbers, or strings that hold one, as they stand in the JSON."""
    import polars as pl

    made = pl.Series("t", [None if v is None else str(v, "utf-8") for v in values], dtype=pl.String)
    return made.to_frame().select(pl.when(pl.col("t") != "null").then(pl.col("t").str.strip_chars('"'))).to_series()


def _moments(values: list[Any]) -> list[str | None]:
    return [v if v is None or type(v) is str else _moment(v) for v in values]


def _moment(value: Any) -> str:
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return "?"
    return value.isoformat() if isinstance(value, dt.date) else "?"


def _durations(values: list[Any], misfits: set[int]) -> list[dt.timedelta | None]:
    made: list[dt.timedelta | None] = []
    for index, value in enumerate(values):
        try:
            whole = value is None or isinstance(value, dt.timedelta)
            made.append(value if whole else msgspec.convert(value, dt.timedelta))
        except msgspec.ValidationError:
            misfits.add(index)
            made.append(None)
    return made


def _checked(
    made: list[str | None] | pl.Series,
    read: Callable[[pl.Series], pl.Series],
    misfits: set[int],
    kept: t.Type | None = None,
) -> pl.Series:
    """``kept``: the type, where only values count that the column keeps as they were written."""
    column = (_strings(made, misfits) if isinstance(made, list) else made).alias("t")
    found = read(column if kept is None else texts.as_kept(column, kept))
    if found.null_count() != column.null_count():
        misfits.update((found.is_null() & column.is_not_null()).arg_true().to_list())
    return found
