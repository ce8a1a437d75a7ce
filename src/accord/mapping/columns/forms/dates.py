"""Days and times. Text is believed when writing what was read gives the same text again; all else is the row form's to judge."""

from __future__ import annotations

import datetime as dt
import re

import polars as pl

from accord.mapping.columns.column import ANY_DEPTH, FIXED, MIXED, UTC, Column, NoColumn, either, guarded
from accord.mapping.columns.dtypes import DECIMAL, DURATION
from accord.mapping.columns.forms.table import form
from accord.mapping.columns.operators import TIME_MAX, TIME_MIN, together
from accord.mapping.columns.texts import FIRST_PLAIN_YEAR
from accord.record.types import Date, DateTime, Decimal, Duration, Integer, String

_FORMAT = re.compile(r"(?:%[YmdHMS]|[-./: ,T_])+")
_TIME_TEXT = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})\z"
_ZONE_YEARS = (1972, 2036)  # in which the zone rules of all libraries agree
_UNITS_US = {
    "days": 86_400_000_000,
    "weeks": 604_800_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
}
_DURATION_US_MAX = 9 * 10**18


def _simple(format_: Column, *, needs: str) -> str:
    """A format of digits and marks that reads and writes the same everywhere."""
    text = format_.literal
    codes = re.findall("%(.)", text) if isinstance(text, str) else []
    if not isinstance(text, str) or not _FORMAT.fullmatch(text) or len(set(codes)) != len(codes):
        raise NoColumn("a format with names or offsets")
    if not set("Ymd") <= set(codes) or not set(codes) <= set(needs):
        raise NoColumn("a format without a whole day")
    return text


def _read_day(value: Column, format_: str) -> Column:
    made = value.value.str.to_date(format_, strict=False)
    is_same = (made.dt.strftime(format_) == value.value) & (made.dt.year() >= FIRST_PLAIN_YEAR)
    return together([value], made, Date(), odd=~is_same.fill_null(value=False) & value.value.is_not_null())


@form("date")
def date(value: Column, format_: Column, zone: Column) -> Column:
    match value.type:
        case String():
            return _read_day(value, "%Y-%m-%d" if format_.is_null else _simple(format_, needs="Ymd"))
        case Date():
            return value
        case DateTime():
            local = value if zone.is_null else _in_zone(value, str(zone.literal))
            return together([local], _clock(local).dt.date(), Date())
        case _:
            raise NoColumn("date() of json")


def _clock(time: Column) -> pl.Expr:
    if time.zone in (FIXED, MIXED):
        raise NoColumn("the clock of a zone that is not the column's")
    return time.value if time.zone == UTC else time.value.dt.convert_time_zone(time.zone)


def _in_zone(time: Column, zone: str) -> Column:
    if zone == UTC:
        return together([time], time.value, DateTime())
    return together([time], time.value, DateTime(), odd=~time.value.dt.year().is_between(*_ZONE_YEARS), zone=zone)


@form("datetime")
def datetime(value: Column, format_: Column, zone: Column) -> Column:
    match value.type:
        case String():
            if format_.is_null:
                return _read_time(value)
            return _placed(_read_clock(value, _simple(format_, needs="YmdHMS")), zone)
        case DateTime():
            return value
        case Date():
            return _placed(together([value], value.value.cast(pl.Datetime("us")), Date()), zone)
        case Integer():
            small = guarded(value, 12)
            made = (small.value * 1_000_000).cast(pl.Datetime("us", UTC))
            return together([small], made, DateTime(), odd=~made.is_between(pl.lit(TIME_MIN), pl.lit(TIME_MAX)))
        case _:
            raise NoColumn("datetime() of json and decimals")


def _read_time(value: Column) -> Column:
    text = value.value
    good = text.str.contains(_TIME_TEXT)
    plain = text.str.replace("Z", "+00:00", literal=True).str.replace(" ", "T", literal=True)
    made = pl.when(good).then(plain).str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", strict=False)
    made = made.dt.convert_time_zone(UTC)
    # 24:00 and a 60th second are read by some libraries; the offset is at most a day
    odd_clock = text.str.slice(11, 2).is_in(["24"]) | text.str.slice(17, 2).is_in(["60"])
    doubtful = ~good | (made.is_null() & text.is_not_null()) | odd_clock
    doubtful = doubtful | ~made.dt.year().is_between(2, 9998)
    return together([value], made, DateTime(), odd=doubtful, zone=FIXED)


def _read_clock(value: Column, format_: str) -> Column:
    codes = set(re.findall("%(.)", format_))
    if codes == set("Ymd"):
        made = value.value.str.to_date(format_, strict=False).cast(pl.Datetime("us"))
    elif codes >= set("YmdHM"):
        made = value.value.str.to_datetime(format_, time_unit="us", strict=False)
    else:
        raise NoColumn("a format without minutes")
    is_same = (made.dt.strftime(format_) == value.value) & (made.dt.year() >= FIRST_PLAIN_YEAR)
    return together([value], made, Date(), odd=~is_same.fill_null(value=False) & value.value.is_not_null())


