"""Dates, times with zones, durations."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from accord.mapping.environment import Environment
from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin
from accord.mapping.support import duration_text  # noqa: F401 - kept beside its reader below

_CODES = set("aAbBcdfHIjmMpSuUVGwWxXyYzZ%")


def prepare_format(format_: str) -> str:
    """A strftime format. Raises ValueError for unknown codes."""
    if len(format_) > 100:
        raise ValueError("a format has at most 100 characters")
    for code in re.findall(r"%(.?)", format_.replace("%%", "")):
        if code not in _CODES:
            raise ValueError(f"'%{code}' is no format code; common ones are %Y %m %d %H %M %S")
    if "%" not in format_:
        raise ValueError("it has no format code; for example %d/%m/%Y")
    return format_


def prepare_zone(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone '{name}'; for example Europe/Berlin or UTC") from None


@builtin("string|datetime|date|json, const?, const? -> date", 'date("31/05/2024", "%d/%m/%Y") == date("2024-05-31")',
         prepare={"format": prepare_format, "zone": prepare_zone})  # fmt: skip
def date(value: Any, format_: str | None = None, zone: ZoneInfo | None = None) -> dt.date:
    """Text as day (ISO 8601 unless a format is given), or the day of a time in its own or the given zone."""
    match value:
        case dt.datetime():
            return (value.astimezone(zone) if zone else value).date()
        case dt.date():
            return value
        case str():
            try:
                if format_ is None:
                    return (
                        dt.date.fromisoformat(value.strip()[:10]) if _ISO_DAY.match(value.strip()) else _no_day(value)
                    )
                return dt.datetime.strptime(value.strip(), format_).date()
            except ValueError:
                raise Rejected(f"this is no day of the form {format_ or '2024-05-31'}", value) from None
        case _:
            raise Rejected("this json is no text with a day", value)


_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?\Z")


def _no_day(value: str) -> dt.date:
    raise Rejected("this is no day of the form 2024-05-31", value)


@builtin("string|date|datetime|integer|decimal|json, const?, const? -> datetime",
         'datetime("2024-05-31 10:00", "%Y-%m-%d %H:%M", "Europe/Berlin") == datetime("2024-05-31T08:00:00Z")',
         prepare={"format": prepare_format, "zone": prepare_zone})  # fmt: skip
def datetime(value: Any, format_: str | None = None, zone: ZoneInfo | None = None) -> dt.datetime:
    """Text (ISO 8601 unless a format is given), a day (its midnight) or Unix seconds as time. What has no zone of its own
    needs ``zone``."""
    match value:
        case dt.datetime():
            made = value
        case dt.date():
            made = dt.datetime(value.year, value.month, value.day)
        case str():
            made = _read_time(value.strip(), format_)
        case bool() | None:
            raise Rejected("this is no time", value)
        case _ if isinstance(value, dict | list):
            raise Rejected("this json is no time", value)
        case _:
            made = _from_seconds(value)
    if made.tzinfo is None:
        if zone is None:
            raise Rejected('this time has no zone; name one, for example zone="Europe/Berlin"', value)
        made = made.replace(tzinfo=zone)
    return made


def _read_time(value: str, format_: str | None) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(value) if format_ is None else dt.datetime.strptime(value, format_)
    except ValueError:
        raise Rejected(f"this is no time of the form {format_ or '2024-05-31T10:00:00Z'}", value) from None


def _from_seconds(value: Any) -> dt.datetime:
    try:
        micros = int(value * 1_000_000)
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
    except (OverflowError, ValueError, ArithmeticError):
        raise Rejected("this is out of range for a time", value) from None


@builtin("-> datetime", "now() <= now()", needs_environment=True)
def now(environment: Environment) -> dt.datetime:
    """When the message was accepted: the flow's clock, the same on every attempt."""
    return environment.now


@builtin("-> date", "today() == date(now())", needs_environment=True)
def today(environment: Environment) -> dt.date:
    """The day the message was accepted, in UTC."""
    return environment.now.astimezone(dt.UTC).date()


def _length(unit: str, count: int) -> dt.timedelta:
    try:
        return dt.timedelta(**{unit: count})
    except OverflowError:
        raise Rejected("the duration is out of range", count) from None


@builtin("integer -> duration", 'date("2024-02-28") + days(2) == date("2024-03-01")')
def days(count: int) -> dt.timedelta:
    """So many days."""
    return _length("days", count)


@builtin("integer -> duration", "weeks(1) == days(7)")
def weeks(count: int) -> dt.timedelta:
    """So many weeks."""
    return _length("weeks", count)


@builtin("integer -> duration", "hours(24) == days(1)")
def hours(count: int) -> dt.timedelta:
    """So many hours."""
    return _length("hours", count)


@builtin("integer -> duration", "minutes(60) == hours(1)")
def minutes(count: int) -> dt.timedelta:
    """So many minutes."""
    return _length("minutes", count)


@builtin("integer -> duration", "seconds(60) == minutes(1)")
def seconds(count: int) -> dt.timedelta:
    """So many seconds."""
    return _length("seconds", count)


