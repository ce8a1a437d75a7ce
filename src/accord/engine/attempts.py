"""What was tried for a message: each attempt at an effect with the requests it made, as far as that is kept (decision 0186).

The newest attempts of every flow stay in memory, whatever came of them; those that failed, were in doubt or slow are journaled with their
message too. Nothing here decides anything.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import time
import urllib.parse
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import msgspec

from accord.engine.masking import MASK, Masker, is_secret_name
from accord.record import Done
from accord.sdk.http import HttpFailed, HttpRequest, HttpResponse, decode_json, encode_json

RECENT_MAX = 100  # attempts of each flow in memory: what somebody watching asks about
BODY_BYTES_MAX = 8_192  # of a body in memory; of a larger one only its size is kept
JOURNALED_BODY_BYTES_MAX = 2_048  # the same in the journal, where thousands of failed attempts may lie
EXCHANGES_MAX = 10  # requests of one attempt: a sign-in, a look-up and the write are three
JOURNALED_MAX = 20  # attempts of one message: more than any policy makes by default
SLOW_S = 5.0  # from here on an attempt is worth keeping although it succeeded
ATTEMPT_PATH = "~attempt."  # + number: a journaled Attempted; holds no '/', so it counts as no effect
_HEADERS_SHOWN = frozenset(
    {
        "accept",
        "content-length",
        "content-type",
        "date",
        "idempotency-key",
        "location",
        "retry-after",
        "server",
        "x-request-id",
    }
)


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and what came back; ``status`` 0: no answer came, ``error`` says why. A body that is not kept is b'' with its size."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    body_size_bytes: int
    status: int = 0
    answer_headers: Mapping[str, str] = {}
    answer: bytes = b""
    answer_size_bytes: int = 0
    error: str = ""
    began_s: float = 0.0  # after the attempt began
    took_s: float = 0.0


class Attempted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``outcome``: done, retry, reconnect or reject. ``took_s`` includes waiting for a turn at the system."""

    path: str
    at: dt.datetime
    outcome: str
    reason: str = ""
    took_s: float = 0.0
    exchanges: tuple[Exchange, ...] = ()


class Watch:
    """Collects the exchanges of one attempt while it is open."""

    __slots__ = ("began_s", "exchanges", "is_open")

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.began_s = time.monotonic()
        self.is_open = True


WATCH: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("accord_watch", default=None)


