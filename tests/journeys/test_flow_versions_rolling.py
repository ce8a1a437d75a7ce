"""A flow is changed on two nodes of one journal, one after the other: each message finishes on the version it began with."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from pathlib import Path

import pytest
from tests.servers import PostgresServer, free_port, postgres

from faults.test_nodes import balanced
from journeys.live import Live, desk
from journeys.test_flow_versions import FILES, TABLES, Gate, write

__all__ = ["postgres"]  # the fixture

pytestmark = pytest.mark.server
NODES = """
name: nodes
environments:
  default:
    address: ${env:ACCORD_ADDRESS}
    secrets: [environment]
    api_token: ${secret:api}
    drain: 10s
    store: {kind: postgresql, url: "${secret:journal_url}", schema: "${env:ACCORD_SCHEMA}"}
    members: {address: "${env:ACCORD_MEMBER}", secret: "${secret:members}", linger: 100ms}
"""


def node(folder: Path, books: Path, address: str, server: PostgresServer, schema: str) -> Live:
    environment = {
        "DESK_ADDRESS": address,
        "ACCORD_SCHEMA": schema,
        "ACCORD_SECRET_JOURNAL_URL": server.url,
        "ACCORD_SECRET_MEMBERS": "known to both",
        "ACCORD_MEMBER": f"127.0.0.1:{free_port()}",
    }
    files = {
        **FILES,
        "accord.yaml": NODES,
        "systems/books.yaml": FILES["systems/books.yaml"].replace("sqlite:///books.db", f"sqlite:///{books}"),
    }
    return Live(folder, files, environment=environment)


def rows(books: Path, sql: str) -> list[tuple[int | str, ...]]:
    with contextlib.closing(sqlite3.connect(books, timeout=20)) as db:
        return db.execute(sql).fetchall()


def send(live: Live, first: int, last: int) -> None:
    for id in range(first, last):
        assert live.hook({"id": id, "text": f"t{id}"}, id=f"e{id}")[0] == 200


def wait_begun(live: Live, books: Path, count: int) -> None:
    live.wait(lambda: len(rows(books, "SELECT id FROM log")) == count, f"{count} have begun")
    live.wait(lambda: sum(live.api("status")["flows"][0][s] for s in ("waiting", "held")) == count, "all are parked")


def test_a_rolling_deployment_keeps_every_message_on_its_version(postgres: PostgresServer, tmp_path: Path) -> None:
    """What began before the deployment ends on the old version, on whichever node; what comes after both have it is new."""
    books = tmp_path / "books.db"
    with contextlib.closing(sqlite3.connect(books)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(TABLES["books.db"])
    gate = Gate()
    schema = f"rolling_{uuid.uuid4().hex[:12]}"
    folders = [tmp_path / "one", tmp_path / "two"]
    with desk(gate.answer) as server, contextlib.ExitStack() as stack:
        nodes = []
        for folder in folders:
            folder.mkdir()
            nodes.append(stack.enter_context(node(folder, books, server.address, postgres, schema)))
        first, second = nodes
        send(first, 0, 30)
        wait_begun(second, books, 30)
        assert first.stop() == 0  # its messages move to the second node, which has the version they began with
        write(first, "mappings/ticket.yaml", '"one "', '"two "')
        first.start()
        balanced(second, first)
        send(second, 30, 60)  # while both versions are at work: each node begins what is its own on the version it has
        wait_begun(first, books, 60)
        assert second.stop() == 0  # now the first has them all, of both versions
        write(second, "mappings/ticket.yaml", '"one "', '"two "')
        second.start()
        balanced(first, second)
        send(second, 60, 90)
        wait_begun(first, books, 90)
        gate.is_open = True
        assert first.wait_settled()["done"] == 90
        found = {int(id): str(text) for id, text in rows(books, "SELECT id, text FROM tickets")}
        assert {id: found[id] for id in range(30)} == {id: f"one t{id}" for id in range(30)}
        assert {id: found[id] for id in range(60, 90)} == {id: f"two t{id}" for id in range(60, 90)}
        between = {found[id].partition(" ")[0] for id in range(30, 60)}
        assert between == {"one", "two"}, "both nodes had messages in between"
        assert sorted(found) == list(range(90))
        assert len(rows(books, "SELECT id FROM log")) == 90, "what was done is not repeated"
