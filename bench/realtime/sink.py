"""The target of the end-to-end bench: answers every POST with 201 and records when each reference arrived.

Prints its port, then serves until standard input closes; then writes one line per reference: reference, seconds (wall clock).
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

import httptools
import uvloop

REFERENCE = re.compile(rb'"reference":"#?(\d+)"')
ANSWER = b'HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"id":"s1"}'


class Sink(asyncio.Protocol):
    arrived: dict[int, float] = {}
    repeats = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        match = REFERENCE.search(self.body)
        if match:
            number = int(match.group(1))
            if number in Sink.arrived:
                Sink.repeats += 1
            else:
                Sink.arrived[number] = time.time()
        self.body = b""
        self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for number, at in Sink.arrived.items():
        print(number, at)
    print("repeats", Sink.repeats)


uvloop.run(main())
