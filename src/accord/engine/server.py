"""The HTTP server: uvicorn on a socket of ours, stopped by us."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from accord.engine.corked import CorkedHttpProtocol

BACKLOG = 2048


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the supervisor's


class WebServer:
    """``bind`` first (so that a taken port is known at once), then ``start``; ``stop`` lets running requests end, for at most
    ``drain_s``: a client that dawdles must not keep the engine from stopping."""

    def __init__(self, app: Any, host: str, port: int, drain_s: float) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._drain_s = drain_s
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self) -> str:
        """Returns ``host:port`` as bound (port 0 takes a free one). Raises OSError when it cannot be had."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self._host, self._port))
        except BaseException:
            bound.close()
            raise
        self._socket = bound
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"{shown}:{bound.getsockname()[1]}"

    async def start(self) -> None:
        """Returns when connections are accepted."""
        assert self._socket is not None, "bind first"
        config = uvicorn.Config(
            self._app,
            http=CorkedHttpProtocol,
            loop="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=math.ceil(self._drain_s),
            ws="none",
            proxy_headers=False,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("the web server ended while starting")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._socket is not None:
            self._socket.close()
