"""Durations and sizes as people write them: ``500ms 1s 10m 2h 3d``, ``1h30m``; ``10MB``, ``64KiB``.

Units are always written: a bare number says nothing about seconds or milliseconds, so it is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction

DURATION_EXAMPLE = "500ms, 1s, 10m, 2h or 3d"
SIZE_EXAMPLE = "64KiB, 10MB or 2GB"

_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)(us|ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)

# Decimal units are powers of 1000 and binary units of 1024 (IEC 80000-13); K is taken as k.
_BYTES = {
    "B": 1,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "TB": 1_000_000_000_000,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_SIZE = re.compile(r"([0-9]{1,24}(?:\.[0-9]{1,6})?) ?([KMGT]?I?B)", re.ASCII)


def parse_duration(text: str) -> dt.timedelta:
    """``1h30m`` to a timedelta of at least one microsecond's exactness. Raises ValueError with a sentence."""
    written = text.strip()
    if not _DURATION.fullmatch(written):
        raise ValueError(f"'{text[:60]}' is no duration: write number and unit, like {DURATION_EXAMPLE}")
    total = Fraction(0)
    for number, unit in _PART.findall(written):
        total += Fraction(number) * _MICROSECONDS[unit]
    if total.denominator != 1:
        raise ValueError(f"'{text[:60]}' is finer than a microsecond")
    try:
        return dt.timedelta(microseconds=int(total))
    except OverflowError:
        raise ValueError(f"'{text[:60]}' is longer than {dt.timedelta.max.days} days") from None


def format_duration(duration: dt.timedelta) -> str:
    """The shortest way to write a duration so that ``parse_duration`` gives it back. Raises ValueError for negative ones."""
    left = duration // dt.timedelta(microseconds=1)
    if left < 0:
        raise ValueError("a duration cannot be negative")
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, left = divmod(left, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """``10MB`` to bytes: KB, MB, GB, TB are powers of 1000; KiB, MiB … of 1024. Raises ValueError with a sentence."""
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"'{text[:60]}' is no size: write number and unit, like {SIZE_EXAMPLE}")
    bytes_ = Fraction(match[1]) * _BYTES[match[2]]
    if bytes_.denominator != 1:
        raise ValueError(f"'{text[:60]}' is no whole number of bytes")
    return int(bytes_)


def format_size(size_bytes: int) -> str:
    """The largest unit that writes the size without a point, so that ``parse_size`` gives it back."""
    if size_bytes < 0:
        raise ValueError("a size cannot be negative")
    exact = [(n, unit) for unit, n in _BYTES.items() if size_bytes and size_bytes % n == 0]
    scale, unit = max(exact, default=(1, "B"))
    return f"{size_bytes // scale}{unit.replace('IB', 'iB')}"


def parse_instant(text: str) -> dt.datetime:
    """ISO 8601 with a zone to a datetime. Raises ValueError, also when the zone is missing."""
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"'{text[:60]}' has no zone: write Z or an offset like +01:00 behind it")
    return instant
