"""HTTP/1.1 without TLS, on the event loop's own sockets: one small request and its answer, many at once, connections kept.

What matters most is what a failure means. Nothing was sent: *connect*, the request did surely not arrive. From the first byte handed to
the socket on, every end without a whole answer leaves the request in doubt. So a connection that has stood idle is looked at before it is
used again: whether its server has closed it meanwhile can be told without sending.

One timer watches all exchanges: a timer for each would cost more than the exchange's own bookkeeping.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
import zlib
from collections import deque
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from accord.engine.attempts import Watch, note
from accord.sdk.http import BODY_SIZE_BYTES_MAX, HttpFailed, HttpRequest, HttpResponse

SWEEP_S = 0.1  # how late a time-out may be
LOOKED_AT_S = 0.5  # a connection idle for so long is looked at before it is used again
HEAD_SIZE_BYTES_MAX = 256 * 1024  # of an answer; more is not an API's
JOINED_BYTES_MAX = 64 * 1024  # larger bodies are not copied behind their head

_ADDRESS = re.compile(r"http://(?:[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:[/?][!-~]*)?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade", "te"}
)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_METHODS = frozenset({"GET", "DELETE", "OPTIONS", *_WITH_BODY})
OWN_LINES = 4  # of every request: its first, host, user-agent, and the empty one
BROKEN = "the connection broke before the whole answer had come"


class Target(msgspec.Struct, frozen=True):
    """Where a request goes, and what of its head is the same every time."""

    where: tuple[str, int]  # host and port
    path: str
    lines: str  # host and our own headers


def can_send(request: HttpRequest) -> bool:
    """Whether this client speaks what the request asks for; what it does not is the library's."""
    if request.method not in _METHODS or _target(request.url) is None:
        return False
    return _are_plain(tuple(request.headers))


@functools.lru_cache(maxsize=1024)
def _are_plain(names: tuple[str, ...]) -> bool:
    return all(_NAME.fullmatch(name) is not None and name.lower() not in _OURS for name in names)


@functools.lru_cache(maxsize=4096)
def _target(url: str) -> Target | None:
    """None for what needs more than a look: TLS, credentials, dots to resolve, characters to escape."""
    if not _ADDRESS.fullmatch(url) or "/." in url or "#" in url or "%2e" in url.lower():
        return None
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    assert parts.hostname is not None
    return Target((parts.hostname, port), path, f"host: {parts.netloc}\r\nuser-agent: accord\r\n")


