"""The fault proxy does what its toxics say, on real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from accord.testing.proxy import Proxy, Toxics

ANSWER = b"x" * 1000
Talk = Callable[[Proxy], Awaitable[None]]


def _with_proxy(talk: Talk) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
            await talk(proxy)
        server.close()
        await server.wait_closed()

    asyncio.run(run())


async def _ask(proxy: Proxy, within_s: float = 5.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"?")
        return await asyncio.wait_for(reader.readexactly(len(ANSWER)), within_s)
    finally:
        writer.close()


def test_without_toxics_everything_passes() -> None:
    async def talk(proxy: Proxy) -> None:
        assert await _ask(proxy) == ANSWER
        assert await _ask(proxy) == ANSWER
        assert proxy.connections == 2

    _with_proxy(talk)


@pytest.mark.parametrize(
    ("toxics", "least_s"),
    [
        (Toxics(latency_s=0.05), 0.1),  # there and back
        (Toxics(drip_bytes=100, drip_every_s=0.01), 0.09),
        (Toxics(bytes_per_s=10_000), 0.1),
    ],
)
def test_slow_ones_deliver_all_of_it_late(toxics: Toxics, least_s: float) -> None:
    async def talk(proxy: Proxy) -> None:
        proxy.toxics = toxics
        started = time.monotonic()
        assert await _ask(proxy) == ANSWER
        assert time.monotonic() - started >= least_s

    _with_proxy(talk)


@pytest.mark.parametrize("toxics", [Toxics(reset=1.0), Toxics(refuse=True)])
def test_a_reset_is_a_reset(toxics: Toxics) -> None:
    async def talk(proxy: Proxy) -> None:
        proxy.toxics = toxics
        with pytest.raises(ConnectionResetError):
            await _ask(proxy)

    _with_proxy(talk)


def test_an_answer_is_cut_short() -> None:
    async def talk(proxy: Proxy) -> None:
        proxy.toxics = Toxics(truncate_bytes=20)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await _ask(proxy)
        assert caught.value.partial == ANSWER[:20]

    _with_proxy(talk)


def test_half_open_nothing_comes_and_nothing_closes_until_it_heals() -> None:
    async def talk(proxy: Proxy) -> None:
        proxy.toxics = Toxics(half_open=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        proxy.toxics = Toxics()
        assert await asyncio.wait_for(reader.readexactly(len(ANSWER)), 5) == ANSWER
        writer.close()

    _with_proxy(talk)
