"""The journal's disk is full, then not: senders hear 503, what was accepted is done once, and it goes on without a restart."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.disks import small_disk

from accord.journal.stores.sqlite_verify import verify
from journeys.live import DESK, Live

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(120)]

FILES = {
    "systems/desk.yaml": DESK.replace(
        'signature: {type: hmac, header: x-signature, secret: "${secret:hook}"}', "signature: {type: none}"
    ),
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  log: {key: id, fields: {id: integer, text: string}}
""",
    "flows/keep.yaml": """
flow: keep
on: {webhook: desk.tickets}
steps:
  - {write: books.log, mode: create, with: {id: id, text: text}, link: false}
  - {write: books.log, mode: update, with: {id: id, text: '"second"'}, link: false}
on_error: {attempts: 50, first: 20ms, longest: 200ms}
""",
}
TABLE = "CREATE TABLE log (id INTEGER, text TEXT)"
TEXT = "t" * 3000
TMPFS_SIZE_BYTES = 16_000_000


class Sender:
    """Sends tickets one after the other; ``accepted`` are those that were answered with 200."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.accepted: list[int] = []
        self.retry_after: str | None = None
        self._next = 1

    def send(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._live.port, timeout=30)
        with contextlib.closing(connection):
            body = json.dumps({"id": self._next, "text": TEXT})
            headers = {"content-type": "application/json", "x-topic": "tickets", "x-event-id": str(self._next)}
            connection.request("POST", "/hooks/desk", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.accepted.append(self._next)
                self._next += 1
            else:
                self.retry_after = answer.headers["retry-after"]
            return answer.status

    def until(self, status: int, at_most: int) -> None:
        for _ in range(at_most):
            if self.send() == status:
                return
        raise AssertionError(f"no answer {status} in {at_most} requests")


def _fill(filler: Path) -> None:
    """All there is; the engine writes meanwhile."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"f" * 4096):
            pass


def _full_and_free_again(live: Live, fill: Callable[[], None], free: Callable[[], None]) -> None:
    sender = Sender(live)
    for _ in range(20):
        assert sender.send() == 200
    fill()
    sender.until(503, 2000)
    assert sender.retry_after is not None
    assert int(sender.retry_after) > 0
    for _ in range(5):
        assert sender.send() == 503
    assert live.request("GET", "/healthz")[0] == 200
    assert live.api("status")["flows"][0]["dead"] == 0
    pid = live.process.pid if live.process else 0
    free()
    live.wait(lambda: sender.send() == 200, "it takes messages again")
    for _ in range(20):
        assert sender.send() == 200
    counts = live.wait_settled()
    assert live.process is not None
    assert live.process.pid == pid
    assert live.process.poll() is None
    assert counts["dead"] == 0
    assert counts["done"] == len(sender.accepted)
    assert live.rows("books.db", "SELECT id, text FROM log ORDER BY id") == [(n, "second") for n in sender.accepted]
    assert live.stop() == 0
    assert verify(live.folder / ".accord" / "journal.db") == []


def test_a_full_file_system(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "project" / ".accord", TMPFS_SIZE_BYTES) as disk,
        Live(tmp_path / "project", FILES, databases={"books.db": TABLE}) as live,
    ):
        filler = disk / "filler"

        def fill() -> None:
            _fill(filler)

        _full_and_free_again(live, fill, filler.unlink)


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """A quota shows itself so: writes beyond it fail, though not as a full disk; here those of the log and the target too."""
    with Live(tmp_path, FILES, databases={"books.db": TABLE}) as live:
        assert live.process is not None
        pid = live.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

        def limit(size_bytes: int) -> None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))

        _full_and_free_again(live, lambda: limit(4096), lambda: limit(hard))


def test_killed_while_the_disk_is_full(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "project" / ".accord", TMPFS_SIZE_BYTES) as disk,
        Live(tmp_path / "project", FILES, databases={"books.db": TABLE}) as live,
    ):
        sender = Sender(live)
        filler = disk / "filler"
        _fill(filler)
        sender.until(503, 2000)
        live.kill()
        filler.unlink()
        live.start()
        sender.until(200, 20)
        assert live.wait_settled()["done"] == len(sender.accepted)
        assert live.rows("books.db", "SELECT id FROM log ORDER BY id") == [(n,) for n in sender.accepted]
