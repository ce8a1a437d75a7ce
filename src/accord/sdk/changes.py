"""Incremental reading: what to ask for, what is new, and the position to keep.

Theory. Records carry a cursor (``updated_at``, a sequence number). A read asks for cursor >= ``since - overlap`` and keeps, for
the overlap, which records it gave already (identity, cursor, digest of the content), so that late commits are seen, quiet polls
give nothing twice, and two changes within one tick of the system's clock both come. ``since`` moves only at the end of a run, or
page by page where the API sorts by the cursor. Where it does not sort, a record may change behind the reader's back while it
reads: then ``since`` never moves past the time the run began. A position is plain JSON:
``{"since": …, "seen": {identity: "cursor#digest"}, "high": …, "page": paging state or null}``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from accord.errors import ConnectorError
from accord.sdk.http import encode_json

Format: TypeAlias = Literal["iso", "unix", "unix_ms", "date", "number", "text"]
SEEN_MAX = 1_000  # beyond it the oldest are forgotten: they may come again, nothing is lost

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def parse_cursor(value: Any, format_: Format) -> Any:
    """A record's cursor as something ordered. Raises ConnectorError when it is missing or malformed."""
    try:
        match format_:
            case "iso":
                when = dt.datetime.fromisoformat(str(value))
                return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
            case "date":
                return dt.date.fromisoformat(str(value)[:10])
            case "unix":
                return _EPOCH + dt.timedelta(seconds=float(value))
            case "unix_ms":
                return _EPOCH + dt.timedelta(milliseconds=float(value))
            case "number":
                return Decimal(str(value))
            case _:
                if not isinstance(value, str):
                    raise ValueError
                return value
    except (ValueError, TypeError, ArithmeticError):
        raise ConnectorError(
            f"a record's cursor is {str(value)[:40]!r}, which is not of format {format_}",
            mend="Check `read.cursor` and `read.format` of the entity.",
            code="connector.bad-cursor",
        ) from None


def format_cursor(value: Any, format_: Format) -> str:
    """A cursor as the API wants it in a query; the inverse of ``parse_cursor``."""
    match format_:
        case "iso":
            utc: dt.datetime = value.astimezone(dt.UTC)
            return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")
        case "unix":
            seconds = (value - _EPOCH) / dt.timedelta(seconds=1)
            return str(int(seconds)) if seconds == int(seconds) else repr(seconds)
        case "unix_ms":
            return str((value - _EPOCH) // dt.timedelta(milliseconds=1))
        case "date":
            return str(value.isoformat())
        case _:
            return str(value)


class ChangeWindow:
    """One run of an incremental read; feed it each page's records, ask it for what is new and for the position."""

    def __init__(self, position: Any, *, format_: Format, overlap_s: float = 0.0) -> None:
        position = position if isinstance(position, dict) else {}
        self._format = format_
        self._overlap_s = overlap_s
        self.since = self._parsed(position.get("since"))
        self.high = self._parsed(position.get("high")) or self.since
        self._seen: dict[str, str] = dict(position.get("seen") or {})
        self.page: Any = position.get("page")

    def _parsed(self, text: Any) -> Any:
        return None if text is None else parse_cursor(text, self._format)

    def lower_bound(self) -> str | None:
        """The cursor value to ask from, as text for the query; None at the very first read."""
        return None if self.since is None else format_cursor(self._before(self.since), self._format)

    def _before(self, value: Any) -> Any:
        if not self._overlap_s:
            return value
        match value:
            case dt.datetime():
                return max(value - dt.timedelta(seconds=self._overlap_s), _EPOCH)
            case dt.date():
                return value - dt.timedelta(days=max(1, round(self._overlap_s / 86400)))
            case Decimal():
                return value - Decimal(str(self._overlap_s)).to_integral_value()
            case _:
                return value

    def is_new(self, identity: str, cursor: Any, content: Any = None) -> bool:
        """Whether this version of the record was not given before; remembers it. ``content`` (plain data) tells versions
        apart that were made within one tick of the system's clock: many systems count change times in whole seconds."""
        value = parse_cursor(cursor, self._format)
        if self.high is None or value > self.high:
            self.high = value
        version = f"{format_cursor(value, self._format)}#{_digest(content)}"
        if self._seen.get(identity) == version:
            return False
        self._seen.pop(identity, None)
        self._seen[identity] = version
        return True

    def advance(self, begun: dt.datetime | None = None) -> None:
        """Everything up to the highest cursor seen has been given: ask from there on, but (for records that came in no
        order) not from later than ``begun``, when the run began."""
        self.since = self.high
        if begun is not None and isinstance(self.high, dt.datetime) and self.high > begun:
            self.since = begun
        self.page = None

    def position(self) -> dict[str, Any]:
        """What to store once the page is accepted."""
        self._forget()
        text = [None if v is None else format_cursor(v, self._format) for v in (self.since, self.high)]
        return {"since": text[0], "high": text[1], "seen": dict(self._seen), "page": self.page}

    def _forget(self) -> None:
        """Keeps only what the query of the next run can give again: cursors of the overlap before the highest one."""
        if self.high is not None:
            floor = self._before(self.high)
            cursors = {i: parse_cursor(version.rpartition("#")[0], self._format) for i, version in self._seen.items()}
            self._seen = {i: version for i, version in self._seen.items() if cursors[i] >= floor}
        if len(self._seen) > SEEN_MAX:
            for identity in list(self._seen)[: len(self._seen) - SEEN_MAX]:
                del self._seen[identity]


def _digest(content: Any) -> str:
    return "" if content is None else hashlib.blake2b(encode_json(content), digest_size=8).hexdigest()
