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


class Heard(msgspec.Struct, frozen=True):
    """An exchange as it is kept until somebody asks, which is seldom."""

    request: HttpRequest
    response: HttpResponse | None
    error: str
    began_s: float
    took_s: float

    def told(self) -> Exchange:
        request, response = self.request, self.response
        answer = response.body if response is not None else b""
        return Exchange(
            method=request.method,
            url=request.url,
            headers=request.headers,
            body=request.body if len(request.body) <= BODY_BYTES_MAX else b"",
            body_size_bytes=len(request.body),
            status=response.status if response is not None else 0,
            answer_headers=response.headers if response is not None else {},
            answer=answer if len(answer) <= BODY_BYTES_MAX else b"",
            answer_size_bytes=len(answer),
            error=self.error,
            began_s=self.began_s,
            took_s=self.took_s,
        )


class Tried(msgspec.Struct, frozen=True):
    """An attempt as it is kept until somebody asks."""

    seq: int
    path: str
    at: dt.datetime
    outcome: Any  # None: done, whose answer may be large and is not held on to
    took_s: float
    exchanges: list[Heard | Exchange]

    def told(self) -> Attempted:
        outcome = self.outcome
        return Attempted(
            path=self.path,
            at=self.at,
            outcome="done" if outcome is None else type(outcome).__name__.lower(),
            reason="" if outcome is None else outcome.reason,
            took_s=self.took_s,
            exchanges=tuple([one.told() if type(one) is Heard else one for one in self.exchanges]),  # type: ignore[misc]
        )


class Watch:
    """Collects the exchanges of one attempt while it is open."""

    __slots__ = ("began_s", "exchanges", "is_open")

    def __init__(self) -> None:
        self.exchanges: list[Heard | Exchange] = []
        self.began_s = time.monotonic()
        self.is_open = True


WATCH: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("accord_watch", default=None)


async def watched(watch: Watch, request: HttpRequest, sending: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
    """Sends and notes what came of it. Raises as ``sending`` does."""
    began_s = time.monotonic()
    try:
        response = await sending
    except HttpFailed as error:
        note(watch, request, None, error.what, began_s)
        raise
    note(watch, request, response, "", began_s)
    return response


def note(watch: Watch, request: HttpRequest, response: HttpResponse | None, error: str, began_s: float) -> None:
    """What came of a request that began at ``began_s``. Large bodies are not held on to."""
    if not watch.is_open or len(watch.exchanges) >= EXCHANGES_MAX:
        return
    heard = Heard(request, response, error, began_s - watch.began_s, time.monotonic() - began_s)
    is_small = len(request.body) <= BODY_BYTES_MAX and (response is None or len(response.body) <= BODY_BYTES_MAX)
    watch.exchanges.append(heard if is_small else heard.told())


class RecentAttempts:
    """The newest attempts of each flow."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[Tried]] = {}

    def begin(self) -> Watch:
        """What the calling task sends from now on belongs to this attempt."""
        watch = Watch()
        WATCH.set(watch)
        return watch

    def end(self, watch: Watch, flow: str, seq: int, path: str, at: dt.datetime, outcome: Any) -> Attempted | None:
        """The attempt when it is worth a place in the journal."""
        watch.is_open = False
        WATCH.set(None)
        took_s = time.monotonic() - watch.began_s
        tried = Tried(seq, path, at, None if type(outcome) is Done else outcome, took_s, watch.exchanges)
        recent = self._recent.get(flow)
        if recent is None:
            recent = self._recent[flow] = deque(maxlen=RECENT_MAX)
        recent.append(tried)
        return tried.told() if took_s >= SLOW_S or tried.outcome is not None else None

    def of(self, flow: str, seq: int) -> list[Attempted]:
        return [tried.told() for tried in self._recent.get(flow, ()) if tried.seq == seq]


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
