"""A project with one webhook source (Shopify-shaped) and one database target, run as `accord up`, for journeys over HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

SECRET = "hook-secret"
FILES = {
    "accord.yaml": """
name: hooks
environments: {default: {address: "${env:ACCORD_ADDRESS}", secrets: [environment], api_token: "${secret:api}"}}
""",
    "systems/shop.yaml": """
system: shop
connector: shopify
settings: {store: hooks, address: "http://127.0.0.1:1", access_token: "${secret:token}", webhook_secret: "${secret:hook}"}
entities:
  orders:
    key: id
    fields:
      id: integer
      name: {type: string, length_max: 200}
      email: {type: string?, format: email, personal: contact}
      updated_at: datetime
      currency: {type: string, format: currency}
      total_price: {type: decimal, min: 0, max: 1000000000}
      financial_status: string?
      line_items: {length_min: 1, list: {sku: string, quantity: {type: integer, min: 1}, price: {type: decimal, min: 0}}}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  orders:
    key: id
    children: {lines: {table: order_lines, parent_key: order_id, position: line}}
    fields:
      id: integer
      name: string
      status: string?
      total: decimal
      currency: string
      lines: {list: {sku: string, pieces: integer}}
  log:
    key: id
    fields: {id: string, status: string?}
""",
    "mappings/order.yaml": """
mapping: order
from: shop.orders
to: books.orders
fields:
  id: id
  name: name
  status: financial_status
  total: total_price
  currency: currency
  lines: {each: line_items, fields: {sku: sku, pieces: quantity}}
""",
    "flows/orders.yaml": """
flow: orders
on: {webhook: shop.orders, topic: [orders/create, orders/updated]}
key: id
steps:
  - validate: shop.orders
  - write: books.log
    mode: create
    with: {id: message.id, status: financial_status}
  - write: books.orders
    mode: upsert
    mapping: order
on_error: {attempts: 5, first: 50ms, longest: 1s}
""",
}
TABLES = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT NOT NULL, status TEXT, total TEXT NOT NULL, currency TEXT NOT NULL);
CREATE TABLE order_lines (order_id INTEGER NOT NULL, line INTEGER NOT NULL, sku TEXT NOT NULL, pieces INTEGER NOT NULL,
  PRIMARY KEY (order_id, line));
CREATE TABLE log (id TEXT PRIMARY KEY, status TEXT);
"""


class HooksProject:
    """Use as a context manager: the engine is ready on entry and has ended on exit."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self.workers = workers
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with sqlite3.connect(folder / "books.db") as db:
            db.executescript(TABLES)
        db.close()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.token = "api-token-of-the-test"
        secrets = {"ACCORD_SECRET_TOKEN": "t", "ACCORD_SECRET_HOOK": SECRET, "ACCORD_SECRET_API": self.token}
        self.environment = {**os.environ, **secrets, "ACCORD_ADDRESS": f"127.0.0.1:{self.port}"}

    def __enter__(self) -> HooksProject:
        self.log = (self.folder / "accord.log").open("wb")
        command = [sys.executable, "-m", "accord.cli.main", "up", "--project", str(self.folder)]
        command += ["--workers", str(self.workers)] if self.workers > 1 else []
        self.process = subprocess.Popen(command, env=self.environment, stderr=self.log)
        deadline = time.monotonic() + 20
        while self.get("/readyz")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "accord.log").read_text())
            time.sleep(0.03)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.log.close()

    def hook(
        self, body: bytes, *, id: str = "", topic: str = "orders/create", signature: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Sends a webhook, rightly signed unless a signature is given."""
        signed = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
        sent = {
            "content-type": "application/json",
            "x-shopify-topic": topic,
            "x-shopify-webhook-id": id or hashlib.sha256(body).hexdigest(),
            "x-shopify-shop-domain": "hooks.myshopify.com",
            "x-shopify-api-version": "2026-10",
            "x-shopify-hmac-sha256": signed if signature is None else signature,
            **headers,
        }
        return self.request("POST", "/hooks/shop", body, sent)

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self.request("GET", path, None, headers)

    def api(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        status, answer = self.request(method, "/api/" + path, body, {"authorization": f"Bearer {self.token}"})
        assert status == 200, answer
        return json.loads(answer)

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        request = urllib.request.Request(self.address + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, ConnectionError) as error:
            return 0, str(error).encode()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.folder / "books.db")
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def messages(self) -> int:
        """How many messages the journal holds."""
        return len(self.api("messages?limit=1000"))

    def wait_settled(self, within_s: float = 30) -> dict[str, int]:
        """Until nothing is open; the flow's counts."""
        deadline = time.monotonic() + within_s
        while True:
            flow: dict[str, int] = self.api("status")["flows"][0]
            if not (flow["ready"] or flow["waiting"] or flow["held"]):
                return flow
            assert time.monotonic() < deadline, flow
            time.sleep(0.03)


def order(id: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "name": f"#{id}",
        "email": "ada@example.com",
        "updated_at": "2026-05-01T10:00:00Z",
        "currency": "EUR",
        "total_price": "12.30",
        "financial_status": "paid",
        "line_items": [{"sku": "A", "quantity": 2, "price": "6.15"}],
        **changes,
    }


def encode(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()
