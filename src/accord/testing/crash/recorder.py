"""The targets: a process of its own that records every effect in the order it came, and may drop its answer or be busy.

Prints its port and serves until standard input closes. ``GET /effects`` gives target → key → numbers. ``POST /faults`` takes
``{"drop": p, "busy": p}``: how often an answer is dropped after the effect is recorded, and how often 503 is said before it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from typing import Any, cast
from urllib.parse import parse_qs

import httptools
import msgspec
import uvloop

MEMORY_OF_KEYS = 1_000_000  # idempotency keys remembered; a run sends fewer effects than that between two attempts


class Entry(msgspec.Struct):
    number: int
    key: str


class Records:
    """Everything recorded so far."""

    def __init__(self, seed: int) -> None:
        self.effects: dict[str, dict[str, list[int]]] = {}
        self.there: dict[str, set[int]] = {}  # what a look-up finds
        self.keys: set[str] = set()
        self._key_order: deque[str] = deque()
        self.drop = 0.0
        self.busy = 0.0
        self._chance = random.Random(seed)

    def happens(self, probability: float) -> bool:
        return probability > 0.0 and self._chance.random() < probability

    def record(self, target: str, entry: Entry) -> None:
        self.effects.setdefault(target, {}).setdefault(entry.key, []).append(entry.number)
        self.there.setdefault(target, set()).add(entry.number)

    def is_new_key(self, key: str) -> bool:
        if key in self.keys:
            return False
        self.keys.add(key)
        self._key_order.append(key)
        if len(self._key_order) > MEMORY_OF_KEYS:
            self.keys.discard(self._key_order.popleft())
        return True


_decode_entry = msgspec.json.Decoder(Entry).decode


class Target(asyncio.Protocol):
    """One connection."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)
        self._clear()

    def _clear(self) -> None:
        self._url = self._body = b""
        self._key = ""

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"idempotency-key":
            self._key = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path, _, query = self._url.decode().partition("?")
        body, key = self._body, self._key
        self._clear()
        parts = path.strip("/").split("/")
        if parts[0] in ("key", "upsert", "look", "plain") and method != "GET":
            self._effect(parts, key, body)
        elif parts[0] == "look":
            number = int(parse_qs(query)["number"][0])
            self._answer(200, [{"number": number}] if number in self._records.there.get(parts[1], ()) else [])
        elif parts[0] == "refuse":
            self._answer(422, {"error": "refused"})
        elif parts[0] == "effects":
            self._answer(200, self._records.effects)
        elif parts[0] == "faults":
            given = msgspec.json.decode(body)
            self._records.drop, self._records.busy = given["drop"], given["busy"]
            self._answer(200, {})
        else:
            self._answer(404, {})

    def _effect(self, parts: list[str], key: str, body: bytes) -> None:
        records = self._records
        if records.happens(records.busy):
            self._answer(503, {})
            return
        if parts[0] != "key" or records.is_new_key(f"{parts[1]} {key}"):
            records.record(parts[1], _decode_entry(body))
        if records.happens(records.drop):
            self._transport.abort()
        else:
            self._answer(201, {})

    def _answer(self, status: int, value: Any) -> None:
        body = msgspec.json.encode(value)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def _serve(seed: int) -> None:
    loop = asyncio.get_running_loop()
    records = Records(seed)
    server = await loop.create_server(lambda: Target(records), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
