"""Webhooks out: written in the transaction that caused them, delivered until the receiver acknowledges with 2xx.

A delivery row is leased for the time of an attempt, so a restarted process repeats what was in flight: at least once, with
the same ids. Deliveries start in the order they were written; nothing more is promised about order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from accord.sandbox import clock
from accord.sandbox.faults import FaultBoard
from accord.sandbox.store import Store, now_text

SCHEMA = """
CREATE TABLE IF NOT EXISTS hooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, url TEXT NOT NULL, secret TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS hooks_topic ON hooks (topic);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, hook INTEGER NOT NULL, topic TEXT NOT NULL, event_id TEXT NOT NULL,
  webhook_id TEXT NOT NULL, body BLOB NOT NULL, triggered_at TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  due_at REAL NOT NULL, is_open INTEGER NOT NULL DEFAULT 1, last_answer TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at, id) WHERE is_open = 1;
"""


class Delivery(msgspec.Struct, frozen=True):
    """One webhook on its way to one receiver; the ids are the same on every attempt."""

    id: int
    topic: str
    event_id: str
    webhook_id: str
    body: bytes
    triggered_at: str
    attempts: int
    url: str
    secret: str


Sign = Callable[[Delivery], dict[str, str]]
OnAnswer = Callable[[Delivery, bytes], None]  # the body of an answer 2xx
ANSWER_SIZE_BYTES_MAX = 1_000_000


class Webhooks:
    """``sign`` gives the headers of a delivery (signature, ids, topic)."""

    def __init__(
        self,
        store: Store,
        faults: FaultBoard,
        sign: Sign,
        dice: random.Random,
        settings: dict[str, Any],
        on_answer: OnAnswer | None = None,
    ) -> None:
        self.store, self.faults, self.sign, self.dice, self.on_answer = store, faults, sign, dice, on_answer
        self.timeout_s = float(settings.get("webhook_timeout_s", 5.0))
        self.first_s = float(settings.get("webhook_retry_first_s", 0.25))  # real vendors wait minutes to hours
        self.longest_s = float(settings.get("webhook_retry_longest_s", 5.0))
        self.concurrency_max = int(settings.get("webhook_concurrency", 32))
        self._wake = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()

    def add_hook(self, topic: str, url: str, secret: str) -> int:
        now = now_text()
        with self.store.transaction() as db:
            row = db.execute(
                "INSERT INTO hooks (topic, url, secret, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
                (topic, url, secret, now, now),
            )
            return int(row.lastrowid or 0)

    def register(self, topics: Iterable[str], url: str, secret: str) -> list[dict[str, Any]]:
        """One registration for each topic, those that were there included."""
        made = []
        with self.store.transaction():
            for topic in dict.fromkeys(topics):
                row = self.store.one("SELECT id FROM hooks WHERE topic = ? AND url = ?", topic, url)
                number = row[0] if row else self.add_hook(topic, url, secret)
                made.append({"id": number, "topic": topic, "url": url})
        return made

    def registered(self) -> list[dict[str, Any]]:
        rows = self.store.all("SELECT id, topic, url FROM hooks ORDER BY id")
        return [{"id": number, "topic": topic, "url": url} for number, topic, url in rows]

    def is_wanted(self, topic: str) -> bool:
        """Whether anyone is registered for the topic: saves making a body nobody gets."""
        return self.store.one("SELECT 1 FROM hooks WHERE topic = ? LIMIT 1", topic) is not None

    def emit(self, topic: str, body: bytes) -> None:
        """Writes one delivery for every receiver of the topic; call inside the transaction of the change itself."""
        hooks = self.store.all("SELECT id FROM hooks WHERE topic = ? ORDER BY id", topic)
        if not hooks:
            return
        event_id, now, due = self._uuid(), now_text(), clock.time()
        for (hook,) in hooks:
            wait_s = self.dice.uniform(0.0, 1.0) if self.faults.is_on("reorder_webhooks") else 0.0
            self.store.db.execute(
                "INSERT INTO deliveries (hook, topic, event_id, webhook_id, body, triggered_at, due_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (hook, topic, event_id, self._uuid(), body, now, due + wait_s),
            )
        self._wake.set()

    def wake(self) -> None:
        """Looks again what is due: the clock has moved."""
        self._wake.set()

    def open_count(self) -> int:
        return self.store.number("SELECT count(*) FROM deliveries WHERE is_open = 1")

    def _uuid(self) -> str:
        # Not from the seed: a restarted process must never give an id it has given before.
        text = f"{random.SystemRandom().getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    async def run(self) -> None:
        """Delivers until cancelled."""
        self.store.db.execute("UPDATE deliveries SET due_at = ? WHERE is_open = 1", (clock.time(),))
        builder = ClientBuilder().timeout(timedelta(seconds=self.timeout_s)).max_connections(self.concurrency_max)
        async with builder.no_proxy().http1_only().follow_redirects(False).build() as client:
            try:
                while True:
                    self._wake.clear()
                    self._start_due(client)
                    await self._sleep_until_due()
            finally:
                for task in self._in_flight:
                    task.cancel()
                await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _sleep_until_due(self) -> None:
        if len(self._in_flight) >= self.concurrency_max:
            await self._wake.wait()
            return
        row = self.store.one("SELECT min(due_at) FROM deliveries WHERE is_open = 1")
        wait_s = None if row is None or row[0] is None else max(0.0, row[0] - clock.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):  # not wait_for: it may swallow the cancellation that stops us
                await self._wake.wait()

    def _start_due(self, client: Client) -> None:
        free = self.concurrency_max - len(self._in_flight)
        if free <= 0:
            return
        now = clock.time()
        rows = self.store.all(
            "SELECT d.id, d.topic, d.event_id, d.webhook_id, d.body, d.triggered_at, d.attempts, h.url, h.secret"
            " FROM deliveries d LEFT JOIN hooks h ON h.id = d.hook"
            " WHERE d.is_open = 1 AND d.due_at <= ? ORDER BY d.due_at, d.id LIMIT ?",
            now,
            free,
        )
        with self.store.transaction() as db:
            for row in rows:
                if row[7] is None:  # the receiver was deleted
                    db.execute("DELETE FROM deliveries WHERE id = ?", (row[0],))
                    continue
                lease_until = now + 2 * self.timeout_s + 1
                db.execute(
                    "UPDATE deliveries SET due_at = ?, attempts = attempts + 1 WHERE id = ?", (lease_until, row[0])
                )
                task = asyncio.ensure_future(self._deliver(client, Delivery(*row)))
                self._in_flight.add(task)
                task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()

    async def _deliver(self, client: Client, delivery: Delivery) -> None:
        copies = 2 if self.faults.is_on("duplicate_webhooks") else 1
        answers = [await self._post(client, delivery) for _ in range(copies)]
        if any(answer.startswith("2") for answer in answers):
            sql = "UPDATE deliveries SET is_open = 0, body = x'', last_answer = ? WHERE id = ?"
            self.store.db.execute(sql, (answers[0], delivery.id))
            return
        wait_s = min(self.longest_s, self.first_s * 2 ** min(delivery.attempts, 16)) * self.dice.uniform(0.8, 1.2)
        sql = "UPDATE deliveries SET due_at = ?, last_answer = ? WHERE id = ?"
        self.store.db.execute(sql, (clock.time() + wait_s, answers[0][:200], delivery.id))

    async def _post(self, client: Client, delivery: Delivery) -> str:
        """The status as text, or what went wrong."""
        headers = {"Content-Type": "application/json", **self.sign(delivery)}
        try:
            response = await client.post(delivery.url).headers(headers).body_bytes(delivery.body).build().send()
        except (PyreqwestError, ValueError, OSError) as fault:
            return f"{type(fault).__name__}: {fault}"
        if self.on_answer is not None and 200 <= response.status < 300:
            body = bytes(await response.bytes())
            if len(body) <= ANSWER_SIZE_BYTES_MAX:
                self.on_answer(delivery, body)
        return str(response.status)
