"""The HTTP server against raw sockets: keep-alive, pipelines, bounds, cut connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from accord.sandbox.http_server import BODY_BYTES_MAX, Refusal, Request, Response, Router, WebServer

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(handler: Callable[[Request], Awaitable[Response]], conversation: Talk) -> None:
    async def run() -> None:
        server = WebServer("127.0.0.1", 0, handler)
        await server.open_listener()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await asyncio.wait_for(conversation(reader, writer), 10)
        finally:
            writer.close()
            server.close_listener()
            await asyncio.sleep(0)

    asyncio.run(run())


async def echo(request: Request) -> Response:
    await asyncio.sleep(0)
    return Response(200, f"{request.method} {request.path} {request.query} {len(request.body)}".encode(), "text/plain")


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = (
        int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) if b"content-length" in head.lower() else 0
    )
    return int(head.split(b" ")[1]), await reader.readexactly(length)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(b"GET /%d?a=%%C3%%A9 HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(200)))
        for number in range(200):
            assert await answer(reader) == (200, f"GET /{number} {{'a': 'é'}} 0".encode())

    talk(echo, conversation)


def test_a_chunked_body_is_put_together() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )
        assert await answer(reader) == (200, b"POST /x {} 7")

    talk(echo, conversation)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1)
            + b"x" * (BODY_BYTES_MAX + 1),
            413,
        ),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(sent: bytes, status: int) -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        assert (await answer(reader))[0] == status
        assert await reader.read() == b""

    talk(echo, conversation)


def test_a_lost_answer_cuts_the_connection() -> None:
    async def lose(request: Request) -> Response:
        return Response(200, b"done", lost=True)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            left = await reader.read()
        except ConnectionResetError:
            left = b""
        assert left == b""

    talk(lose, conversation)


def test_the_router_tells_unknown_paths_from_wrong_methods() -> None:
    router = Router()
    router.add("GET", "/items/{sku}", lambda request: Response(200, request.parameters["sku"].encode()))

    def ask(method: str, path: str) -> Response:
        return asyncio.run(router(Request(method, path, "", {}, b"")))

    assert ask("GET", "/items/a b").body == b"a b"
    assert ask("HEAD", "/items/x").status == 200
    assert ask("GET", "/items/x/y").status == 404
    refused = ask("POST", "/items/x")
    assert (refused.status, refused.headers) == (405, (("Allow", "GET"),))
    with pytest.raises(Refusal):
        router.find(Request("GET", "/nowhere", "", {}, b""))
