"""How much of a time lies in business hours. Pure."""

from __future__ import annotations

import datetime as dt
import zoneinfo

from accord.settings.alert_spec import WEEKDAYS, AlertSpec, hours_of

DAYS_MAX = 31  # looked back at; longer silence is silence


def within_hours(begin: dt.datetime, end: dt.datetime, spec: AlertSpec, zone: str) -> dt.timedelta:
    """So much of the time from ``begin`` to ``end`` (both UTC) lies in the hours and on the weekdays of ``spec``; ``zone``: where it
    names none. A day's hours are those of the clock on the wall there."""
    place = zoneinfo.ZoneInfo(spec.zone or zone)
    opens, closes = hours_of(spec.hours)
    begin = max(begin, end - dt.timedelta(days=DAYS_MAX))
    total, day = dt.timedelta(0), begin.astimezone(place).date()
    last = end.astimezone(place).date()
    while day <= last:
        if WEEKDAYS[day.weekday()] in spec.weekdays:
            until = day if closes != dt.time(0) else day + dt.timedelta(days=1)
            first = dt.datetime.combine(day, opens, place).astimezone(dt.UTC)
            second = dt.datetime.combine(until, closes, place).astimezone(dt.UTC)
            total += max(dt.timedelta(0), min(end, second) - max(begin, first))
        day += dt.timedelta(days=1)
    return total
