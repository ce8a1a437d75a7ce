"""Columns of text to an entity's frame, by the settings that ``values.Converter`` follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from accord.connectors.files.values import Converter
from accord.record import types as t
from accord.record.columns import dtype_of, schema_of
from accord.sdk import texts
from accord.sdk.frames import Framer

if TYPE_CHECKING:
    import polars as pl

Read = Callable[["pl.Series"], "pl.Series"]


class Cells:
    def __init__(self, converter: Converter, as_written: frozenset[str] = frozenset()) -> None:
        self.as_written = as_written
        self.converter, self.extra = converter, converter.extra
        self.schema = schema_of(converter.fields)

    def empty(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(schema=self.schema)

    def frame(self, columns: Mapping[str, pl.Series], height: int) -> tuple[pl.DataFrame, pl.Series | None]:
        """The typed frame and which rows hold a cell that is not surely right (None: no row). Absent columns are null."""
        import polars as pl

        made: list[pl.Series] = []
        wrong: pl.Series | None = None
        for name, field in self.converter.fields.items():
            if name not in columns:
                made.append(pl.Series(name, [None], dtype=self.schema[name]).new_from_index(0, height))
                continue
            column, bad = self._column(field, columns[name].alias("t"), exact=name in self.as_written)
            made.append(column.alias(name))
            if bad is not None:
                wrong = bad if wrong is None else wrong | bad
        return pl.DataFrame(made, schema=self.schema), wrong

    def _column(self, field: t.Field, cells: pl.Series, *, exact: bool) -> tuple[pl.Series, pl.Series | None]:
        import polars as pl

        if self.extra.trim:
            cells = cells.str.strip_chars()
        is_empty = cells.str.len_bytes() == 0
        is_text = isinstance(field.type, t.String)
        if is_text and not field.nullable:
            is_empty = is_empty & False
        if self.extra.nulls:
            is_empty = is_empty | (cells.is_in(self.extra.nulls) & (cells.str.len_bytes() > 0))
        if is_empty.any():
            cells = cells.to_frame().select(pl.when(~is_empty).then(pl.col("t"))).to_series()
        if isinstance(field.type, t.String | t.Enum):
            return cells, None
        kept = self._as_kept(field.type, cells) if exact else cells
        found = self._read(field.type, kept, exact=exact)
        if found.null_count() == cells.null_count():
            return found, None
        return found, found.is_null() & cells.is_not_null()

    def _as_kept(self, type_: t.Type, cells: pl.Series) -> pl.Series:
        return texts.as_kept(cells, type_, comma=self.extra.decimal_comma, zone=self.converter.zone.key)

    def _read(self, type_: t.Type, cells: pl.Series, *, exact: bool) -> pl.Series:
        comma = self.extra.decimal_comma
        match type_:
            case t.Integer():
                return texts.integers(cells)
            case t.Decimal():
                return texts.decimals(cells, comma=comma)
            case t.Float():
                return texts.floats(cells, comma=comma)
            case t.Boolean():
                return self._booleans(cells)
            case t.Date():
                return self._by_forms(cells, self.extra.dates, lambda s: s.dt.date(), texts.dates)
            case t.DateTime():
                zone = self.converter.zone.key
                return self._by_forms(
                    cells, self.extra.datetimes, lambda s: _placed(s, zone), lambda s: texts.local_instants(s, zone)
                )
            case _:
                return self._by_rows(type_, cells, exact=exact)

    def _booleans(self, cells: pl.Series) -> pl.Series:
        import polars as pl

        words = {w.lower(): True for w in self.extra.true} | {w.lower(): False for w in self.extra.false}
        return cells.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)

    def _by_forms(self, cells: pl.Series, forms: list[str], place: Read, plain: Read) -> pl.Series:
        """The first form that fits, as the converter tries them; several need separators, so that no text fits two of them."""
        if not forms:
            return plain(cells)
        is_safe = len(forms) == 1 or all(texts.pattern_of(f) and _is_separated(f) for f in forms)
        if not is_safe:
            return cells.clear(len(cells)).cast(plain(cells.clear()).dtype)
        found = place(texts.by_form(cells, forms[0]))
        for form in forms[1:]:
            if found.null_count() == cells.null_count():
                return found
            found = _or(found, place(texts.by_form(cells, form)))
        if found.null_count() == cells.null_count() or not texts.pattern_of(forms[0]):
            return found
        return _or(found, plain(cells))

    def _by_rows(self, type_: t.Type, cells: pl.Series, *, exact: bool) -> pl.Series:
        """JSON, durations and nested values: read as rows are, then put into their column where they fit."""
        import polars as pl

        converter = Converter({"it": t.Field(type=type_, nullable=True)}, self.extra, self.converter.zone)
        values = [None if text is None else converter.of_text("it", text) for text in cells]
        misfits: set[int] = set()
        made = Framer({"it": t.Field(type=type_)}).column(type_, values, misfits, exact=exact)
        if not misfits:
            return made
        keep = pl.Series([i not in misfits for i in range(len(values))], dtype=pl.Boolean)
        return made.alias("t").to_frame().select(pl.when(keep).then(pl.col("t"))).to_series().cast(dtype_of(type_))


def _placed(local: pl.Series, zone: str) -> pl.Series:
    import polars as pl

    return local.alias("t").to_frame().select(texts.in_zone(pl.col("t"), zone)).to_series()


def _or(first: pl.Series, second: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), second)


def _is_separated(form: str) -> bool:
    """No two numbers of the format touch."""
    parts = [part[1:] for part in form.split("%")[1:]]
    return all(part and not part[0].isdigit() for part in parts[:-1])
