"""A small HTTP/1.1 server on asyncio and httptools whose connections can be dropped at will.

A general server hides its transport; a stand-in needs it: to refuse connections (down), to cut one after the work is done
(lost answer). One process runs one thread: a handler that does not await runs alone, so its transaction needs no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec

BODY_BYTES_MAX = 128 * 1024 * 1024  # the CSV of a bulk job may have 100 MB
PIPELINED_MAX = 64  # requests read ahead of their answers on one connection; then reading pauses


class Request(msgspec.Struct, frozen=True):
    """One request: header names in lower case, the path decoded, ``query`` the first value of each name."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    parameters: Mapping[str, str] = {}

    @property
    def query(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.raw_query, keep_blank_values=True):
            found.setdefault(name, value)
        return found


class Response(msgspec.Struct, frozen=True):
    """One answer; ``lost`` cuts the connection instead of sending it."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    lost: bool = False


Handler = Callable[[Request], "Response | Awaitable[Response]"]


class Refusal(Exception):
    """A handler refuses a request: becomes ``{"error": {"code", "message", "details"}}`` with this status."""

    def __init__(
        self, status: int, code: str, message: str, details: object = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.status, self.code, self.message, self.details, self.headers = status, code, message, details, headers
        super().__init__(message)


def json_response(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, msgspec.json.encode(value), headers=headers)


def html_response(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), "text/html; charset=utf-8")


def refusal_response(refusal: Refusal) -> Response:
    error: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.details is not None:
        error["details"] = refusal.details
    return json_response({"error": error}, refusal.status, refusal.headers)


class Router:
    """Paths with ``{names}`` to handlers; an unknown path is 404, a known path with another method 405 with Allow."""

    def __init__(self) -> None:
        self._fixed: dict[str, dict[str, Handler]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Handler]]] = []
        self._known: dict[str, dict[str, Handler]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        methods = self._known.get(path)
        if methods is None:
            methods = self._known[path] = {}
            if "{" in path:
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))
                self._patterns.append((re.compile(pattern), methods))
            else:
                self._fixed[path] = methods
        methods[method] = handler

    def find(self, request: Request) -> tuple[Handler, Request]:
        """The handler and the request with its path parameters; raises Refusal 404 or 405."""
        methods = self._fixed.get(request.path)
        parameters: dict[str, str] = {}
        if methods is None:
            for pattern, candidate in self._patterns:
                match = pattern.fullmatch(request.path)
                if match:
                    methods, parameters = candidate, match.groupdict()
                    break
        if methods is None:
            raise Refusal(404, "not-found", f"There is nothing at {request.path[:200]!r}.")
        method = "GET" if request.method == "HEAD" and "HEAD" not in methods else request.method
        handler = methods.get(method)
        if handler is None:
            allow = ", ".join(sorted(methods))
            raise Refusal(405, "method-not-allowed", f"Use one of: {allow}.", headers=(("Allow", allow),))
        return handler, (msgspec.structs.replace(request, parameters=parameters) if parameters else request)

    async def __call__(self, request: Request) -> Response:
        try:
            handler, request = self.find(request)
            answer = handler(request)
            return answer if isinstance(answer, Response) else await answer
        except Refusal as refusal:
            return refusal_response(refusal)


class WebServer:
    """Serves one handler on one address. ``close_listener`` refuses new connections and cuts the open ones."""

    def __init__(
        self,
        host: str,
        port: int,
        handler: Callable[[Request], Awaitable[Response]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host, self.port, self.handler, self.tls = host, port, handler, tls
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def is_listening(self) -> bool:
        return self._server is not None

    async def open_listener(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Connection(self), self.host, self.port, reuse_address=True, backlog=1024, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.cut()


class _Connection(asyncio.Protocol):
    """One connection: parses, answers in order of arrival, one request at a time."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[tuple[Request, bool]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.parser = httptools.HttpRequestParser(self)
        self._clear()

    def _clear(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.size_bytes = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self.transport = None

    def cut(self) -> None:
        """Drops the connection at once; work in progress goes on, its answer is lost."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "Upgrades are not served here.")
        except httptools.HttpParserError as fault:
            self._refuse(413 if self.size_bytes > BODY_BYTES_MAX else 400, f"The request cannot be read: {fault}")

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.headers.get("expect", "").lower() == "100-continue" and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.size_bytes += len(body)
        if self.size_bytes > BODY_BYTES_MAX:
            raise httptools.HttpParserError("the body is longer than this server takes")
        self.parts.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self.url.decode("latin-1").partition("?")
        method = self.parser.get_method().decode()
        request = Request(method, unquote(path), query, self.headers, b"".join(self.parts))
        self.waiting.append((request, self.parser.should_keep_alive()))
        self._clear()
        if len(self.waiting) >= PIPELINED_MAX and self.transport is not None:
            self.transport.pause_reading()
        if self.task is None:
            self.task = asyncio.ensure_future(self._answer_all())

    async def _answer_all(self) -> None:
        try:
            while self.waiting:
                request, keep_alive = self.waiting.popleft()
                try:
                    response = await self.server.handler(request)
                except Exception as fault:  # noqa: BLE001 - a stand-in answers 500 like any server, and says why
                    response = json_response({"error": {"code": "internal", "message": repr(fault)}}, 500)
                if response.lost:
                    self.cut()
                self._send(request.method, response, keep_alive)
        finally:
            self.task = None
            with contextlib.suppress(RuntimeError):
                if self.transport is not None:
                    self.transport.resume_reading()

    def _send(self, method: str, response: Response, keep_alive: bool) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
        if response.body or response.status not in (204, 304):
            lines += [f"content-type: {response.content_type}", f"content-length: {len(response.body)}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if not keep_alive:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        self.transport.write(head if method == "HEAD" else head + response.body)
        if not keep_alive:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        self._send("GET", refusal_response(Refusal(status, "bad-request", message)), keep_alive=False)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
