"""A TCP proxy that does to connections what networks do: late, broken, half dead, slow, cut short.

    async with Proxy("127.0.0.1", server_port) as proxy:
        proxy.toxics = Toxics(latency_s=0.2)
        ... connect to proxy.port ...

``toxics`` may change at any time: what is under way feels the change with its next piece of data.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from types import TracebackType

import msgspec

PIECE_SIZE_BYTES = 16 * 1024
TICK_S = 0.02


class Toxics(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to connections. ``answer`` is what comes from the server; probabilities are per connection or piece.

    ``latency_s`` and ``jitter_s``: every piece, either way, is that late. ``reset``: probability that a piece of an answer is
    replaced by a reset (RST). ``refuse``: new connections are reset. ``half_open``: nothing is passed on and nothing closed, as
    when a cable is pulled; later, what those sent who are still there arrives. ``drip_bytes``: answers come in pieces of so many
    bytes, one each ``drip_every_s``. ``truncate_bytes``: with probability ``truncate`` an answer ends (FIN) after so many bytes.
    ``bytes_per_s``: bandwidth of each direction of each connection.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    reset: float = 0.0
    refuse: bool = False
    half_open: bool = False
    drip_bytes: int = 0
    drip_every_s: float = 0.005
    truncate_bytes: int | None = None
    truncate: float = 1.0
    bytes_per_s: float = 0.0


EVERY_TOXIC = (
    Toxics(latency_s=0.02, jitter_s=0.02),
    Toxics(reset=0.05),
    Toxics(refuse=True),
    Toxics(drip_bytes=16, drip_every_s=0.002),
    Toxics(truncate_bytes=20, truncate=0.1),
    Toxics(bytes_per_s=100_000),
    Toxics(half_open=True),
)


class Proxy:
    """Use as an async context manager. ``connections`` counts those taken so far, ``done`` what was done to them by toxic."""

    def __init__(self, host: str, port: int, *, seed: int = 1) -> None:
        self.toxics = Toxics()
        self.port = 0
        self.connections = 0
        self.done: Counter[str] = Counter()
        self._target = (host, port)
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._carry(reader, writer)
        except (OSError, EOFError):
            _reset(writer)
        except asyncio.CancelledError:
            _reset(writer)  # the proxy ends; asyncio.streams would report a cancelled handler as a defect
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.toxics.refuse:
            self.done["refuse"] += 1
            _reset(writer)
            return
        there, back = await asyncio.open_connection(*self._target)
        ways = [
            asyncio.create_task(self._pass(reader, back, is_answer=False)),
            asyncio.create_task(self._pass(there, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            results = await asyncio.gather(*ways, return_exceptions=True)
            back.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        """Until one side closes, or a toxic ends it (then OSError for a reset)."""
        while piece := await reader.read(PIECE_SIZE_BYTES):
            if self.toxics.half_open and not await self._outlives_the_cut(reader):
                return
            toxics = self.toxics
            if toxics.latency_s or toxics.jitter_s:
                self.done["latency"] += 1
                await asyncio.sleep(toxics.latency_s + self._chance.random() * toxics.jitter_s)
            if is_answer and toxics.reset and self._chance.random() < toxics.reset:
                self.done["reset"] += 1
                raise ConnectionResetError
            if is_answer and toxics.truncate_bytes is not None and self._chance.random() < toxics.truncate:
                self.done["truncate"] += 1
                await _send(writer, piece[: toxics.truncate_bytes])
                return
            await self._send_slowly(writer, piece, toxics, is_answer=is_answer)

    async def _outlives_the_cut(self, reader: asyncio.StreamReader) -> bool:
        """Waits until nothing is half open any more. False when the sender has gone meanwhile: what it sent is lost with it."""
        self.done["half open"] += 1
        while self.toxics.half_open:  # noqa: ASYNC110 (toxics are set from outside, by plain assignment)
            await asyncio.sleep(TICK_S)
        return not reader.at_eof()

    async def _send_slowly(
        self, writer: asyncio.StreamWriter, piece: bytes, toxics: Toxics, *, is_answer: bool
    ) -> None:
        if is_answer and toxics.drip_bytes:
            self.done["drip"] += 1
            for start in range(0, len(piece), toxics.drip_bytes):
                await _send(writer, piece[start : start + toxics.drip_bytes])
                await asyncio.sleep(toxics.drip_every_s)
        elif toxics.bytes_per_s:
            self.done["bandwidth"] += 1
            step = max(1, int(toxics.bytes_per_s * TICK_S))
            for start in range(0, len(piece), step):
                part = piece[start : start + step]
                await asyncio.sleep(len(part) / toxics.bytes_per_s)
                await _send(writer, part)
        else:
            await _send(writer, piece)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: linger of no time drops what is not sent."""
    with contextlib.suppress(OSError):
        found: socket.socket | None = writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
