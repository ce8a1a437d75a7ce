"""Columns of text to typed columns. What is not surely right becomes null: the caller compares with what was there.

Each pattern is narrower than what a reader of rows understands, so a text taken here is taken there with the same value.
Years before 1000, times in a zone's gap and the like are left to rows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from accord.record import types as t

_DAY = "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
_SECONDS = r"[0-9]{2}:[0-9]{2}:[0-5][0-9]"
_FRACTION = r"\.[0-9]{1,6}"
_OFFSET = "[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_SIMPLE = f"^{_DAY}[T ]{_SECONDS}(?:Z|[+]00:00)$"
_WIRE = f"^{_DAY}[T ]{_SECONDS}(?:{_FRACTION})?(?:Z|{_OFFSET})$"
_LOCAL = f"^{_DAY}(?:[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-5][0-9](?:{_FRACTION})?)?)?(?:Z|{_OFFSET})?$"
_POINT = r"^[+-]?(?:[0-9]{1,28}(?:\.[0-9]{0,10})?|\.[0-9]{1,10})$"
_FLOAT = r"^[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?$"
_COMMA = r"^[+-]?(?:[0-9]{1,28}|[0-9]{1,3}(?:\.[0-9]{3}){1,8})(?:,[0-9]{0,10})?$"
ZONED_YEARS = (1970, 2036)  # where the rules of zones that Polars and Python carry agree
_KEPT_NUMBER = r"^(?:[+]?[0-9]*(?:\.[0-9]*[1-9])?|-[0-9]*[1-9][0-9]*|-[0-9]*\.[0-9]*[1-9])$"
_KEPT_NUMBER_COMMA = _KEPT_NUMBER.replace("[0-9]*", "[0-9.]*").replace(r"\.[0-9.]*[1-9]", ",[0-9]*[1-9]")
_IN_UTC = "(?:Z|[+]00:00)$"
_IN_A_ZONE = "(?:Z|[+-][0-9]{2}:?[0-9]{2})$"
_DIRECTIVES = {
    "Y": "[1-9][0-9]{3}",
    "m": "[0-9]{2}",
    "d": "[0-9]{2}",
    "H": "[0-9]{2}",
    "M": "[0-9]{2}",
    "S": "[0-5][0-9]",
}


def _where(texts: pl.Series, pattern: str) -> pl.Series:
    """The texts that match, null for the others."""
    is_so = texts.str.contains(pattern)
    return texts if is_so.all() else texts.to_frame("t").select(_when(is_so)).to_series()


def _when(is_so: pl.Series) -> pl.Expr:
    import polars as pl

    return pl.when(is_so).then(pl.col("t"))


def as_kept(texts: pl.Series, type_: t.Type, *, comma: bool = False, zone: str = "UTC") -> pl.Series:
    """The texts of which a column keeps all there is, null for others: decimals without needless zeros, times in UTC. ``zone``: of
    times that name none."""
    from accord.record import types as t

    match type_:
        case t.Decimal():
            return _where(texts, _KEPT_NUMBER_COMMA if comma else _KEPT_NUMBER)
        case t.DateTime() if zone == "UTC":
            is_day = texts.str.len_bytes() == 10
            is_so = texts.str.contains(_IN_UTC) | ~texts.str.contains(_IN_A_ZONE) | is_day
            return texts.to_frame("t").select(_when(is_so)).to_series()
        case t.DateTime():
            return _where(texts, _IN_UTC)
        case _:
            return texts


def integers(texts: pl.Series) -> pl.Series:
    import polars as pl

    return texts.cast(pl.Int64, strict=False)


def decimals(texts: pl.Series, *, comma: bool = False) -> pl.Series:
    from accord.record import types as t
    from accord.record.columns import dtype_of

    if comma:
        texts = _where(texts, _COMMA).str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return _where(texts, _POINT).cast(dtype_of(t.Decimal()), strict=False)


def floats(texts: pl.Series, *, comma: bool = False) -> pl.Series:
    import polars as pl

    if comma:
        texts = _where(texts, _COMMA).str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    found = _where(texts, _FLOAT).cast(pl.Float64, strict=False)
    return found.to_frame("t").select(_when(found.is_finite())).to_series()


def dates(texts: pl.Series) -> pl.Series:
    """YYYY-MM-DD."""
    return _where(texts, f"^{_DAY}$").str.to_date("%Y-%m-%d", strict=False)


def instants(texts: pl.Series) -> pl.Series:
    """Instants as they stand in JSON: seconds and zone are there (RFC 3339)."""
    import polars as pl

    texts = _where(texts, _WIRE)
    if texts.str.contains(_SIMPLE).all():
        return _seconds(texts).dt.replace_time_zone("UTC")
    return _instants(texts, "UTC").cast(pl.Datetime("us", "UTC"))


def local_instants(texts: pl.Series, zone: str) -> pl.Series:
    """ISO 8601 as in files: without seconds, time or zone too; times without a zone are of ``zone``."""
    if texts.str.contains(_SIMPLE).all():
        return _seconds(texts).dt.replace_time_zone("UTC")
    return _instants(_where(texts, _LOCAL), zone)


def _seconds(texts: pl.Series) -> pl.Series:
    head = texts.str.slice(0, 19).str.replace(" ", "T", literal=True)
    return head.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)


def _instants(texts: pl.Series, zone: str) -> pl.Series:
    import polars as pl

    text = pl.col("t").str.replace(" ", "T", literal=True)
    whole = pl.concat_str(
        text.str.slice(0, 16), pl.when(text.str.contains(_SECONDS)).then(text.str.slice(16, 3)).otherwise(pl.lit(":00"))
    )
    day_only = pl.col("t").str.len_bytes() == 10
    base = pl.when(day_only).then(text + "T00:00:00").otherwise(whole)
    micros = pl.col("t").str.extract(r"\.([0-9]{1,6})", 1).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    offset = pl.col("t").str.extract(f"({_OFFSET})$", 1)
    minutes = offset.str.slice(1, 2).cast(pl.Int64) * 60 + offset.str.slice(4, 2).cast(pl.Int64)
    minutes = pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes)
    local = base.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False) + pl.duration(microseconds=micros)
    exact = pl.when(pl.col("t").str.ends_with("Z")).then(0).otherwise(minutes)
    frame = texts.to_frame("t").select(
        local.alias("local"), pl.duration(minutes=exact.fill_null(0)).alias("offset"), exact.is_null().alias("is_local")
    )
    known = (pl.col("local") - pl.col("offset")).dt.replace_time_zone("UTC")
    placed = in_zone(pl.col("local"), zone)
    return frame.select(pl.when(pl.col("is_local")).then(placed).otherwise(known).alias("t")).to_series()


def in_zone(local: pl.Expr, zone: str) -> pl.Expr:
    """Local times to instants: the first of two that a clock shows twice, null for those it never shows."""
    import polars as pl

    if zone == "UTC":
        return local.dt.replace_time_zone("UTC")
    sure = pl.when(local.dt.year().is_between(*ZONED_YEARS)).then(local)
    return sure.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def pattern_of(form: str) -> str:
    """The texts a strptime format surely means: every number with all its digits. '' when it has other directives than
    year, month, day, hour, minute and second."""
    parts = re.split(r"%(.)", form, flags=re.DOTALL)
    names = parts[1::2]
    if not set(names) <= set(_DIRECTIVES) or len(set(names)) != len(names) or not set("Ymd") <= set(names):
        return ""
    if any(
        part.strip() != part.strip("\t\n\r\x0b\x0c") or any(c.isspace() for c in part if c != " ")
        for part in parts[::2]
    ):
        return ""
    made = [re.escape(part) if at % 2 == 0 else _DIRECTIVES[part] for at, part in enumerate(parts)]
    return f"^{''.join(made)}$"


def by_form(texts: pl.Series, form: str) -> pl.Series:
    """Local times written by a strptime format; all null for formats that ``pattern_of`` does not know."""
    import polars as pl

    pattern = pattern_of(form)
    if not pattern:
        return pl.Series(texts.name, [None] * len(texts), dtype=pl.Datetime("us"))
    sure = _where(texts, pattern)
    for name, digits in (("H", "00"), ("M", "00"), ("S", "00")):
        if f"%{name}" not in form:
            sure, form = sure + f" {digits}", f"{form} %{name}"
    return sure.str.to_datetime(form, time_unit="us", strict=False)
