"""The HTTP server: a socket of ours, connections by ``web_connection``, one timer for all of them.

Bounds: connections, the size of heads and bodies, the time for a request to come and for an answer to be read.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from accord.engine.accepting import OneByOne
from accord.engine.answer import Answer, Reply, busy, problem
from accord.engine.web_connection import BODILESS, WebConnection
from accord.sdk.http import InboundRequest

BACKLOG = 2048
CONNECTIONS_MAX = 8_192  # each costs about 5 KB while idle; more get 503
REQUEST_S = 60  # for a request to come whole, and for an answer to be read: 5 MB at 85 KB/s
IDLE_S = 65  # above the 60 s after which common load balancers drop idle connections themselves
LINGERING_S = 2  # for a client to read why it was refused while it still sends
TICK_S = 1.0

Handle = Callable[[InboundRequest, Reply], None]
Defect = Callable[[InboundRequest, Exception], None]


def bound_socket(host: str, port: int) -> socket.socket:
    """Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def address_of(host: str, bound: socket.socket) -> str:
    """``host:port`` (the port as bound), an IPv6 host in brackets."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{bound.getsockname()[1]}"


class WebServer:
    """``bind`` first (so that a taken port is known at once), then ``start``; ``stop`` lets running requests end, for at most
    ``drain_s``: a client that dawdles must not keep the engine from stopping.

    ``listener``: a socket that listens already and is shared with other processes.
    ``handle`` takes a whole request and a function to call once with its answer; what it raises goes to ``defect``.
    """

    def __init__(
        self,
        handle: Handle,
        defect: Defect,
        host: str,
        port: int,
        *,
        drain_s: float,
        body_size_bytes_max: int,
        listener: socket.socket | None = None,
    ) -> None:
        self.handle = handle
        self.defect = defect
        self.body_size_bytes_max = body_size_bytes_max
        self.too_large = problem(413, "intake.too-large", f"the body is larger than {body_size_bytes_max} bytes")
        self.tick = 0
        self.is_draining = False
        self._host = host
        self._port = port
        self._drain_s = drain_s
        self._socket = listener
        self._is_shared = listener is not None
        self._server: asyncio.Server | OneByOne | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[WebConnection] = set()
        self._all_closed = asyncio.Event()
        self._heads: dict[tuple[int, str], bytes] = {}

    def bind(self) -> str:
        """Returns ``host:port`` as bound (port 0 takes a free one). Raises OSError when it cannot be had."""
        if self._socket is None:
            self._socket = bound_socket(self._host, self._port)
        return address_of(self._host, self._socket)

    async def start(self) -> None:
        """Returns when connections are accepted."""
        assert self._socket is not None, "bind first"
        loop = asyncio.get_running_loop()
        if self._is_shared:
            self._server = OneByOne(self._socket, lambda: WebConnection(self))
        else:
            self._server = await loop.create_server(lambda: WebConnection(self), sock=self._socket, backlog=BACKLOG)
        self._timer = loop.call_later(TICK_S, self._sweep)

    async def stop(self) -> None:
        self.is_draining = True
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.drain()
            if self._connections:
                try:
                    await asyncio.wait_for(self.wait_closed(), self._drain_s)
                except TimeoutError:
                    for connection in list(self._connections):
                        connection.abort()
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    async def wait_closed(self) -> None:
        """Until no connection is open."""
        while self._connections:
            self._all_closed.clear()
            await self._all_closed.wait()

    def opened(self, connection: WebConnection) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            connection.refuse(busy("too many connections"))
        self._connections.add(connection)

    def closed(self, connection: WebConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def head_of(self, answer: Answer) -> bytes:
        """Status line and headers, without the empty line that ends them."""
        known = self._heads.get((answer.status, answer.content_type))
        if known is None:
            known = self._heads[answer.status, answer.content_type] = _head(answer)
        has_body = answer.status not in BODILESS and answer.feed is None
        head = b"%bcontent-length: %d\r\n" % (known, len(answer.body)) if has_body else known
        for name, value in answer.headers:
            head += b"%b: %b\r\n" % (name, value)
        return head

    def _sweep(self) -> None:
        self.tick += 1
        self._heads.clear()  # they hold the date
        tick = self.tick
        for connection in list(self._connections):
            connection.sweep(tick - connection.since, request=REQUEST_S, idle=IDLE_S, lingering=LINGERING_S)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._sweep)


def _head(answer: Answer) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    kind = answer.content_type.replace("\r", " ").replace("\n", " ")
    lines = f"HTTP/1.1 {answer.status} {phrase}\r\ndate: {formatdate(time.time(), usegmt=True)}\r\n"
    return (lines + f"content-type: {kind}\r\n").encode("latin-1", "replace")
