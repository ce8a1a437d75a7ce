"""Sends signed order webhooks over keep-alive connections, as fast as they are accepted or at a given rate.

usage: load.py URL SECRET COUNT FIRST [--rate R] [--connections N]
Writes one line per order: number, seconds when the answer came (wall clock); then ``refused N``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import time
import urllib.parse

import uvloop

ITEMS = ",".join(
    f'{{"id":{n},"sku":"SKU-{n:04d}","title":"Thing number {n}","quantity":{n + 1},"price":"{n}.50","taxable":true,"vendor":"Acme"}}'
    for n in range(1, 5)
)
ADDRESS = (
    '{"first_name":"Ada","last_name":"Lovelace","address1":"12 St James\'s Square","city":"London","zip":"SW1Y 4JH",'
    '"country_code":"GB","phone":"+442079460000"}'
)


def body_of(number: int) -> bytes:
    """A Shopify-shaped order of about 1.5 KB."""
    return (
        f'{{"id":{number},"name":"#{number}","email":"ada@example.com","created_at":"2026-05-01T10:00:00+00:00",'
        f'"updated_at":"2026-05-01T10:00:00+00:00","currency":"GBP","total_price":"57.50","subtotal_price":"50.00","total_tax":"7.50",'
        f'"financial_status":"paid","note":null,"tags":"vip, repeat","test":false,"order_number":{number},'
        f'"customer":{{"id":207119551,"email":"ada@example.com","first_name":"Ada","last_name":"Lovelace","phone":null}},'
        f'"shipping_address":{ADDRESS},"billing_address":{ADDRESS},"line_items":[{ITEMS}]}}'
    ).encode()


def request_of(number: int, host: str, path: str, secret: bytes) -> bytes:
    body = body_of(number)
    signature = base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"x-shopify-topic: orders/create\r\nx-shopify-webhook-id: hook-{number}\r\nx-shopify-shop-domain: bench.myshopify.com\r\n"
        f"x-shopify-api-version: 2026-10\r\nx-shopify-hmac-sha256: {signature}\r\n\r\n"
    ).encode() + body


class Client(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self.load = load
        self.number = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        if self.load.next_number >= self.load.end:
            self.load.idle(self)
            return
        delay = self.load.delay()
        if delay > 0.0005:
            asyncio.get_running_loop().call_later(delay, self.next)
            return
        self.number = self.load.next_number
        self.load.next_number += 1
        self.transport.write(self.load.requests[self.number - self.load.first])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self.buffer = b""
        if head[9:12] == b"200":
            self.load.answered[self.number] = time.time()
        else:
            self.load.refused += 1
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.idle(self)


class Load:
    def __init__(self, url: str, secret: str, count: int, first: int, rate: float) -> None:
        parsed = urllib.parse.urlsplit(url)
        self.host, self.port = parsed.hostname or "127.0.0.1", parsed.port or 80
        self.first, self.next_number, self.end = first, first, first + count
        self.requests = [
            request_of(n, parsed.netloc, parsed.path, secret.encode()) for n in range(first, first + count)
        ]
        self.answered: dict[int, float] = {}
        self.refused = 0
        self.rate = rate
        self.idle_clients: set[Client] = set()
        self.started = 0.0

    def delay(self) -> float:
        """Seconds until the next request is due; open-loop when a rate is given."""
        if not self.rate:
            return 0.0
        return self.started + (self.next_number - self.first) / self.rate - time.time()

    def idle(self, client: Client) -> None:
        self.idle_clients.add(client)
        if len(self.idle_clients) == self.connections:
            self.done.set()

    async def run(self, connections: int) -> None:
        self.connections = connections
        self.done = asyncio.Event()
        self.started = time.time()
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: Client(self), self.host, self.port)
        await self.done.wait()


parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("secret")
parser.add_argument("count", type=int)
parser.add_argument("first", type=int)
parser.add_argument("--rate", type=float, default=0.0)
parser.add_argument("--connections", type=int, default=64)
args = parser.parse_args()
load = Load(args.url, args.secret, args.count, args.first, args.rate)
uvloop.run(load.run(args.connections))
for number, at in load.answered.items():
    print(number, at)
print("refused", load.refused)
