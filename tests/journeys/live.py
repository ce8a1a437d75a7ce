"""A project run as `accord up` in a process of its own, to be killed and started again; databases and HTTP servers around it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from servers import free_port, wait_until

SECRET = "hook-secret"
TOKEN = "api-token-of-the-test"
PROJECT = """
name: live
environments:
  default: {address: "${env:ACCORD_ADDRESS}", secrets: [environment], api_token: "${secret:api}", drain: 10s}
"""
DESK = """
system: desk
connector: http
settings:
  address: ${env:DESK_ADDRESS:-http://127.0.0.1:1}
  webhooks:
    signature: {type: hmac, header: x-signature, secret: "${secret:hook}"}
    topic: {header: x-topic}
    event_id: {header: x-event-id}
    topics: {tickets: tickets}
entities:
  tickets:
    key: id
    fields: {id: integer, text: string, version: integer?}
"""


class Live:
    """Use as a context manager: the engine is ready on entry and ended on exit. ``databases``: file name to its DDL.
    ``options``: of `accord up`."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str],
        *,
        databases: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.options = tuple(options)
        for name, text in {"accord.yaml": PROJECT, **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, ddl in (databases or {}).items():
            self.change(name, ddl)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        own = {"ACCORD_ADDRESS": f"127.0.0.1:{self.port}", "ACCORD_SECRET_API": TOKEN, "ACCORD_SECRET_HOOK": SECRET}
        self.environment = {**os.environ, **own, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.timeout_s = 30.0  # of a request

    def __enter__(self) -> Live:
        if self.process is None or self.process.poll() is not None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    @property
    def log(self) -> str:
        return (self.folder / "accord.log").read_text()

    def start(self) -> None:
        self.launch()
        self.wait(lambda: self.request("GET", "/readyz")[0] == 200, "ready")

    def launch(self) -> None:
        """Without waiting until it is ready."""
        with (self.folder / "accord.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_accord("up"), *self.options, "-p", str(self.folder)], env=self.environment, stderr=log
            )

    def kill(self) -> None:
        """SIGKILL: gone at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command of the command line on this project."""
        command = [*_accord(*arguments), "-p", str(self.folder)]
        return subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def wait(self, holds: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
        """Polls a condition; AssertionError with the engine's log at the deadline, or when the engine has ended."""

        def is_so() -> bool:
            if holds():
                return True
            assert self.process is None or self.process.poll() is None, f"{what}: the engine has ended\n{self.log}"
            return False

        try:
            wait_until(what, is_so, within_s)
        except AssertionError as error:
            status = self.request("GET", "/api/status", None, {"authorization": f"Bearer {TOKEN}"})
            raise AssertionError(f"{error}\n{status}\n{self.log[-3000:]}") from error

    def wait_settled(self, flow: str = "", within_s: float = 30.0) -> dict[str, int]:
        """Until nothing is open in a flow (default: the first); its counts."""
        found: dict[str, int] = {}

        def is_settled() -> bool:
            flows = {one["name"]: one for one in self.api("status")["flows"]}
            found.update(flows[flow] if flow else next(iter(flows.values())))
            return not (found["ready"] or found["waiting"] or found["held"])

        self.wait(is_settled, f"flow {flow or '(first)'} is settled", within_s)
        return found

    def hook(
        self, record: Any, *, id: str = "", topic: str = "tickets", system: str = "desk", **headers: str
    ) -> tuple[int, Any]:
        """A rightly signed webhook of the system ``desk``. The status and the JSON of the answer."""
        body = json.dumps(record).encode()
        signed = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
        sent = {"x-topic": topic, "x-signature": signed, "content-type": "application/json", **headers}
        if id:
            sent["x-event-id"] = id
        status, answer = self.request("POST", f"/hooks/{system}", body, sent)
        return status, json.loads(answer) if status and answer[:1] in (b"{", b"[") else answer

    def api(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        status, answer = self.request(method, "/api/" + path, body, {"authorization": f"Bearer {TOKEN}"})
        assert status == 200, answer
        return json.loads(answer)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status 0 when nobody answers."""
        request = urllib.request.Request(self.address + path, body, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            return 0, str(error).encode()

    def rows(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / database, timeout=10)) as db:
            return db.execute(sql).fetchall()

    def change(self, database: str, sql: str) -> None:
        """Runs statements in one transaction."""
        with contextlib.closing(sqlite3.connect(self.folder / database, timeout=10, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN IMMEDIATE;{sql};COMMIT")


def _accord(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "accord.cli.main", *arguments]


class Desk:
    """A real HTTP server in a thread. ``answer(method, path, body, headers)`` gives (status, JSON value); ``seen`` keeps requests."""

    def __init__(self, answer: Callable[[str, str, Any, Mapping[str, str]], tuple[int, Any]]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, Any]] = []
        self.address = ""


@contextlib.contextmanager
def desk(answer: Callable[[str, str, Any, Mapping[str, str]], tuple[int, Any]]) -> Iterator[Desk]:
    found = Desk(answer)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            body = json.loads(raw) if raw else None
            found.seen.append((self.command, self.path, body))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, value = found.answer(self.command, self.path, body, headers)
            answered = json.dumps(value).encode()
            with contextlib.suppress(ConnectionError):  # the engine was killed while it waited
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answered)))
                self.end_headers()
                self.wfile.write(answered)

        do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
