"""What a server says about its rate limit, read from response headers. Pure.

Sources: Retry-After, RFC 9110 section 10.2.3 (seconds or HTTP-date). IETF draft-ietf-httpapi-ratelimit-headers: up to version 06
``RateLimit-Limit``, ``RateLimit-Remaining`` and ``RateLimit-Reset`` (seconds from now); version 07 one ``RateLimit: limit=…,
remaining=…, reset=…``; since 08 a list ``RateLimit: "policy";r=50;t=30`` beside ``RateLimit-Policy: "policy";q=100;w=60`` (``qu``
names another unit than requests). X-RateLimit-*, the older habit, whose reset is either seconds from now or a Unix time. Salesforce,
"REST API Developer Guide", Limit Info Header: ``Sforce-Limit-Info: api-usage=used/limit``, for the last 24 hours.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from accord.sdk.budget import Budget

AFTER_S_MAX = 24 * 3600.0  # a longer wait is a mistake of the server; the engine asks again after a day
EPOCH_S_MIN = 1_000_000_000  # a reset at least this large is a Unix time, not a delay

Header: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_OLD_FIELD = re.compile(r"\b(limit|remaining|reset)\s*=\s*(\d{1,12})")
_POLICY = re.compile(r'"([^"]{0,64})"((?:\s*;\s*[a-z][a-z0-9_*.-]*(?:=(?:"[^"]*"|:[^:]*:|[^;,"\s]+))?)*)')
_PARAMETER = re.compile(r';\s*([a-z][a-z0-9_*.-]*)="?([^;",\s]+)')
_USAGE = re.compile(r"(?:^|[\s,;])(?:([a-z][a-z0-9-]*)=)?(\d{1,12})/(\d{1,12})")


class BudgetHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Headers of an API's own. Either ``remaining`` (with ``limit`` and ``reset``, as far as there are such) or ``usage``, whose value
    has the form used/limit. ``per``: the length of the window, where no header tells when it ends. ``refill``: how many requests
    come back each second, where the limit is a bucket that leaks."""

    remaining: Header | None = None
    limit: Header | None = None
    reset: Header | None = None
    usage: Header | None = None
    per: dt.timedelta | None = None
    refill: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if (self.remaining is None) == (self.usage is None):
            raise ValueError(
                "name one of `remaining` and `usage`: the header that tells how much is left, or used/limit"
            )


Family: TypeAlias = Literal["standard", "x-ratelimit", "salesforce"]
BudgetSource: TypeAlias = Family | BudgetHeaders
_FAMILIES: dict[Family, tuple[BudgetHeaders, ...]] = {
    "standard": (BudgetHeaders(remaining="ratelimit-remaining", limit="ratelimit-limit", reset="ratelimit-reset"),),
    "x-ratelimit": (
        BudgetHeaders(remaining="x-ratelimit-remaining", limit="x-ratelimit-limit", reset="x-ratelimit-reset"),
        BudgetHeaders(remaining="x-rate-limit-remaining", limit="x-rate-limit-limit", reset="x-rate-limit-reset"),
    ),
    "salesforce": (BudgetHeaders(usage="sforce-limit-info"),),
}
DEFAULT_SOURCES: tuple[BudgetSource, ...] = ("standard", "x-ratelimit")


class BudgetReader:
    """Reads the budgets an answer tells of."""

    def __init__(self, sources: Sequence[BudgetSource] = DEFAULT_SOURCES) -> None:
        self._sources: list[BudgetHeaders] = []
        self._has_combined = "standard" in sources
        for source in sources:
            for one in (source,) if isinstance(source, BudgetHeaders) else _FAMILIES[source]:
                named = {name: getattr(one, name) for name in ("remaining", "limit", "reset", "usage")}
                lower = {name: header.lower() if header else None for name, header in named.items()}
                self._sources.append(msgspec.structs.replace(one, **lower))
        names = {header for one in self._sources for header in (one.remaining, one.usage) if header}
        self._names = frozenset(names | ({"ratelimit"} if self._has_combined else set()))

    def is_told(self, headers: Mapping[str, str]) -> bool:
        return not self._names.isdisjoint(headers)

    def read(self, headers: Mapping[str, str], now: dt.datetime) -> list[Budget]:
        """``headers``: lower-case names. Malformed values are as good as none."""
        found = list(_combined(headers)) if self._has_combined else []
        for source in self._sources:
            budget = _used(source, headers) if source.usage else _remaining(source, headers, now)
            if budget is not None:
                found.append(budget)
        return found


