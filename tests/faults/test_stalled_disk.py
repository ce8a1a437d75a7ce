"""A disk whose sync takes very long: what waits for it stays within bounds, the rest is refused, nothing accepted is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.engine.build import engine_of
from accord.engine.engine import Engine
from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Accept, Operation
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.project import load_project
from accord.testing.crash.sender import Poster
from accord.testing.journal_suite import message

STALL_S = 0.25
REQUESTS_MAX = 40
SENDERS = 160

FILES = {
    "accord.yaml": "name: stalled\nenvironments: {default: {address: '127.0.0.1:0', intake: {requests_max: 40}}}\n",
    "systems/desk.yaml": """
system: desk
connector: http
settings:
  address: http://127.0.0.1:1
  webhooks: {signature: {type: none}, topic: {value: tickets}, event_id: {body: id}, topics: {tickets: tickets}}
entities:
  tickets: {key: id, fields: {id: integer}}
""",
    "flows/keep.yaml": "flow: keep\non: {webhook: desk.tickets}\nsteps:\n  - {log: text(id), level: debug}\n",
}


class Stalled(SqliteStore):
    """Its sync takes ``stall_s``."""

    stall_s = 0.0
    in_one_commit = 0

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        time.sleep(self.stall_s)
        self.in_one_commit = max(self.in_one_commit, len(operations))
        return super().commit(operations)


def _project(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.timeout(60)
@pytest.mark.xdist_group("load")
def test_a_stalled_sync_refuses_what_is_over_the_bound_and_keeps_the_rest(tmp_path: Path) -> None:
    _project(tmp_path)

    async def run() -> None:
        project = load_project(tmp_path)
        store = Stalled(tmp_path / "journal.db")
        settings = engine_of(project).settings
        engine = Engine(project, msgspec.structs.replace(settings, state_folder=tmp_path / "state"), store)
        await engine.start()
        port = int(engine.address.rpartition(":")[2])
        store.stall_s = STALL_S
        pending_most = 0

        async def send(number: int) -> int:
            nonlocal pending_most
            poster = Poster(("127.0.0.1", port))
            body = json.dumps({"id": number}).encode()
            status, _ = await poster.ask("POST", "/hooks/desk", body, "content-type: application/json\r\n")
            pending_most = max(pending_most, engine.journal.pending)
            poster.close()
            return status

        statuses = await asyncio.gather(*(send(number) for number in range(SENDERS)))
        accepted = statuses.count(200)
        assert set(statuses) <= {200, 503}
        assert statuses.count(503) > 0, "more than the bound were let in"
        assert accepted >= REQUESTS_MAX // 2, "a stall must not refuse what fits"
        assert pending_most <= REQUESTS_MAX + accepted
        store.stall_s = 0.0
        async with asyncio.timeout(20):
            while engine.open_messages:
                await asyncio.sleep(0.01)
        assert sum(engine.journal.read.counts().values()) == accepted
        await engine.stop()

    asyncio.run(run())


def test_what_waits_for_the_disk_is_bounded() -> None:
    async def run() -> None:
        journal = Journal(MemoryStore(), pending_max=10)
        journal.open()
        futures = [journal.submit(Accept((message(number),))) for number in range(10)]
        with pytest.raises(JournalError) as caught:
            journal.submit(Accept((message(11),)))
        assert caught.value.code == "journal.overloaded"
        assert journal.pending == 10
        await asyncio.gather(*futures)
        await journal.submit(Accept((message(11),)))
        await journal.close()

    asyncio.run(run())
