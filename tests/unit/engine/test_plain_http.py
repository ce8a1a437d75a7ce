"""The client without TLS against servers that answer byte by byte what a test says."""

from __future__ import annotations

import asyncio
import gzip
import select
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from accord.engine import plain_http
from accord.engine.plain_http import PlainHttp, can_send
from accord.sdk.http import HttpFailed, HttpRequest, HttpResponse

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Each connection runs ``talk``; what it leaves open is closed after it."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.open = 0
        self.open_max = 0

    async def __aenter__(self) -> Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, as some tests want it to
        finally:
            self.open -= 1
            writer.close()

    def url(self, path: str = "/x") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


def answering(*answers: bytes) -> Talk:
    """One answer per request, then the connection ends."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return talk


def run(work: Callable[[PlainHttp], Awaitable[None]], connections_max: int = 4) -> None:
    async def main() -> None:
        client = PlainHttp(connections_max=connections_max, connect_s=5, idle_s=50)
        try:
            await asyncio.wait_for(work(client), 20)
        finally:
            await client.close()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):  # the second is what `accord up` runs on
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())


async def post(client: PlainHttp, url: str, body: bytes = b"b", timeout_s: float = 5) -> HttpResponse:
    return await client.send(HttpRequest(method="POST", url=url, body=body), timeout_s)


async def failure(client: PlainHttp, url: str, timeout_s: float = 5) -> tuple[str, bool]:
    with pytest.raises(HttpFailed) as caught:
        await post(client, url, timeout_s=timeout_s)
    return caught.value.kind, caught.value.in_doubt


def test_a_request_as_it_goes_and_an_answer_as_it_comes() -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head, body = await read_request(reader)
            heads.append(head + body)
            writer.write(b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: 2 \r\nContent-Length: 3\r\n\r\nabc")

    async def work(client: PlainHttp) -> None:
        heads.clear()
        async with Server(talk) as server:
            request = HttpRequest(
                method="POST", url=server.url("/a/b?c=d"), headers={"idempotency-key": "k"}, body=b"{}"
            )
            for _ in range(2):
                response = await client.send(request, 5)
                assert (response.status, response.body) == (201, b"abc")
                assert response.headers == {"x-a": "1, 2", "content-length": "3"}
            host = f"127.0.0.1:{server.port}".encode()
            wanted = b"POST /a/b?c=d HTTP/1.1\r\nhost: " + host + b"\r\nuser-agent: accord\r\nidempotency-key: k\r\n"
            assert heads == [wanted + b"content-length: 2\r\n\r\n{}"] * 2
            assert server.connections == 1

    run(work)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
        % len(gzip.compress(b"hello", mtime=0))
        + gzip.compress(b"hello", mtime=0),
    ],
    ids=["chunks", "to the end", "1.0", "hints first", "gzip"],
)
def test_bodies_in_every_form(answer: bytes) -> None:
    async def work(client: PlainHttp) -> None:
        async with Server(answering(answer)) as server:
            response = await post(client, server.url())
            assert (response.status, response.body) == (200, b"hello")
            assert "link" not in response.headers

    run(work)


def test_who_cannot_be_reached_has_heard_nothing() -> None:
    async def work(client: PlainHttp) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            assert await failure(client, f"http://127.0.0.1:{closed.getsockname()[1]}/") == ("connect", False)
        assert await failure(client, "http://no-such-host.invalid/") == ("connect", False)

    run(work)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["none", "half a head", "half a body", "chunks without end", "another protocol", "upgrade", "only hints"],
)
def test_without_a_whole_answer_what_was_sent_is_in_doubt(answer: bytes) -> None:
    async def work(client: PlainHttp) -> None:
        async with Server(answering(answer)) as server:
            assert await failure(client, server.url()) == ("reset", True)

    run(work)


def test_no_answer_in_time_is_in_doubt_and_its_connection_not_used_again() -> None:
    async def work(client: PlainHttp) -> None:
        gone = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            assert await reader.read() == b""  # until the client leaves
            gone.set()

        async with Server(talk) as server:
            assert await failure(client, server.url(), timeout_s=0.05) == ("timeout", True)
            await gone.wait()

    run(work)


def test_an_answer_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "BODY_SIZE_BYTES_MAX", 1000)

    async def work(client: PlainHttp) -> None:
        large = b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000
        async with Server(answering(large)) as server:
            assert await failure(client, server.url()) == ("too-large", True)

    run(work)


def test_a_connection_closed_while_idle_is_found_out_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's close has come, and the event loop has not looked yet: nothing must be sent into it."""
    monkeypatch.setattr(plain_http, "LOOKED_AT_S", 0.0)
    taken: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            while b"\r\n\r\n" not in connection.recv(4096):
                pass
            connection.sendall(OK)

    thread = threading.Thread(target=serve)
    thread.start()

    async def work(client: PlainHttp) -> None:
        taken.clear()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert (await post(client, url, b"")).body == b"ok"
        (connection,) = client._open
        taken[0].close()
        look = select.poll()
        look.register(connection._transport.get_extra_info("socket").fileno(), select.POLLIN)
        assert look.poll(5000)
        assert (await post(client, url, b"")).body == b"ok"
        assert len(taken) == 2
        taken[1].close()

    try:
        run(work)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_more_than_was_asked_for_ends_the_connection() -> None:
    async def work(client: PlainHttp) -> None:
        async with Server(answering(OK + b"HTTP/1.1 200 OK\r\ncontent-le", OK)) as server:
            for _ in range(2):
                assert (await post(client, server.url())).body == b"ok"
            assert server.connections == 2

    run(work)