def rendered(request: HttpRequest, target: Target) -> list[bytes]:
    """The request's bytes, in one or two pieces. Raises HttpFailed for a header that would break out of its line."""
    headers, body = request.headers, request.body
    text = f"{request.method} {target.path} HTTP/1.1\r\n{target.lines}"
    for name, value in headers.items():
        text += f"{name}: {value}\r\n"
    breaks = len(headers) + OWN_LINES
    if body or request.method in _WITH_BODY:
        text += f"content-length: {len(body)}\r\n"
        breaks += 1
    try:
        head = (text + "\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise _invalid("a header holds characters that HTTP cannot carry") from None
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or 0 in head:
        raise _invalid("a header's value holds a line break")
    return [head + body] if len(body) <= JOINED_BYTES_MAX else [head, body]


def _invalid(why: str) -> HttpFailed:
    return HttpFailed(f"the request cannot be built: {why}", kind="invalid", in_doubt=False)


class PlainHttp:
    """Connections to any number of servers, at most ``connections_max`` of them open, each kept for ``idle_s``."""

    def __init__(self, *, connections_max: int, connect_s: float, idle_s: float) -> None:
        self._connections_max = connections_max
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, request: HttpRequest, timeout_s: float, watch: Watch | None = None) -> HttpResponse:
        """For requests that ``can_send``. ``watch`` notes what came of it. Raises HttpFailed."""
        target = _target(request.url)
        assert target is not None, "ask can_send first"
        began_s = monotonic()
        connection: _Connection | None = None
        try:
            pieces = rendered(request, target)
            now = asyncio.get_running_loop().time()
            connection = self._take_idle(target.where, now) or await self._connected(target, now + timeout_s)
            response = await connection.begin(pieces, now + timeout_s)
        except asyncio.CancelledError:
            if connection is not None:
                connection.abort()  # what comes now would be taken for the answer to the next request
            raise
        except HttpFailed as error:
            if watch is not None:
                note(watch, request, None, error.what, began_s)
            raise
        if watch is not None:
            note(watch, request, response, "", began_s)
        return response

    async def close(self) -> None:
        for connection in list(self._open):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # sockets close in the loop's next turn, which may be its last

    def _take_idle(self, where: tuple[str, int], now: float) -> _Connection | None:
        """The one used last: it is the least likely to have been closed by its server."""
        kept = self._idle.get(where)
        while kept:
            connection = kept.pop()
            if connection.is_usable(now):
                return connection
            connection.abort()
        return None

    async def _connected(self, target: Target, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        where = target.where
        while len(self._open) + self._connecting >= self._connections_max:
            if self._close_another(where):
                continue
            await self._wait_turn(deadline - loop.time())
            connection = self._take_idle(where, loop.time())
            if connection is not None:
                return connection
        self._connecting += 1
        try:
            within_s = max(0.0, min(self._connect_s, deadline - loop.time()))
            making = loop.create_connection(lambda: _Connection(self, where), *where)
            _, made = await asyncio.wait_for(making, within_s)
        except TimeoutError:
            raise _unreachable("it did not answer in time") from None
        except (OSError, UnicodeError) as error:
            raise _unreachable(getattr(error, "strerror", None) or str(error)) from error
        finally:
            self._connecting -= 1
            self._wake_next()
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._sweep)
        return made

    def _close_another(self, where: tuple[str, int]) -> bool:
        """An idle connection to another server gives its place."""
        for other, kept in self._idle.items():
            if kept and other != where:
                kept[0].abort()
                self.lost(kept[0])
                return True
        return False

    async def _wait_turn(self, within_s: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, max(0.0, within_s))
        except TimeoutError:
            raise HttpFailed("no free connection to the system in time", kind="connect", in_doubt=False) from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake_next()
            raise

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def free(self, connection: _Connection) -> None:
        """An exchange is over and the connection can carry another."""
        kept = self._idle.get(connection.where)
        if kept is None:
            kept = self._idle[connection.where] = []
        kept.append(connection)
        if self._waiting:
            self._wake_next()

    def made(self, connection: _Connection) -> None:
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        kept = self._idle.get(connection.where)
        if kept and connection in kept:
            kept.remove(connection)
        self._wake_next()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._open):
            connection.sweep(now, now - self._idle_s)
        self._timer = loop.call_later(SWEEP_S, self._sweep) if self._open else None


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self, pool: PlainHttp, where: tuple[str, int]) -> None:
        self.where = where
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport  # from connection_made on, which comes first
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._deadline = 0.0
        self._idle_since = self._loop.time()
        self._clear()

    def _clear(self) -> None:
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._head_size_bytes = 0
        self._has_head = False

    def begin(self, pieces: list[bytes], deadline: float) -> asyncio.Future[HttpResponse]:
        """Sends; the answer, or HttpFailed, is the future's."""
        self._answer = answer = self._loop.create_future()
        self._deadline = deadline
        if self._transport.is_closing():  # lost in the very turn it was made or taken: nothing is sent
            self._fail(_unreachable("it closed the connection"))
            return answer
        for piece in pieces:
            self._transport.write(piece)
        return answer

    def is_usable(self, now: float) -> bool:
        """Nothing may have come from the server since its last answer, its end neither."""
        if self._transport.is_closing():
            return False
        if now - self._idle_since < LOOKED_AT_S:
            return True
        look = select.poll()
        look.register(
            self._transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLHUP | select.POLLERR
        )
        return not look.poll(0)

    def sweep(self, now: float, idle_border: float) -> None:
        if self._answer is not None:
            if now >= self._deadline:
                self._fail(HttpFailed("no answer in time", kind="timeout", in_doubt=True))
        elif self._idle_since < idle_border:
            self.abort()

    def abort(self) -> None:
        self._answer = None
        self._transport.abort()

    # --- what the transport and the parser tell ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self._transport.abort()  # nobody has asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(HttpFailed("the answer is not HTTP/1.1", kind="reset", in_doubt=True))
            return
        if self._answer is not None and not self._has_head:
            self._head_size_bytes += len(data)
            if self._head_size_bytes > HEAD_SIZE_BYTES_MAX:
                self._fail(_too_large(HEAD_SIZE_BYTES_MAX))

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        if self._answer is None:
            return
        ends_with_connection = "content-length" not in self._headers and "transfer-encoding" not in self._headers
        if exc is None and self._has_head and ends_with_connection:
            self._complete()
        else:
            self._fail(HttpFailed(BROKEN, kind="reset", in_doubt=True))

    def on_message_begin(self) -> None:
        if self._answer is None:
            self._transport.abort()  # more than one answer to one request: whose would the next one be

    def on_header(self, name: bytes, value: bytes) -> None:
        known = name.decode("latin-1").lower()
        text = value.decode("latin-1").rstrip()
        before = self._headers.get(known)
        self._headers[known] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        self._has_head = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self._size_bytes += len(body)
        if self._size_bytes > BODY_SIZE_BYTES_MAX:
            self._fail(_too_large(BODY_SIZE_BYTES_MAX))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._has_head:
            self._clear()  # 1xx: the answer is still to come
        elif self._answer is not None:
            can_go_on = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
            self._complete()
            if can_go_on:
                self._idle_since = self._loop.time()
                self._pool.free(self)
            else:
                self._transport.close()

    def _complete(self) -> None:
        answer, self._answer = self._answer, None
        headers, parts = self._headers, self._parts
        status = self._parser.get_status_code()
        self._clear()
        if answer is None or answer.done():
            return
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if headers.get("content-encoding") in ("gzip", "x-gzip"):
            body = _unzipped(body)
        answer.set_result(HttpResponse(status=status, headers=headers, body=body))

    def _fail(self, error: HttpFailed) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        self._transport.abort()


def _unreachable(why: str) -> HttpFailed:
    return HttpFailed(f"the system cannot be reached: {why}", kind="connect", in_doubt=False)


def _too_large(size_bytes_max: int) -> HttpFailed:
    return HttpFailed(f"the answer is larger than {size_bytes_max} bytes", kind="too-large", in_doubt=True)


def _unzipped(body: bytes) -> bytes:
    """From servers that compress unasked. What is not whole stays as it is: its reader says what it thinks of it."""
    unzip: Any = zlib.decompressobj(wbits=31)
    try:
        plain: bytes = unzip.decompress(body, BODY_SIZE_BYTES_MAX)
    except zlib.error:
        return body
    return plain if unzip.eof else body
