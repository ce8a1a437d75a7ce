"""A real HTTP/1.1 server on a free port of loopback, for tests of connectors: what it answers is a Python function.

    async with serve(answer) as server:
        ... requests to server.address ...

``answer`` gets an InboundRequest and gives an HttpResponse; None cuts the connection without an answer, as a server does that
dies after doing the work; bytes go out as they are.
"""

from __future__ import annotations

import asyncio
import http
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from accord.sdk.http import HttpResponse, InboundRequest, encode_json

HEAD_SIZE_BYTES_MAX = 64 * 1024

Answer: TypeAlias = HttpResponse | bytes | None
Handler: TypeAlias = Callable[[InboundRequest], Awaitable[Answer]]


class TestServer:
    """``address`` is ``http://127.0.0.1:<port>``; ``requests`` are all requests so far, in order of arrival."""

    __test__ = False  # no test class for pytest

    def __init__(self, handler: Handler, port: int) -> None:
        self.handler = handler
        self.address = f"http://127.0.0.1:{port}"
        self.requests: list[InboundRequest] = []
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                answer = await self.handler(request)
                if answer is None:
                    break
                writer.write(answer if isinstance(answer, bytes) else _encode(answer))
                await writer.drain()
                if isinstance(answer, bytes):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.pop(task, None)
            writer.close()

    async def close_connections(self) -> None:
        """Closes what clients left open and waits until every connection's task has ended."""
        tasks = list(self._writers)
        for writer in self._writers.values():
            writer.close()
        if tasks:
            await asyncio.wait(tasks, timeout=10)


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[TestServer]:
    """Serves in the running loop until the block ends."""
    found = TestServer(handler, 0)
    server = await asyncio.start_server(found.on_connection, "127.0.0.1", 0, limit=HEAD_SIZE_BYTES_MAX)
    found.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await found.close_connections()
        await server.wait_closed()


def closed_address() -> str:
    """An address on loopback where nobody listens: connecting to it is refused at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def json_answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """A response with a JSON body."""
    return HttpResponse(
        status=status, headers={"content-type": "application/json", **(headers or {})}, body=encode_json(value)
    )


async def nonsense(request: InboundRequest) -> Answer:
    """Answers 200 with a page, as a captive portal or a wrong address does."""
    return HttpResponse(status=200, headers={"content-type": "text/html"}, body=b"<html><h1>Welcome</h1></html>")


async def _read(reader: asyncio.StreamReader) -> InboundRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines) if n}
    path, _, query = target.partition("?")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return InboundRequest(method=method, path=path, query=query, headers=headers, body=body)


def _encode(answer: HttpResponse) -> bytes:
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Other"
    lines = [f"HTTP/1.1 {answer.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status not in (204, 304):
        lines.append(f"content-length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
