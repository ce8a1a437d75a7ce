"""A stand-in's own time: the machine's, moved ahead by what its owner says. One process is one stand-in, so it has one clock."""

from __future__ import annotations

import datetime as dt
import time as machine

AHEAD_S_MAX = 10 * 366 * 86_400.0  # ten years: beyond, due dates leave what systems accept

_ahead_s = 0.0


def set_ahead(seconds: float) -> None:
    global _ahead_s
    _ahead_s = seconds


def ahead_s() -> float:
    return _ahead_s


def time() -> float:
    """Seconds since 1970, as ``time.time``."""
    return machine.time() + _ahead_s


def now() -> dt.datetime:
    """The present in UTC."""
    return dt.datetime.fromtimestamp(time(), dt.UTC)