async def watched(watch: Watch, request: HttpRequest, sending: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
    """Sends and notes what came of it. Raises as ``sending`` does."""
    began_s = time.monotonic()
    try:
        response = await sending
    except HttpFailed as error:
        _note(watch, request, None, error.what, began_s)
        raise
    _note(watch, request, response, "", began_s)
    return response


def _note(watch: Watch, request: HttpRequest, response: HttpResponse | None, error: str, began_s: float) -> None:
    if not watch.is_open or len(watch.exchanges) >= EXCHANGES_MAX:
        return
    answer = response.body if response is not None else b""
    exchange = Exchange(
        method=request.method,
        url=request.url,
        headers=request.headers,
        body=request.body if len(request.body) <= BODY_BYTES_MAX else b"",
        body_size_bytes=len(request.body),
        status=response.status if response is not None else 0,
        answer_headers=response.headers if response is not None else {},
        answer=answer if len(answer) <= BODY_BYTES_MAX else b"",
        answer_size_bytes=len(answer),
        error=error,
        began_s=began_s - watch.began_s,
        took_s=time.monotonic() - began_s,
    )
    watch.exchanges.append(exchange)


class RecentAttempts:
    """The newest attempts of each flow."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[tuple[int, Attempted]]] = {}

    def begin(self) -> Watch:
        """What the calling task sends from now on belongs to this attempt."""
        watch = Watch()
        WATCH.set(watch)
        return watch

    def end(self, watch: Watch, flow: str, seq: int, path: str, at: dt.datetime, outcome: Any) -> Attempted:
        watch.is_open = False
        WATCH.set(None)
        attempted = Attempted(
            path=path,
            at=at,
            outcome="done" if type(outcome) is Done else type(outcome).__name__.lower(),
            reason="" if type(outcome) is Done else outcome.reason,
            took_s=time.monotonic() - watch.began_s,
            exchanges=tuple(watch.exchanges),
        )
        recent = self._recent.get(flow)
        if recent is None:
            recent = self._recent[flow] = deque(maxlen=RECENT_MAX)
        recent.append((seq, attempted))
        return attempted

    def of(self, flow: str, seq: int) -> list[Attempted]:
        return [attempted for number, attempted in self._recent.get(flow, ()) if number == seq]


def is_worth_keeping(attempted: Attempted) -> bool:
    """Whether it goes to the journal."""
    return attempted.outcome != "done" or attempted.took_s >= SLOW_S


def encode_attempt(attempted: Attempted) -> bytes:
    """For the journal: without secrets, bodies bounded."""
    return msgspec.json.encode(
        msgspec.structs.replace(attempted, exchanges=tuple(_without_secrets(one) for one in attempted.exchanges))
    )


def journaled_attempts(results: Mapping[str, bytes]) -> list[Attempted]:
    return [msgspec.json.decode(raw, type=Attempted) for path, raw in results.items() if path.startswith(ATTEMPT_PATH)]


def _without_secrets(exchange: Exchange) -> Exchange:
    return msgspec.structs.replace(
        exchange,
        url=shown_url(exchange.url, Masker()),
        headers=_shown_headers(exchange.headers),
        body=_plain_body(exchange.body),
        answer_headers=_shown_headers(exchange.answer_headers),
        answer=_plain_body(exchange.answer),
    )


def _plain_body(body: bytes) -> bytes:
    shown = shown_body(body, len(body), Masker()) if len(body) <= JOURNALED_BODY_BYTES_MAX else None
    return b"" if shown is None or isinstance(shown, str) else encode_json(shown)


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value if name in _HEADERS_SHOWN else MASK for name, value in headers.items()}


def shown_url(url: str, masker: Masker) -> str:
    """Without user and password; values of secret names and personal values masked."""
    parts = urllib.parse.urlsplit(url)
    query = [
        (name, MASK if is_secret_name(name) or name.casefold() in ("key", "sig", "code") else masker.text(value))
        for name, value in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    ]
    path = masker.text(urllib.parse.unquote(parts.path))
    netloc = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, netloc, path, urllib.parse.urlencode(query, safe="*"), ""))


def shown_body(body: bytes, size_bytes: int, masker: Masker) -> Any:
    """JSON and forms masked; of everything else only the size."""
    if not size_bytes:
        return None
    if body:
        try:
            value = decode_json(body)
        except msgspec.DecodeError:
            value = None
        if isinstance(value, dict | list):
            return masker.free(value)
        try:
            pairs = urllib.parse.parse_qsl(body.decode("ascii"), strict_parsing=True)
        except ValueError:
            pairs = []
        if pairs:
            return masker.free(dict(pairs))
    return f"({size_bytes} bytes)"


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True):
    """An Exchange as it may be shown."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any
    status: int
    answer_headers: dict[str, str]
    answer: Any
    error: str
    began_s: float
    took_s: float


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """An Attempted as it may be shown. ``waited_s``: since the attempt before it had ended (or the message was accepted)."""

    path: str
    at: dt.datetime
    outcome: str
    reason: str
    waited_s: float
    took_s: float
    exchanges: tuple[ExchangeView, ...]


def attempt_views(accepted_at: dt.datetime, attempts: Iterable[Attempted], masker: Masker) -> tuple[AttemptView, ...]:
    """In order of time; one that is in memory and in the journal once, as in memory."""
    found: dict[tuple[str, dt.datetime], Attempted] = {(one.path, one.at): one for one in attempts}
    views: list[AttemptView] = []
    before = accepted_at
    for one in sorted(found.values(), key=lambda each: each.at):
        views.append(
            AttemptView(
                path=one.path,
                at=one.at,
                outcome=one.outcome,
                reason=masker.text(one.reason),
                waited_s=max(0.0, (one.at - before).total_seconds()),
                took_s=one.took_s,
                exchanges=tuple(_exchange_view(each, masker) for each in one.exchanges),
            )
        )
        before = max(before, one.at + dt.timedelta(seconds=one.took_s))
    return tuple(views)


def _exchange_view(one: Exchange, masker: Masker) -> ExchangeView:
    return ExchangeView(
        method=one.method,
        url=shown_url(one.url, masker),
        headers={name: masker.text(value) for name, value in _shown_headers(one.headers).items()},
        body=shown_body(one.body, one.body_size_bytes, masker),
        status=one.status,
        answer_headers={name: masker.text(value) for name, value in _shown_headers(one.answer_headers).items()},
        answer=shown_body(one.answer, one.answer_size_bytes, masker),
        error=masker.text(one.error),
        began_s=one.began_s,
        took_s=one.took_s,
    )
