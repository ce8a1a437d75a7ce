"""One connection to the web server: bytes to requests, answers to bytes (HTTP/1.1, RFC 9112).

httptools parses, and refuses what is ambiguous (two lengths, a length beside chunks). Requests of one connection are answered one
after another in order; while more of them wait, nothing is read. A connection whose request cannot be taken hears why and is then
read empty for a moment: closed at once, its answer would be lost with what the client still sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from accord.engine.answer import Answer, Feed, problem
from accord.sdk.http import InboundRequest

if TYPE_CHECKING:
    from accord.engine.server import WebServer

HEAD_SIZE_BYTES_MAX = 64 * 1024  # address and headers (and trailers) of one request; common servers take 8 to 64 KB
NAMES_KEPT_MAX = 512  # header names decoded once; senders use few, and a stranger's inventions must not fill memory
CHUNK_FRAME_RATIO = 8  # bytes on the wire for one of the body: a chunk of one byte takes six
BODILESS = (204, 304)  # statuses whose answers have no body
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_names: dict[bytes, str] = {}


class Refusal(Exception):
    """The request cannot be taken; said with ``answer``, then the connection ends."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Head:
    """What one request needs of its head once its body is there."""

    __slots__ = ("is_head", "is_old", "keeps")

    def __init__(self, *, is_head: bool, is_old: bool, keeps: bool) -> None:
        self.is_head = is_head
        self.is_old = is_old  # HTTP/1.0: keeping the connection has to be said
        self.keeps = keeps


