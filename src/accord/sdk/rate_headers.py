"""What a server says about its rate limit, read from response headers.

Sources: Retry-After, RFC 9110 section 10.2.3 (seconds or HTTP-date); RateLimit-Remaining and RateLimit-Reset, and the combined
``RateLimit`` field with ``r`` and ``t``, IETF draft httpapi-ratelimit-headers; X-RateLimit-*, the older habit, whose reset is
either seconds from now or a Unix time.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping

AFTER_S_MAX = 24 * 3600.0  # a longer wait is a mistake of the server; the engine asks again after a day
EPOCH_S_MIN = 1_000_000_000  # a reset at least this large is a Unix time, not a delay

_DRAFT_FIELD = re.compile(r"(?:^|[;,\s])(r|t|remaining|reset)\s*=\s*(\d{1,12})")


def retry_after_s(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds to wait before the next request, from the most explicit header there is; None when none says so."""
    told = headers.get("retry-after")
    if told is not None:
        seconds = _delay_or_date(told.strip(), now)
        if seconds is not None:
            return _bounded(seconds)
    for name in ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"):
        seconds = _reset(headers.get(name, ""), now)
        if seconds is not None:
            return _bounded(seconds)
    draft = _draft(headers)
    reset = draft.get("t", draft.get("reset"))
    return None if reset is None else _bounded(float(reset))


def remaining_requests(headers: Mapping[str, str]) -> int | None:
    """How many more requests the server takes in the present window; None when it does not say."""
    for name in ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining"):
        told = headers.get(name, "").strip()
        if told.isdigit() and len(told) < 12:
            return int(told)
    draft = _draft(headers)
    return draft.get("r", draft.get("remaining"))


def pause_s(headers: Mapping[str, str], now: dt.datetime) -> float:
    """How long to hold back after an answer whose headers say that nothing is left of the window; 0 otherwise."""
    if remaining_requests(headers) != 0:
        return 0.0
    return retry_after_s(headers, now) or 0.0


def _draft(headers: Mapping[str, str]) -> dict[str, int]:
    told = headers.get("ratelimit", "")
    return {name: int(value) for name, value in _DRAFT_FIELD.findall(told)} if told else {}


def _delay_or_date(text: str, now: dt.datetime) -> float | None:
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return (when - now).total_seconds()


def _reset(text: str, now: dt.datetime) -> float | None:
    text = text.strip()
    if not re.fullmatch(r"\d{1,13}(\.\d{1,6})?", text):
        return None
    value = float(text)
    if value >= EPOCH_S_MIN * 1000:
        value /= 1000
    return value - now.timestamp() if value >= EPOCH_S_MIN else value


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), AFTER_S_MAX)
