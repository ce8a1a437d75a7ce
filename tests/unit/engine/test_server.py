"""The web server over real sockets: what HTTP/1.1 clients do, well and badly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from accord.engine import server as server_module
from accord.engine.answer import Answer, Reply
from accord.engine.server import WebServer
from accord.sdk.http import InboundRequest

BODY_MAX = 100_000


class Handler:
    """Answers with what it was sent; /later when it is told to, /broken never well."""

    def __init__(self) -> None:
        self.seen: list[InboundRequest] = []
        self.later: list[Reply] = []
        self.arrived = asyncio.Event()
        self.defects: list[str] = []

    def handle(self, request: InboundRequest, reply: Reply) -> None:
        self.seen.append(request)
        self.arrived.set()
        if request.path == "/later":
            self.later.append(reply)
        elif request.path == "/broken":
            raise RuntimeError("a defect")
        elif request.path == "/nothing":
            reply(Answer(204, b"not sent"))
        else:
            reply(Answer(200, request.body or request.path.encode(), "text/plain"))

    def defect(self, request: InboundRequest, error: Exception) -> None:
        self.defects.append(f"{request.path}: {error}")


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of the next answer."""
        head = await self.head()
        status = int(head[9:12])
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        return status, head, await self.reader.readexactly(length)

    async def ended(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 10)


def serve(work: Callable[[WebServer, Handler, Callable[[], Awaitable[Client]]], Awaitable[None]]) -> None:
    async def run() -> None:
        handler = Handler()
        server = WebServer(handler.handle, handler.defect, "127.0.0.1", 0, drain_s=5, body_size_bytes_max=BODY_MAX)
        host, _, port = server.bind().rpartition(":")
        await server.start()
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection(host, int(port))))
            return clients[-1]

        try:
            await asyncio.wait_for(work(server, handler, connect), 30)
        finally:
            for client in clients:
                client.writer.close()
            await server.stop()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):  # the second is what `accord up` runs on
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run())


def test_a_connection_serves_one_request_after_another() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        for number in range(3):
            client.write(b"POST /a%%20b?c=%d HTTP/1.1\r\nHost: x\r\nX-Odd:  v \r\nContent-Length: 2\r\n\r\nhi" % number)
            status, head, body = await client.answer()
            assert (status, body) == (200, b"hi")
            assert b"content-type: text/plain\r\n" in head
            assert b"\r\ndate: " in head
            assert b"connection:" not in head
        assert [(r.method, r.path, r.query) for r in handler.seen] == [("POST", "/a b", f"c={n}") for n in range(3)]
        assert handler.seen[0].headers == {"host": "x", "x-odd": "v", "content-length": "2"}

    serve(work)


def test_a_body_may_come_in_pieces_and_in_chunks() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        request = (
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
        )
        for at in range(len(request)):
            client.write(request[at : at + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[2] == b"abcde"
        assert "trailer" not in handler.seen[0].headers

    serve(work)


def test_requests_in_one_packet_are_answered_in_order() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        many = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(2_000))
        client.write(b"GET /later HTTP/1.1\r\n\r\n" + many)
        await handler.arrived.wait()
        assert len(handler.seen) == 1  # one at a time
        handler.later[0](Answer(200, b"first"))
        assert (await client.answer())[2] == b"first"
        for number in range(2_000):
            assert (await client.answer())[2] == b"/%d" % number
        client.write(b"GET /still-open HTTP/1.1\r\n\r\n")
        assert (await client.answer())[2] == b"/still-open"

    serve(work)


def test_head_has_no_body_and_204_neither() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.write(b"HEAD /abc HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nGET /after HTTP/1.1\r\n\r\n")
        assert b"content-length: 4\r\n" in await client.head()
        assert b"content-length" not in await client.head()
        assert (await client.answer())[2] == b"/after"

    serve(work)


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
    ],
)
def test_who_asks_for_the_end_gets_it(request_: bytes, closes: bool) -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.write(request_)
        status, head, _ = await client.answer()
        assert status == 200
        assert (b"connection: close\r\n" in head) == closes
        if closes:
            assert await client.ended() == b""
        else:
            assert b"connection: keep-alive\r\n" in head

    serve(work)


