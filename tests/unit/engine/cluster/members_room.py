"""Engines of one project that are members of one hub, all on one event loop. What they write comes to a table; who sends webhooks
chooses an engine by turns."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from accord.engine.build import settings_of
from accord.engine.cluster.cluster import MemberSettings
from accord.engine.engine import Engine
from accord.journal.hub.hub import Hub
from accord.journal.hub.store import HubStore
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from accord.project import load_project
from accord.settings.secret import Secret

SIGNED_WITH = "hook-secret"
TOKEN = "the-token-of-the-test"
PROJECT = {
    "accord.yaml": """
name: members
environments: {default: {address: "127.0.0.1:0", secrets: [environment], api_token: "${secret:api}", drain: 10s}}
""",
    "systems/desk.yaml": """
system: desk
connector: http
settings:
  address: http://127.0.0.1:1
  webhooks:
    signature: {type: hmac, header: x-signature, secret: "${secret:hook}"}
    topic: {header: x-topic}
    event_id: {header: x-event-id}
    topics: {tickets: tickets, asks: asks}
entities:
  tickets:
    key: id
    fields: {id: string, number: integer, thread: string}
  asks:
    key: id
    fields: {id: string, number: integer, thread: string}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log:
    key: id
    fields: {id: string, thread: string, number: integer}
""",
    "flows/tickets.yaml": """
flow: tickets
on: {webhook: desk.tickets, topic: tickets}
key: thread
steps:
  - write: books.log
    mode: create
    with: {id: message.id, thread: thread, number: number}
on_error: {attempts: 20, first: 20ms, longest: 200ms}
""",
    "flows/asks.yaml": """
flow: asks
on: {webhook: desk.asks, topic: asks}
key: thread
steps:
  - respond: {status: 200, body: {answer: number}}
""",
}


class Members:
    """``engines`` in the order of their joining; those that have stopped stay in it."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder
        for name, text in {**PROJECT, **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with closing(sqlite3.connect(folder / "books.db")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE log (id TEXT PRIMARY KEY, thread TEXT, number INTEGER)")
        self.hub = Hub(SqliteStore(folder / "journal.db"))
        self.engines: list[Engine] = []
        self.ends: list[socket.socket] = []
        self.log = io.StringIO()

    async def add(self) -> Engine:
        """One more member, ready."""
        project = load_project(self.folder)
        own, other = socket.socketpair()
        await self.hub.attach(other)
        name = f"m{len(self.engines) + 1}"
        member = MemberSettings(name=name, address="127.0.0.1:0", secret=Secret("among us", "members"), linger_s=0.5)
        observer = Observer(stream=self.log)
        engine = Engine(project, settings_of(project, member=member), HubStore(own), observer=observer)
        self.engines.append(engine)
        self.ends.append(own)
        await engine.start()
        return engine

    async def balanced(self, *engines: Engine) -> None:
        """Until these have all parts, in equal numbers."""
        async with asyncio.timeout(10):
            while {self.parts(engine) for engine in engines} != {64 // len(engines)}:
                await asyncio.sleep(0.01)

    async def balanced_within_one(self, *engines: Engine) -> None:
        async with asyncio.timeout(10):
            while True:
                found = [self.parts(engine) for engine in engines]
                if sum(found) == 64 and max(found) - min(found) <= 1:
                    return
                await asyncio.sleep(0.01)

    def change(self, sql: str, database: str = "books.db") -> None:
        with closing(sqlite3.connect(self.folder / database, timeout=10)) as db:
            db.execute(sql)
            db.commit()

    def parts(self, engine: Engine) -> int:
        assert engine._cluster is not None
        return len(engine._cluster.table.accepting)

    async def hook(self, engine: Engine, record: dict[str, Any], topic: str = "tickets") -> tuple[int, Any]:
        body = json.dumps(record).encode()
        signed = hmac.digest(SIGNED_WITH.encode(), body, hashlib.sha256).hex()
        headers = {"x-topic": topic, "x-signature": signed, "x-event-id": str(record["id"])}
        return await request(engine.address, "POST", "/hooks/desk", body, headers)

    async def api(self, engine: Engine, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, Any]:
        return await request(engine.address, method, "/api/" + path, body, {"authorization": f"Bearer {TOKEN}"})

    def rows(self) -> list[tuple[str, int]]:
        """(thread, number) in the order written."""
        with closing(sqlite3.connect(self.folder / "books.db", timeout=10)) as db:
            return db.execute("SELECT thread, number FROM log ORDER BY rowid").fetchall()

    def items(self) -> list[str]:
        """Threads of what was polled."""
        return [thread for thread, _ in self.rows() if thread.startswith("item ")]

    async def settled(self, count: int, within_s: float = 20.0) -> list[tuple[str, int]]:
        """Until as many are written and nothing is open."""
        async with asyncio.timeout(within_s):
            while len(self.rows()) < count:
                await asyncio.sleep(0.02)
        await self.quiet()
        return self.rows()

    async def quiet(self, within_s: float = 20.0) -> None:
        """Until nothing is open."""
        async with asyncio.timeout(within_s):
            while any(engine.open_messages for engine in self.engines if engine.address):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def members(folder: Path, count: int, files: dict[str, str] | None = None) -> AsyncIterator[Members]:
    """With so many engines, which share the parts equally."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCORD_SECRET_HOOK", SIGNED_WITH)
        patch.setenv("ACCORD_SECRET_API", TOKEN)
        room = Members(folder, files or {})
        await room.hub.open()
        try:
            for _ in range(count):
                await room.add()
            if count:
                await room.balanced(*room.engines)
            yield room
        finally:
            for engine in room.engines:
                await engine.stop()
            await room.hub.close()


async def request(address: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """On a connection of its own. Status 0 when nobody answers."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode()
        )
        writer.write(body)
        answer = await reader.read()
        writer.close()
    except OSError as error:
        return 0, str(error)
    first, _, rest = answer.partition(b"\r\n\r\n")
    if not first:
        return 0, "no answer"
    return int(first.split()[1]), json.loads(rest) if rest[:1] in (b"{", b"[") else rest


def in_order(rows: list[tuple[str, int]]) -> bool:
    """Of each thread, numbers grow: once each, in order."""
    last: dict[str, int] = {}
    for thread, number in rows:
        if number <= last.get(thread, -1):
            return False
        last[thread] = number
    return True
