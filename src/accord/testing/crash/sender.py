"""Sends batches of messages over HTTP as a careful system does: the same batch again until it hears that it was accepted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec

from accord.testing.crash.project import PARTS_EACH

TOPICS = ("work",) * 12 + ("later", "parts", "undone", "undone")
REPEAT_AFTER_S = 0.02
ANSWER_WITHIN_S = 10.0
ANSWERS_EACH = 3  # from one of several addresses: one that was just started gets its share, as behind a balancer


class Poster:
    """One connection at a time to one of the addresses; after ``ANSWERS_EACH`` answers or when it breaks, the next is to the next one."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self._addresses = addresses
        self._turn = 0
        self._answers = 0  # of this connection
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Status and body. Raises OSError or EOFError when the connection breaks or no answer comes in time."""
        try:
            answer = await asyncio.wait_for(self._exchange(method, path, body, headers), ANSWER_WITHIN_S)
        except BaseException:
            self._go_on()
            raise
        self._answers += 1
        if len(self._addresses) > 1 and self._answers >= ANSWERS_EACH:
            self._go_on()
        return answer

    def _go_on(self) -> None:
        self.close()
        self._turn += 1
        self._answers = 0

    async def _exchange(self, method: str, path: str, body: bytes, headers: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._addresses[self._turn % len(self._addresses)])
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nhost: crash\r\n{headers}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answered.partition("content-length:")[2].partition("\r\n")[0])
        return int(answered.split(" ", 2)[1]), await reader.readexactly(length)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Sender:
    """Sends on its own keys only, so what it sends of a key arrives in the order of its numbers.

    ``sent``: topic → key → numbers acknowledged so far. ``budget`` is awaited before each batch.
    """

    def __init__(self, number: int, poster: Poster, chance: random.Random, *, keys: int, batch: int) -> None:
        self.sent: dict[str, dict[str, list[int]]] = {}
        self.refusals = 0
        self._next = number * 10_000_000
        self._poster = poster
        self._chance = chance
        self._keys = [f"k{number}-{i}" for i in range(keys)]
        self._batch = batch

    async def run(self, budget: Callable[[int], Awaitable[bool]]) -> None:
        """Until ``budget`` says no more."""
        topics = list(dict.fromkeys(TOPICS))  # each once at first: short runs too have all of them
        while await budget(self._batch):
            topics = topics or self._chance.sample(TOPICS, len(TOPICS))
            topic = topics.pop()
            events = []
            for _ in range(self._batch):
                self._next += PARTS_EACH
                parts = [{"part": self._next + i} for i in range(PARTS_EACH)]
                events.append({"number": self._next, "key": self._chance.choice(self._keys), "parts": parts})
            await self._until_accepted(topic, msgspec.json.encode({"events": events}))
            by_key = self.sent.setdefault(topic, {})
            for event in events:
                by_key.setdefault(str(event["key"]), []).append(int(str(event["number"])))
        self._poster.close()

    async def _until_accepted(self, topic: str, body: bytes) -> None:
        headers = f"x-topic: {topic}\r\ncontent-type: application/json\r\n"
        while True:
            try:
                status, _ = await self._poster.ask("POST", "/hooks/desk", body, headers)
                if status == 200:
                    return
                self.refusals += 1
            except (OSError, EOFError, TimeoutError):
                pass  # it was killed; whether it had accepted them is not known, so they are sent again
            await asyncio.sleep(REPEAT_AFTER_S)