def test_connections_have_a_bound_and_who_waits_is_served() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)

    async def work(client: PlainHttp) -> None:
        async with Server(talk) as one, Server(talk) as other:
            urls = [one.url(), other.url()] * 25
            answers = await asyncio.gather(*(post(client, url) for url in urls))
            assert [answer.body for answer in answers] == [b"ok"] * 50
            assert one.open_max <= 2
            assert other.open_max <= 2

    run(work, connections_max=2)


def test_without_a_free_connection_in_time_nothing_was_sent() -> None:
    async def work(client: PlainHttp) -> None:
        came = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            came.set()
            await reader.read()

        async with Server(talk) as server:
            first = asyncio.ensure_future(post(client, server.url()))
            await came.wait()
            assert await failure(client, server.url(), timeout_s=0.01) == ("connect", False)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            while client._open:  # its connection is not kept: the answer would be taken for another's
                await asyncio.sleep(0)

    run(work, connections_max=1)


def test_a_header_cannot_break_out_of_its_line() -> None:
    async def work(client: PlainHttp) -> None:
        for value in ("a\r\nx: y", "a\n", "a\r", "\0", "ключ"):
            request = HttpRequest(method="GET", url="http://127.0.0.1:1/", headers={"key": value})
            with pytest.raises(HttpFailed) as caught:
                await client.send(request, 5)
            assert (caught.value.kind, caught.value.in_doubt) == ("invalid", False)

    run(work)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest(method="POST", url="https://example.com/"),
        HttpRequest(method="HEAD", url="http://example.com/"),
        HttpRequest(method="GET", url="http://user:word@example.com/"),
        HttpRequest(method="GET", url="http://example.com/a/../b"),
        HttpRequest(method="GET", url="http://example.com/a b"),
        HttpRequest(method="GET", url="http://bücher.example/"),
        HttpRequest(method="GET", url="http://example.com:70000/"),
        HttpRequest(method="GET", url="http://example.com/", headers={"host": "other"}),
        HttpRequest(method="GET", url="http://example.com/", headers={"a b": "c"}),
    ],
)
def test_what_needs_more_is_the_librarys(request_: HttpRequest) -> None:
    assert not can_send(request_)


def test_large_bodies_arrive_whole() -> None:
    seen: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        seen.append(len(body))
        writer.write(OK)

    async def work(client: PlainHttp) -> None:
        async with Server(talk) as server:
            assert (await post(client, server.url(), b"x" * 3_000_000)).body == b"ok"
        assert seen.pop() == 3_000_000

    run(work)