def _placed(naive: Column, zone: Column) -> Column:
    """A clock's reading in a zone: the first of two readings that are the same; one that the clocks skip is odd."""
    if not isinstance(zone.literal, str):
        raise NoColumn("a time without a zone")
    if zone.literal == UTC:
        return together([naive], naive.value.dt.replace_time_zone(UTC), DateTime())
    made = naive.value.dt.replace_time_zone(zone.literal, ambiguous="earliest", non_existent="null")
    odd = (made.is_null() & naive.value.is_not_null()) | ~naive.value.dt.year().is_between(*_ZONE_YEARS)
    return together([naive], made.dt.convert_time_zone(UTC), DateTime(), odd=odd, zone=zone.literal)


@form("in_zone")
def in_zone(time: Column, zone: Column) -> Column:
    return _in_zone(time, str(zone.literal))


@form("utc")
def utc(time: Column) -> Column:
    return together([time], time.value, DateTime())


def _known(length: dt.timedelta) -> Column:
    return Column(value=pl.lit(length, dtype=DURATION), type=Duration(), literal=length, depth=ANY_DEPTH)


def _length(unit: str) -> None:
    @form(unit)
    def length(count: Column) -> Column:
        if type(count.literal) is int and abs(count.literal) <= 1_000_000:
            return _known(dt.timedelta(**{unit: count.literal}))
        most = _DURATION_US_MAX // _UNITS_US[unit]
        fits = count.value.is_between(-most, most)
        value = pl.when(fits).then(count.value) * _UNITS_US[unit]
        return together([count], value.cast(DURATION), Duration(), odd=~fits)


for _unit in _UNITS_US:
    _length(_unit)


@form("total_seconds")
def total_seconds(length: Column) -> Column:
    value = length.value.cast(pl.Int64).cast(DECIMAL) * pl.lit("0.000001").cast(DECIMAL)
    return together([length], value, Decimal(), whole=13, places=6)


@form("unix_time")
def unix_time(time: Column) -> Column:
    if time.zone not in (UTC, FIXED):
        raise NoColumn("the clock of a zone")
    value = time.value.cast(pl.Int64).cast(DECIMAL) * pl.lit("0.000001").cast(DECIMAL)
    return together([time], value, Decimal(), whole=13, places=6)


@form("format")
def format_(value: Column, format_: Column) -> Column:
    text = format_.literal
    if not isinstance(text, str) or not re.fullmatch(r"(?:%[YmdHMS]|[^%])+", text):
        raise NoColumn("a format with names or offsets")
    moment = _clock(value) if isinstance(value.type, DateTime) else value.value
    if isinstance(value.type, Date):
        moment = moment.cast(pl.Datetime("us"))
    return together([value], moment.dt.strftime(text), String(), odd=moment.dt.year() < FIRST_PLAIN_YEAR)


def _part(name: str, digits: int) -> None:
    @form(name)
    def part(value: Column) -> Column:
        moment = _clock(value) if isinstance(value.type, DateTime) else value.value
        found = getattr(moment.dt, name)().cast(pl.Int64)
        return together([value], found, Integer(), whole=digits, places=0)


for _name, _digits in (("year", 4), ("month", 2), ("day", 2), ("hour", 2), ("minute", 2), ("weekday", 1)):
    _part(_name, _digits)


@form("add_months")
def add_months(value: Column, count: Column) -> Column:
    if type(count.literal) is not int or abs(count.literal) > 120_000:
        raise NoColumn("a number of months that is computed")
    month = value.value.dt.year().cast(pl.Int64) * 12 + value.value.dt.month().cast(pl.Int64) - 1 + count.literal
    year = month // 12
    fits = year.is_between(dt.MINYEAR, dt.MAXYEAR)
    made = pl.when(fits).then(value.value).dt.offset_by(f"{count.literal}mo")
    return together([value], made, Date(), odd=~fits)


@form("start_of")
def start_of(value: Column, unit: Column) -> Column:
    every = {"year": "1y", "quarter": "1q", "month": "1mo", "week": "1w", "day": "1d"}[str(unit.literal)]
    odd = value.value.dt.year() < 2 if unit.literal == "week" else None
    return together([value], value.value.dt.truncate(every), Date(), odd=odd)


@form("end_of")
def end_of(value: Column, unit: Column) -> Column:
    start = start_of(value, unit)
    length = {"year": "1y", "quarter": "3mo", "month": "1mo", "week": "7d", "day": "1d"}[str(unit.literal)]
    odd = either(value.value.dt.year() > 9998)
    return together([start], start.value.dt.offset_by(length).dt.offset_by("-1d"), Date(), odd=odd)