class WebConnection(asyncio.Protocol):
    """``since``: the server's tick at which it began to wait for what it waits for now (see ``is_overdue``)."""

    def __init__(self, server: WebServer) -> None:
        self._server = server
        self._transport: asyncio.Transport  # from connection_made on, which comes first
        self._peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[InboundRequest | Answer, Head]] = deque()
        self._answering: Head | None = None
        self._feed: Feed | None = None  # goes on answering
        self._is_starting = False
        self._is_reading = False  # between a request's first byte and its last
        self._is_paused = False  # requests wait for their turn
        self._is_ended = False  # nothing more is taken; what comes is thrown away
        self._is_half_closed = False  # by the client
        self._is_blocked = False  # the client does not read its answers
        self._fed_bytes = 0
        self.since = server.tick
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._has_head = False
        self._parts: list[bytes] = []
        self._body_size_bytes = 0

    # --- what the transport tells ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ended = True
        self._waiting.clear()
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.ended()
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            return
        self._fed_bytes = len(data)
        try:
            self._parser.feed_data(data)
            if self._is_reading:
                self._count(len(data))
        except httptools.HttpParserUpgrade:
            self._is_ended = True  # the request is answered like any other; what follows it would be another protocol
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refusal):
                self.refuse(cause.answer)
            elif not self._ends_soon():
                self.refuse(problem(400, "intake.malformed", f"the request is not HTTP/1.1: {error}"[:200]))
        except Refusal as refusal:
            self.refuse(refusal.answer)

    def eof_received(self) -> bool:
        """A client may close its half and still wait for the answer; without a request there is nothing to wait for."""
        self._is_ended = self._is_half_closed = True
        if self._feed is not None:
            return False  # who reads an answer that goes on keeps the connection open
        return self._answering is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        self._is_blocked = True
        self.since = self._server.tick

    def resume_writing(self) -> None:
        self._is_blocked = False
        self.since = self._server.tick
        self._start_next()

    # --- what the parser tells ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._is_reading = True
        self._wire_size_bytes = -self._fed_bytes  # the packet it begins in is not counted: much of it may be another's
        self.since = self._server.tick

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer, which nobody asks for
            self._headers[_names.get(name) or _name(name)] = value.decode("latin-1").rstrip()

    def on_headers_complete(self) -> None:
        self._has_head = True
        headers = self._headers
        declared = headers.get("content-length")
        if declared is not None and int(declared) > self._server.body_size_bytes_max:
            raise Refusal(self._server.too_large)
        if "expect" in headers and headers["expect"].lower() == "100-continue" and self._answering is None:
            self._write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_size_bytes += len(body)
        if self._body_size_bytes > self._server.body_size_bytes_max:
            raise Refusal(self._server.too_large)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        path, query = _split(self._url)
        parts = self._parts
        request = InboundRequest(
            method=method,
            path=path,
            query=query,
            headers=self._headers,
            body=parts[0] if len(parts) == 1 else b"".join(parts),
            peer=self._peer,
        )
        head = Head(
            is_head=method == "HEAD",
            is_old=parser.get_http_version() == "1.0",
            keeps=parser.should_keep_alive() and not parser.should_upgrade(),
        )
        self._is_reading = False
        self._clear()
        self._queue(request, head)

    # --- requests and answers in turn --------------------------------------------------------------------------------

    def _queue(self, request: InboundRequest | Answer, head: Head) -> None:
        self._waiting.append((request, head))
        self._start_next()
        if self._waiting and not self._is_paused and self._is_open:
            self._is_paused = True
            self._transport.pause_reading()

    def _start_next(self) -> None:
        """Not by recursion: a thousand requests in one packet may be answered at once each."""
        if self._is_starting:
            return
        self._is_starting = True
        while self._waiting and self._answering is None and not self._is_blocked:
            request, self._answering = self._waiting.popleft()
            if isinstance(request, Answer):
                self.reply(request)
                continue
            try:
                self._server.handle(request, self.reply)
            except Exception as error:  # noqa: BLE001 (a defect is reported and answered; the engine goes on)
                self._server.defect(request, error)
                self.reply(problem(500, "engine.defect", "the request failed unexpectedly; the engine's log tells why"))
        self._is_starting = False
        if self._is_paused and not self._waiting:
            self._read_on()

    def _read_on(self) -> None:
        if self._is_paused and self._is_open:
            self._is_paused = False
            self._transport.resume_reading()

    @property
    def _is_open(self) -> bool:
        return not self._transport.is_closing()

    def reply(self, answer: Answer) -> None:
        """The answer to the request that is being answered. One that comes after the client has gone is dropped."""
        head, self._answering = self._answering, None
        self.since = self._server.tick
        if head is None or not self._is_open:
            if answer.feed is not None:
                answer.feed.ended()
            return
        if answer.feed is not None:
            self._go_on(answer, answer.feed, head)
            return
        keeps = head.keeps and not self._server.is_draining
        written = self._server.head_of(answer)
        if not keeps:
            written += b"connection: close\r\n"
        elif head.is_old:
            written += b"connection: keep-alive\r\n"
        has_body = not head.is_head and answer.status not in BODILESS
        self._write(b"%b\r\n%b" % (written, answer.body) if has_body else written + b"\r\n")
        if not keeps:
            self._end()
        elif self._waiting:
            self._start_next()

    def _go_on(self, answer: Answer, feed: Feed, head: Head) -> None:
        """The answer's end is the connection's."""
        self._write(
            b"%bconnection: close\r\n\r\n%b" % (self._server.head_of(answer), b"" if head.is_head else answer.body)
        )
        if head.is_head or self._server.is_draining:
            feed.ended()
            self._end()
            return
        self._answering, self._feed = head, feed
        feed.began(self)

    def write(self, data: bytes) -> bool:
        """Of an answer that goes on."""
        if self._feed is None or self._is_blocked or not self._is_open:
            return False
        self._transport.write(data)
        return True

    def close(self) -> None:
        """Of an answer that goes on."""
        if self._feed is not None:
            self._transport.close()

    def refuse(self, answer: Answer) -> None:
        """The last answer of this connection, in its turn."""
        self._is_reading = False
        self._is_ended = True
        self._queue(answer, Head(is_head=False, is_old=False, keeps=False))

    def _ends_soon(self) -> bool:
        """A request before has asked for the connection to end after its answer."""
        last = self._waiting[-1][1] if self._waiting else self._answering
        return not self._is_open or (last is not None and not last.keeps)

    def _end(self) -> None:
        """Closes; after a refusal only this half, so that the client comes to read it."""
        self._waiting.clear()
        if self._is_ended and not self._is_half_closed and self._transport.can_write_eof():
            self._read_on()
            self._transport.write_eof()
        else:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._is_open:
            self._transport.write(data)

    def _count(self, size_bytes: int) -> None:
        """Bounds what the parser keeps of a head or a trailer, and what is spent on the frames of chunks."""
        self._wire_size_bytes += size_bytes
        if self._wire_size_bytes > HEAD_SIZE_BYTES_MAX + CHUNK_FRAME_RATIO * self._body_size_bytes:
            raise Refusal(problem(431, "intake.head-too-large", f"the headers exceed {HEAD_SIZE_BYTES_MAX} bytes"))

    # --- what the server asks ----------------------------------------------------------------------------------------

    def sweep(self, waited: int, *, request: int, idle: int, lingering: int) -> None:
        """Ends a connection that has waited (all in ticks) too long: for the rest of a request, for the next one, for the client
        to read. One whose answer is being worked on is left alone."""
        if self._answering is not None and not self._is_blocked:
            return
        if self._is_ended:
            if waited > lingering:
                self.abort()
        elif self._is_blocked:
            if waited > request:
                self.abort()
        elif self._is_reading:
            if waited > request:
                self.refuse(problem(408, "intake.slow", f"the request did not come within {request} seconds"))
        elif waited > idle:
            self._transport.close()

    def drain(self) -> None:
        """Ends now when nothing is under way; else after the answer to what is."""
        if self._feed is not None or (self._answering is None and not self._is_reading and not self._waiting):
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


def _name(name: bytes) -> str:
    known = name.decode("latin-1").lower()
    if len(_names) < NAMES_KEPT_MAX:
        _names[name] = known
    return known


def _split(url: bytes) -> tuple[str, str]:
    """Path (decoded) and query of a request target; an absolute one is taken for its path."""
    if not url.startswith(b"/"):
        try:
            parsed: Any = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            return url.decode("latin-1"), ""
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.decode("latin-1").partition("?")
    return unquote(path) if "%" in path else path, query