def test_a_client_that_asks_first_is_told_to_go_on_or_not() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.write(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.write(b"hi")
        assert (await client.answer())[2] == b"hi"
        client.write(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX + 1))
        status, head, _ = await client.answer()
        assert status == 413
        assert b"connection: close\r\n" in head
        assert await client.ended() == b""

    serve(work)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 400_000, 431),
        (b"GET /" + b"a" * 400_000, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 400_000, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2710\r\n" + b"a" * 10_000 + b"\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\n" + b"a" * 100_000, 413),
    ],
    ids=[
        "tls",
        "two lengths",
        "length and chunks",
        "negative",
        "bad chunk",
        "header",
        "address",
        "trailer",
        "chunks",
        "body",
    ],
)
def test_what_cannot_be_taken_is_refused_and_the_connection_ends(request_: bytes, status: int) -> None:
    """The client reads the refusal although it was still sending."""

    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.write(request_)
        if status == 413 and b"chunked" in request_:
            for _ in range(10):
                client.write(b"2710\r\n" + b"a" * 10_000 + b"\r\n")
        found, head, body = await client.answer()
        assert found == status, body
        assert b"application/problem+json" in head
        assert await client.ended() == b""
        assert handler.seen == []
        other = await connect()
        other.write(b"GET /fine HTTP/1.1\r\n\r\n")
        assert (await other.answer())[2] == b"/fine"

    serve(work)


def test_a_defect_is_told_and_answered() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.write(b"GET /broken HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n")
        assert (await client.answer())[0] == 500
        assert handler.defects == ["/broken: a defect"]
        assert (await client.answer())[2] == b"/next"

    serve(work)


def test_a_client_that_has_gone_misses_its_answer_only() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        gone = await connect()
        gone.write(b"GET /later HTTP/1.1\r\n\r\n")
        await handler.arrived.wait()
        gone.writer.transport.abort()
        half = await connect()
        half.write(b"GET /later HTTP/1.1\r\n\r\n")
        half.writer.write_eof()
        while len(handler.later) < 2:
            handler.arrived.clear()
            await handler.arrived.wait()
        for reply in handler.later:
            reply(Answer(200, b"late"))
        assert (await half.answer())[2] == b"late"
        assert await half.ended() == b""

    serve(work)


def test_slow_senders_and_idle_connections_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TICK_S", 0.01)
    monkeypatch.setattr(server_module, "REQUEST_S", 3)
    monkeypatch.setattr(server_module, "IDLE_S", 10)

    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        slow, idle, waiting = await connect(), await connect(), await connect()
        slow.write(b"GET / HTTP/1.1\r\nX: ")
        waiting.write(b"GET /later HTTP/1.1\r\n\r\n")
        status, _, body = await slow.answer()
        assert (status, b"intake.slow" in body) == (408, True)
        assert await slow.ended() == b""
        assert await idle.ended() == b""
        handler.later[0](Answer(200, b"worked on for long"))
        assert (await waiting.answer())[2] == b"worked on for long"

    serve(work)


def test_a_client_that_reads_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TICK_S", 0.01)
    monkeypatch.setattr(server_module, "REQUEST_S", 3)

    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.write(b"GET /later HTTP/1.1\r\n\r\nGET /never HTTP/1.1\r\n\r\n")
        await handler.arrived.wait()
        handler.later[0](Answer(200, b"x" * 50_000_000))
        await server.wait_closed()
        assert [request.path for request in handler.seen] == ["/later"]

    serve(work)


def test_connections_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 2)

    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        first, second = await connect(), await connect()
        for client in (first, second):
            client.write(b"GET /a HTTP/1.1\r\n\r\n")
            assert (await client.answer())[0] == 200
        assert (await (await connect()).answer())[0] == 503

    serve(work)


def test_stopping_lets_what_is_under_way_end() -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        idle, busy = await connect(), await connect()
        busy.write(b"GET /later HTTP/1.1\r\n\r\n")
        await handler.arrived.wait()
        stopping = asyncio.ensure_future(server.stop())
        assert await idle.ended() == b""
        assert not stopping.done()
        handler.later[0](Answer(200, b"done"))
        status, head, body = await busy.answer()
        assert (status, body) == (200, b"done")
        assert b"connection: close\r\n" in head
        await stopping
        with pytest.raises(OSError):
            await connect()

    serve(work)


def test_stopping_does_not_wait_for_dawdlers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: WebServer, handler: Handler, connect: Callable[[], Awaitable[Client]]) -> None:
        monkeypatch.setattr(server, "_drain_s", 0.05)
        client = await connect()
        client.write(b"GET /later HTTP/1.1\r\n\r\n")
        await handler.arrived.wait()
        await server.stop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.answer()

    serve(work)