def retry_after_s(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds to wait before the next request, from the most explicit header there is; None when none says so."""
    told = headers.get("retry-after")
    if told is not None:
        seconds = _delay_or_date(told.strip(), now)
        if seconds is not None:
            return _bounded(seconds)
    for name in _RESETS:
        seconds = _reset(headers.get(name, ""), now)
        if seconds is not None:
            return _bounded(seconds)
    budgets = list(_combined(headers))
    resets = [budget.resets_in_s for budget in budgets if budget.left < 1 and budget.resets_in_s is not None]
    return max(resets) if resets else None


def _combined(headers: Mapping[str, str]) -> Iterator[Budget]:
    """The one header ``RateLimit``, in both forms it has had."""
    told = headers.get("ratelimit")
    if not told:
        return
    policies = {name: _parameters(rest) for name, rest in _POLICY.findall(headers.get("ratelimit-policy", ""))}
    is_new = False
    for name, rest in _POLICY.findall(told):
        is_new = True
        said, policy = _parameters(rest), policies.get(name, {})
        left = _number(said.get("r"))
        if left is None or policy.get("qu", "requests") != "requests":
            continue
        resets_in_s = _number(said.get("t"))
        if resets_in_s is None:
            resets_in_s = _number(policy.get("w"))
        yield Budget(name=name, left=left, limit=_number(policy.get("q")), resets_in_s=_maybe_bounded(resets_in_s))
    if not is_new:
        old = dict(_OLD_FIELD.findall(told))
        left = _number(old.get("remaining"))
        if left is not None:
            resets_in_s = _maybe_bounded(_number(old.get("reset")))
            yield Budget(name="ratelimit", left=left, limit=_number(old.get("limit")), resets_in_s=resets_in_s)


def _remaining(source: BudgetHeaders, headers: Mapping[str, str], now: dt.datetime) -> Budget | None:
    assert source.remaining is not None
    left = _number(headers.get(source.remaining, "").strip())
    if left is None:
        return None
    resets_in_s = _reset(headers.get(source.reset, ""), now) if source.reset else None
    if resets_in_s is None and source.per is not None:
        resets_in_s = source.per.total_seconds()
    return Budget(
        name=source.remaining,
        left=left,
        limit=_number(re.split(r"[,;]", headers.get(source.limit, ""))[0].strip()) if source.limit else None,
        resets_in_s=_maybe_bounded(resets_in_s),
        refill_per_s=source.refill,
    )


def _used(source: BudgetHeaders, headers: Mapping[str, str]) -> Budget | None:
    """The pair with the least left, of ``used/limit`` or ``name=used/limit``."""
    assert source.usage is not None
    pairs = [
        (float(limit) - float(used), float(limit)) for _, used, limit in _USAGE.findall(headers.get(source.usage, ""))
    ]
    if not pairs:
        return None
    left, limit = min(pairs)
    return Budget(
        name=source.usage,
        left=max(0.0, left),
        limit=limit,
        resets_in_s=source.per.total_seconds() if source.per else None,
        refill_per_s=source.refill,
    )


def _parameters(text: str) -> dict[str, str]:
    return dict(_PARAMETER.findall(text))


def _number(text: str | None) -> float | None:
    """Whole numbers of servers; -1, seen where there is no limit, counts as none."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) <= 12 else None


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


def _maybe_bounded(seconds: float | None) -> float | None:
    return None if seconds is None else _bounded(seconds)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), AFTER_S_MAX)
