"""Versions as text: what `dedupe` with `newest` compares, so that a journal needs to know no types.

``version_text(a) < version_text(b)`` exactly when ``a < b``, for values of one type. Text compares by code point.
"""

from __future__ import annotations

import datetime as dt
from typing import TypeAlias

from accord.record.types import Date, DateTime, Integer, String

Version: TypeAlias = dt.datetime | dt.date | int | str

TYPES = (DateTime, Date, Integer, String)
LENGTH_MAX = 1000  # characters of a text; the journal keeps one for each id
NEWEST = "\U0010ffff"  # no version is greater

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LENGTH_DIGITS = 8
_COMPLEMENT = str.maketrans("0123456789abcdef", "fedcba9876543210")


def version_text(value: Version) -> str:
    """Datetimes (with a zone) by their instant in microseconds, dates as they are written, integers of any size, text as it is.
    Raises TypeError for a datetime without a zone, ValueError for a text longer than LENGTH_MAX."""
    match value:
        case dt.datetime():
            return _whole((value - _EPOCH) // dt.timedelta(microseconds=1))
        case dt.date():
            return value.isoformat()
        case int():
            return _whole(value)
    if len(value) > LENGTH_MAX:
        raise ValueError(f"a version may have at most {LENGTH_MAX} characters, this one has {len(value)}")
    return value


def _whole(value: int) -> str:
    """Sign, number of digits, digits (hexadecimal); a negative number's digits are inverted, so that larger comes later."""
    digits = f"{abs(value):x}"
    text = f"{len(digits):0{_LENGTH_DIGITS}x}{digits}"
    return "1" + text if value >= 0 else "0" + text.translate(_COMPLEMENT)
