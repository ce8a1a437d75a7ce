"""The limit line: a loop that does only this job, as well as one process of Python can. What Accord costs above it buys the rest.

usage: limit.py PORT JOURNAL SINK_HOST:PORT   (the secret is in HOOK_SECRET)

One uvloop thread. Whatever one turn of the loop brought (orders received, orders delivered) is committed together in one
SQLite transaction (WAL, synchronous=FULL) before any of those orders is answered; then deliveries begin. Delivered orders are rows of
a second table, so a commit only appends. After a crash, orders without such a row are sent again. At most ``PENDING_MAX`` bodies
wait in memory; the rest is read back from disk. A target that fails is tried again on its connection after 0.05 s to 2 s.

It has no order per key, no dedupe of senders' repeats, one target, one step, and no view of what it does.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import os
import sqlite3
import sys
from collections import deque
from decimal import Decimal
from typing import Annotated, Any

import httptools
import msgspec
import uvloop

CONNECTIONS = 64
PENDING_MAX = 2_000
BACKOFF_FIRST_S, BACKOFF_LONGEST_S, CHECKPOINT_PAGES = 0.05, 2.0, 4_000
OK, BAD_SIGNATURE, BAD_ORDER = (
    f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n".encode() for status in (200, 401, 422)
)


class Item(msgspec.Struct):
    sku: str
    title: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]
    price: Decimal


class Customer(msgspec.Struct):
    id: int
    first_name: str | None = None
    last_name: str | None = None


class Address(msgspec.Struct):
    address1: str
    city: str
    country_code: str
    first_name: str | None = None
    last_name: str | None = None
    zip: str | None = None


class Order(msgspec.Struct):
    id: int
    name: str
    created_at: dt.datetime
    currency: str
    total_price: Decimal
    subtotal_price: Decimal
    total_tax: Decimal
    customer: Customer
    shipping_address: Address
    line_items: Annotated[list[Item], msgspec.Meta(min_length=1)]
    email: str | None = None
    financial_status: str | None = None


class Parcel(msgspec.Struct):
    sku: str
    pieces: int
    value: Decimal


class Shipment(msgspec.Struct):
    reference: str
    recipient: str
    street: str
    city: str
    postal_code: str | None
    country: str
    email: str | None
    currency: str
    total: Decimal
    tax: Decimal
    ship_by: dt.date
    is_paid: bool
    parcels: list[Parcel]


decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode


def shipment_of(order: Order) -> bytes:
    to = order.shipping_address
    return encode(
        Shipment(
            order.name,
            f"{to.first_name or ''} {to.last_name or ''}",
            to.address1,
            to.city.upper(),
            to.zip,
            to.country_code,
            order.email,
            order.currency,
            order.total_price,
            order.total_tax,
            order.created_at.date() + dt.timedelta(days=2),
            order.financial_status == "paid",
            [Parcel(item.sku, item.quantity, item.price * item.quantity) for item in order.line_items],
        )
    )


class Journal:
    """Commits once per turn of the loop."""

    def __init__(self, path: str, out: Out) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self.db.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self.db.execute("CREATE TABLE IF NOT EXISTS delivered (id INTEGER PRIMARY KEY)")
        self.next_id = int(self.db.execute("SELECT coalesce(max(id), 0) FROM orders").fetchone()[0]) + 1
        self.received: list[tuple[Any, bytes, Order]] = []
        self.delivered: list[tuple[int]] = []
        self.out = out
        out.journal = self

    def add(self, to: list[Any], what: tuple[Any, ...]) -> None:
        if not (self.received or self.delivered):
            asyncio.get_running_loop().call_soon(self.commit)
        to.append(what)

    def commit(self) -> None:
        received, self.received = self.received, []
        delivered, self.delivered = self.delivered, []
        first = self.next_id
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO orders VALUES (?, ?)", [(first + n, r[1]) for n, r in enumerate(received)])
        db.executemany("INSERT INTO delivered VALUES (?)", delivered)
        db.execute("COMMIT")
        self.next_id += len(received)
        for n, (client, _, order) in enumerate(received):
            client.write(OK)
            self.out.take(first + n, order)
        self.out.pump()

    def read_back(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        undelivered = (
            "SELECT id, body FROM orders o WHERE id > ? AND NOT EXISTS (SELECT 1 FROM delivered d WHERE d.id = o.id)"
        )
        return self.db.execute(f"{undelivered} ORDER BY id LIMIT ?", (after, limit)).fetchall()


class Out:
    """Orders to the target over a fixed number of connections."""

    journal: Journal

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.pending: deque[tuple[int, Order]] = deque()
        self.idle: list[Connection] = []
        self.read_to = 0  # every order up to this id is pending, under way or delivered
        self.is_behind = True  # there may be more on disk than is pending

    def take(self, number: int, order: Order) -> None:
        if self.is_behind or len(self.pending) >= PENDING_MAX:
            self.is_behind = True
        else:
            self.pending.append((number, order))
            self.read_to = number

    def pump(self) -> None:
        if self.is_behind and len(self.pending) < PENDING_MAX // 2:
            rows = self.journal.read_back(self.read_to, PENDING_MAX // 2)
            self.is_behind = len(rows) == PENDING_MAX // 2
            self.pending.extend((number, decode(body)) for number, body in rows)
            self.read_to = rows[-1][0] if rows else self.read_to
        while self.idle and self.pending:
            self.idle.pop().send(*self.pending.popleft())

    def free(self, connection: Connection) -> None:
        self.idle.append(connection)
        self.pump()


class Connection(asyncio.Protocol):
    def __init__(self, out: Out) -> None:
        self.out = out
        self.backoff_s = BACKOFF_FIRST_S
        self.order: tuple[int, Order] | None = None

    def connect(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(lambda: self, self.out.host, self.out.port)
                return
            except OSError:
                await asyncio.sleep(self.backoff_s)
                self.backoff_s = min(2 * self.backoff_s, BACKOFF_LONGEST_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpResponseParser(self)
        self.out.free(self)

    def send(self, number: int, order: Order) -> None:
        self.order = (number, order)
        body = shipment_of(order)
        self.transport.write(
            b"POST /shipments HTTP/1.1\r\nhost: sink\r\ncontent-type: application/json\r\nidempotency-key: order-%d\r\n"
            b"content-length: %d\r\n\r\n%b" % (number, len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self.order is not None
        if 200 <= self.parser.get_status_code() < 300:
            self.out.journal.add(self.out.journal.delivered, (self.order[0],))
            self.order, self.backoff_s = None, BACKOFF_FIRST_S
            self.out.free(self)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.out.idle:
            self.out.idle.remove(self)
        if self.order is not None:
            self.out.pending.appendleft(self.order)
            self.order = None
        asyncio.get_running_loop().call_later(self.backoff_s, self.connect)
        self.backoff_s = min(2 * self.backoff_s, BACKOFF_LONGEST_S)


class Hook(asyncio.Protocol):
    secret = os.environ["HOOK_SECRET"].encode()

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = self.signature = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 21 and name.lower() == b"x-shopify-hmac-sha256":
            self.signature = value

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        body, signature = self.body, self.signature
        self.body = self.signature = b""
        expected = base64.b64encode(hmac.digest(self.secret, body, hashlib.sha256))
        if not hmac.compare_digest(expected, signature):
            self.transport.write(BAD_SIGNATURE)
            return
        try:
            order = decode(body)
        except msgspec.MsgspecError:
            self.transport.write(BAD_ORDER)
            return
        self.journal.add(self.journal.received, (self.transport, body, order))


async def main(port: int, path: str, sink: str) -> None:
    host, _, sink_port = sink.partition(":")
    out = Out(host, int(sink_port))
    journal = Journal(path, out)
    for _ in range(CONNECTIONS):
        Connection(out).connect()
    server = await asyncio.get_running_loop().create_server(lambda: Hook(journal), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
