"""Load generator and target in one cheap process: what is outstanding is known here, so it can be bounded.

A child of the bench; its argument is the number of the first order. Prints the port of its target, then answers one JSON line per
JSON line on standard input until that closes; ``load`` answers when the load has ended, the others meanwhile::

    {"do": "load", "host": "127.0.0.1:8400", "path": "/hooks/shop", "seconds": 5, "rate": 0, "outstanding": 512, "keys": 0, "count": 0}
    {"do": "wait", "within_s": 60, "quiet_s": 5}     until all accepted orders arrived, or nothing arrived for quiet_s
    {"do": "down"} {"do": "up"}                      the target refuses connections / listens again
    {"do": "state"}  {"do": "counts"}                counts now; counts and latencies of everything since the last load began

An order is *accepted* when its answer was 2xx, *arrived* when the target has read it, *repeated* when the target read it again
(*recognised* when the repeat came with the Idempotency-Key of the first). *overtaken*: an order of a key that came after a later
one of the same key.
"""

from __future__ import annotations

import array
import asyncio
import json
import re
import sys
import time
from typing import Any

import httptools
import uvloop
from orders import FIRST, Requests, faults_of

CONNECTIONS = 64
RECONNECT_S = 0.05
CHECKED = 3  # the first shipments are compared field by field with what the mapping must give
GROWTH = 100_000
REFERENCE = re.compile(rb'"reference": ?"#?(\d+)"')
KEY = re.compile(rb"idempotency-key: ?([^\r]+)", re.IGNORECASE)
LENGTH = re.compile(rb"content-length: ?(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
CREATED = b'HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"id":"s1"}'


class Book:
    """When each order was sent, when accepted and when it arrived, by number; 0.0 is never."""

    def __init__(self, first: int) -> None:
        self.sent_at = array.array("d")
        self.accepted_at = array.array("d")
        self.arrived_at = array.array("d")
        self.first = self.next_number = first
        self.begin(0)

    def begin(self, keys: int) -> None:
        """Forgets counts, not what has arrived: a late repeat is still a repeat."""
        self.start = self.next_number
        self.sent = self.accepted = self.arrived = self.repeated = self.recognised = self.refused = self.overtaken = 0
        self.keys = keys
        self.last_of_key: dict[int, int] = {}
        self.last_arrival_s = 0.0
        self.last_refusal = 0  # status

    def take(self) -> int:
        number = self.next_number
        self.next_number += 1
        if number - self.first >= len(self.accepted_at):
            self.sent_at.frombytes(bytes(8 * GROWTH))
            self.accepted_at.frombytes(bytes(8 * GROWTH))
            self.arrived_at.frombytes(bytes(8 * GROWTH))
        self.sent_at[number - self.first] = time.monotonic()
        self.sent += 1
        return number

    def accept(self, number: int) -> None:
        self.accepted_at[number - self.first] = time.monotonic()
        self.accepted += 1

    def arrive(self, number: int, has_key: bool) -> None:
        at = self.last_arrival_s = time.monotonic()
        if not self.first <= number < self.next_number:
            return  # none of ours
        if self.arrived_at[number - self.first]:
            self.repeated += 1
            self.recognised += has_key
            return
        self.arrived_at[number - self.first] = at
        self.arrived += 1
        if self.keys:
            key = number % self.keys
            if number < self.last_of_key.get(key, 0):
                self.overtaken += 1
            else:
                self.last_of_key[key] = number

    def counts(self) -> dict[str, Any]:
        names = ("sent", "accepted", "arrived", "repeated", "recognised", "refused", "last_refusal", "overtaken")
        return {name: getattr(self, name) for name in names} | {"cpu_s": time.process_time()}

    def summary(self) -> dict[str, Any]:
        """Counts since the last load began, latencies from sent to arrived (ms), and what was accepted and never arrived.

        Not from the answer "accepted": an order often arrives before its sender has read that."""
        numbers = range(self.start - self.first, self.next_number - self.first)
        latency = sorted((self.arrived_at[n] - self.sent_at[n]) * 1000 for n in numbers if self.arrived_at[n])
        lost = sum(1 for n in numbers if self.accepted_at[n] and not self.arrived_at[n])
        at = {f"p{p}_ms": latency[min(len(latency) - 1, len(latency) * p // 100)] for p in (50, 99)} if latency else {}
        return self.counts() | at | {"lost": lost, "last_arrival_s": self.last_arrival_s}


class Target(asyncio.Protocol):
    """Answers every POST with 201."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.bench.targets.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.bench.targets.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                break
            length = LENGTH.search(data, 0, end)
            total = end + int(length[1]) if length is not None else data.find(LAST_CHUNK, end) + len(LAST_CHUNK)
            if total < end or len(data) < total:
                break
            self.bench.received(data[:total], end)
            self.transport.write(CREATED)
            data = data[total:]
        self.buffer = data


class Client(asyncio.Protocol):
    """One keep-alive connection to the contender; one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpResponseParser(self)
        self.load.free(self)

    def send(self, number: int) -> None:
        self.number = number
        self.transport.write(self.load.requests.of(number))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        number, self.number = self.number, 0
        status = self.parser.get_status_code()
        if 200 <= status < 300:
            self.load.book.accept(number)
        else:
            self.load.book.refused += 1
            self.load.book.last_refusal = status
        if self.parser.should_keep_alive():
            self.load.free(self)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.number and not self.load.has_ended:
            self.load.bench.unanswered += 1
        if not self.load.has_ended:
            asyncio.get_running_loop().call_later(RECONNECT_S, self.load.connect)
        self.load.left(self)


class Load:
    """Sends for ``seconds`` (or until ``count``): at ``rate`` a second, else as fast as answers come and arrivals allow."""

    def __init__(self, bench: Bench, command: dict[str, Any]) -> None:
        self.bench, self.book = bench, bench.book
        self.host, self.port = command["host"].split(":")
        self.requests = Requests(command["host"], command["path"], command.get("keys", 0))
        self.seconds, self.rate, self.count = command["seconds"], command.get("rate", 0), command.get("count", 0)
        self.outstanding_max = command.get("outstanding", 512)
        self.idle: list[Client] = []
        self.clients: set[Client] = set()
        self.connecting: set[asyncio.Task[Any]] = set()
        self.has_ended = False

    def connect(self) -> None:
        if not self.has_ended:
            task = asyncio.get_running_loop().create_task(self._connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def _connect(self) -> None:
        while not self.has_ended:
            try:
                _, client = await asyncio.get_running_loop().create_connection(
                    lambda: Client(self), self.host, int(self.port)
                )
                self.clients.add(client)
                return
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    def left(self, client: Client) -> None:
        self.clients.discard(client)
        if client in self.idle:
            self.idle.remove(client)

    def free(self, client: Client) -> None:
        self.idle.append(client)
        self.pump()

    def pump(self) -> None:
        """Gives waiting connections what is due and allowed."""
        book, idle = self.book, self.idle
        while idle and not self.has_ended:
            sent = book.sent
            if sent - book.arrived - book.refused - self.bench.unanswered >= self.outstanding_max:
                return  # an arrival pumps again
            if (self.count and sent >= self.count) or (
                self.rate and sent >= (time.monotonic() - self.started) * self.rate
            ):
                return
            idle.pop().send(book.take())

    async def run(self) -> dict[str, Any]:
        self.book.begin(self.requests._keys)
        self.bench.unanswered = 0
        cpu_s, self.started = time.process_time(), time.monotonic()
        for _ in range(CONNECTIONS):
            self.connect()
        end = self.started + self.seconds
        while time.monotonic() < end and not (self.count and self.book.accepted + self.book.refused >= self.count):
            await asyncio.sleep(0.001 if self.rate else 0.02)
            self.pump()
        took_s = time.monotonic() - self.started
        counts = self.book.counts()
        await self._end()
        return counts | {"took_s": took_s, "driver_cpu_s": time.process_time() - cpu_s}

    async def _end(self) -> None:
        """Answers under way still count; a request never answered is not accepted."""
        self.has_ended = True
        deadline = time.monotonic() + 10
        while any(client.number for client in self.clients) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for client in list(self.clients):
            client.transport.close()
        for task in list(self.connecting):
            task.cancel()


class Bench:
    def __init__(self, first: int) -> None:
        self.book = Book(first)
        self.targets: set[Any] = set()
        self.unanswered = 0  # sent on connections that were cut
        self.load: Load | None = None
        self.faults: list[str] = []
        self.checked = 0
        self.port = 0
        self.server: asyncio.Server | None = None

    def received(self, request: bytes, body_at: int) -> None:
        reference = REFERENCE.search(request, body_at)
        if reference is None:
            self.faults.append(f"a request without reference: {request[:300]!r}")
            return
        if self.checked < CHECKED:
            self.checked += 1
            self.faults += faults_of(request[body_at:]) if b"chunked" not in request[:body_at] else []
        self.book.arrive(int(reference[1]), KEY.search(request, 0, body_at) is not None)
        if self.load is not None and not self.load.rate:
            self.load.pump()

    async def up(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Target(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self.server is not None
        self.server.close()
        for transport in list(self.targets):
            transport.abort()
        await self.server.wait_closed()

    async def wait(self, within_s: float, quiet_s: float) -> dict[str, Any]:
        """Counting who is missing takes long with a million, so it is done when as many arrived as were accepted."""
        book = self.book
        began = time.monotonic()
        looked_at = -1
        while time.monotonic() < began + within_s and time.monotonic() - max(began, book.last_arrival_s) < quiet_s:
            if book.arrived >= book.accepted and book.arrived != looked_at:
                looked_at = book.arrived
                if not book.summary()["lost"]:
                    break
            await asyncio.sleep(0.05)
        return book.summary() | {"faults": self.faults[:5]}

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "load":
                self.load = Load(self, command)
                try:
                    return await self.load.run()
                finally:
                    self.load = None
            case "wait":
                return await self.wait(command["within_s"], command["quiet_s"])
            case "down":
                await self.down()
            case "up":
                await self.up()
        return self.book.counts()

    async def serve(self) -> None:
        await self.up()
        print(self.port, flush=True)
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            task = loop.create_task(self._answer(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _answer(self, command: dict[str, Any]) -> None:
        try:
            answer = await self.do(command)
        except Exception as error:  # noqa: BLE001 (told to the bench, which ends)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"to": command["id"], **answer}), flush=True)


if __name__ == "__main__":
    uvloop.run(Bench(int(sys.argv[1]) if len(sys.argv) > 1 else FIRST).serve())