@builtin("duration -> decimal", "total_seconds(minutes(2)) == 120")
def total_seconds(length: dt.timedelta) -> Any:
    """A duration in seconds, exact to the microsecond."""
    from decimal import Decimal

    return Decimal(length // dt.timedelta(microseconds=1)).scaleb(-6)


@builtin("string -> duration", 'duration("P1DT2H") == days(1) + hours(2)')
def duration(text: str) -> dt.timedelta:
    """ISO 8601 text of days, hours, minutes and seconds as duration."""
    try:
        return msgspec.convert(text.strip(), dt.timedelta)
    except (msgspec.ValidationError, ValueError):
        raise Rejected("this is no duration such as P1DT2H", text) from None


@builtin("datetime, const -> datetime", 'hour(in_zone(datetime("2024-07-01T10:00:00Z"), "Europe/Berlin")) == 12',
         prepare={"zone": prepare_zone})  # fmt: skip
def in_zone(time: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The same instant on the clocks of another zone."""
    return time.astimezone(zone)


@builtin("datetime -> datetime", 'utc(datetime("2024-01-01T01:00:00+01:00")) == datetime("2024-01-01T00:00:00Z")')
def utc(time: dt.datetime) -> dt.datetime:
    """The same instant in UTC."""
    return time.astimezone(dt.UTC)


@builtin("datetime -> decimal", 'unix_time(datetime("1970-01-02T00:00:00Z")) == 86400')
def unix_time(time: dt.datetime) -> Any:
    """Seconds since 1970-01-01 UTC, exact to the microsecond."""
    return total_seconds(time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC))


@builtin("date|datetime, const -> string", 'format(date("2024-05-31"), "%d.%m.%Y") == "31.05.2024"', name="format",
         prepare={"format": prepare_format})  # fmt: skip
def format_(value: dt.date, format: str) -> str:
    """A day or time as text by a format of %-codes."""
    return value.strftime(format)


@builtin("date|datetime -> integer", 'year(date("2024-05-31")) == 2024', inline="{0}.year")
def year(value: dt.date) -> int:
    """The year."""
    return value.year


@builtin("date|datetime -> integer", 'month(date("2024-05-31")) == 5', inline="{0}.month")
def month(value: dt.date) -> int:
    """The month, 1 to 12."""
    return value.month


@builtin("date|datetime -> integer", 'day(date("2024-05-31")) == 31', inline="{0}.day")
def day(value: dt.date) -> int:
    """The day of the month."""
    return value.day


@builtin("datetime -> integer", 'hour(datetime("2024-05-31T10:20:30Z")) == 10', inline="{0}.hour")
def hour(value: dt.datetime) -> int:
    """The hour, 0 to 23, on the clock of the time's own zone."""
    return value.hour


@builtin("datetime -> integer", 'minute(datetime("2024-05-31T10:20:30Z")) == 20', inline="{0}.minute")
def minute(value: dt.datetime) -> int:
    """The minute."""
    return value.minute


@builtin("date|datetime -> integer", 'weekday(date("2024-05-31")) == 5', inline="{0}.isoweekday()")
def weekday(value: dt.date) -> int:
    """Day of the week, 1 (Monday) to 7 (Sunday)."""
    return value.isoweekday()


@builtin("date, integer -> date", 'add_months(date("2024-01-31"), 1) == date("2024-02-29")')
def add_months(value: dt.date, count: int) -> dt.date:
    """The same day so many months later; the last day of the month when there is no such day."""
    index = value.year * 12 + value.month - 1 + count
    year_, month_ = index // 12, index % 12 + 1
    if not dt.MINYEAR <= year_ <= dt.MAXYEAR:
        raise Rejected("the day is out of range", count)
    return value.replace(year=year_, month=month_, day=min(value.day, calendar.monthrange(year_, month_)[1]))


def _unit(name: str) -> str:
    if name not in ("year", "quarter", "month", "week", "day"):
        raise ValueError(f"'{name}' is no unit; they are year, quarter, month, week, day")
    return name


@builtin("date, const -> date", 'start_of(date("2024-05-31"), "month") == date("2024-05-01")', prepare={"unit": _unit})
def start_of(value: dt.date, unit: str) -> dt.date:
    """The first day of the year, quarter, month or week (Monday) a day lies in."""
    match unit:
        case "year":
            return value.replace(month=1, day=1)
        case "quarter":
            return value.replace(month=(value.month - 1) // 3 * 3 + 1, day=1)
        case "month":
            return value.replace(day=1)
        case "week":
            return value - dt.timedelta(days=value.weekday())
        case _:
            return value


@builtin("date, const -> date", 'end_of(date("2024-02-10"), "month") == date("2024-02-29")', prepare={"unit": _unit})
def end_of(value: dt.date, unit: str) -> dt.date:
    """The last day of the year, quarter, month or week (Sunday) a day lies in."""
    start = start_of(value, unit)
    months = {"year": 12, "quarter": 3, "month": 1}.get(unit)
    if months is not None:
        return add_months(start, months) - dt.timedelta(days=1)
    return start + dt.timedelta(days=6 if unit == "week" else 0)


@builtin("date, integer -> date", 'add_workdays(date("2024-05-31"), 1) == date("2024-06-03")')
def add_workdays(value: dt.date, count: int) -> dt.date:
    """So many days later, not counting Saturdays and Sundays."""
    if abs(count) > 10_000:
        raise Rejected("the number of workdays is over 10000", count)
    step = dt.timedelta(days=1 if count > 0 else -1)
    left = abs(count)
    while left:
        value += step
        left -= value.isoweekday() < 6
    return value
