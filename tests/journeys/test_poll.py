"""Rows that appear and change in one database arrive in another, also when the engine is killed in between."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from journeys.live import Live

ROWS = 300
CHANGES = 900
KILLS = 5
FILES = {
    "systems/crm.yaml": """
system: crm
connector: sql
settings: {url: "sqlite:///crm.db"}
entities:
  customers:
    key: id
    cursor: version
    page_rows: 20
    fields: {id: integer, name: string, version: integer}
""",
    "systems/books.yaml": """
system: books
connector: sql
settings: {url: "sqlite:///books.db"}
entities:
  customers:
    key: id
    fields: {id: integer, name: string, version: integer}
  log:
    fields: {id: integer, version: integer}
""",
    "flows/customers.yaml": """
flow: customers
on: {poll: crm.customers, every: 100ms}
steps:
  - write: books.log
    mode: create
    with: {id: id, version: version}
  - write: books.customers
    mode: upsert
    with: {id: id, name: name, version: version}
on_error: {first: 50ms, longest: 1s}
""",
}
CRM = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL UNIQUE)"
BOOKS = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE log (id INTEGER NOT NULL, version INTEGER NOT NULL)
"""


def test_changing_rows_arrive_once_each_across_kills(tmp_path: Path) -> None:
    chance = random.Random(5)
    live = Live(tmp_path, FILES, databases={"crm.db": CRM, "books.db": BOOKS})

    def work() -> None:
        """New rows and changes, a few in each transaction."""
        version = 0
        while version < CHANGES:
            statements = []
            for _ in range(chance.randint(1, 9)):
                version += 1
                id = version if version <= ROWS else chance.randint(1, ROWS)
                statements.append(f"INSERT OR REPLACE INTO customers VALUES ({id}, 'name {version}', {version})")
            live.change("crm.db", ";".join(statements))
            time.sleep(0.01)  # the pace of the work, not a wait

    with live:
        people = threading.Thread(target=work)
        people.start()
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.0, 0.6))  # the moment of the kill is what is random here
                live.restart()
        finally:
            people.join()
        wanted = live.rows("crm.db", "SELECT id, name, version FROM customers ORDER BY id")
        assert len(wanted) == ROWS

        def is_there() -> bool:
            return live.rows("books.db", "SELECT id, name, version FROM customers ORDER BY id") == wanted

        live.wait(is_there, "all rows are there as they are at last")
        live.wait_settled()
        assert live.rows("books.db", "SELECT id, version, count(*) FROM log GROUP BY 1, 2 HAVING count(*) > 1") == []
        logged = {(id, version) for id, version in live.rows("books.db", "SELECT id, version FROM log")}
        assert {(id, version) for id, _, version in wanted} <= logged
        # in order per row: the log of one customer never goes back
        orders = live.rows("books.db", "SELECT id, version FROM log ORDER BY rowid")
        latest: dict[int, int] = {}
        for id, version in orders:
            assert latest.get(id, 0) < version
            latest[id] = version
        (dead,) = [flow["dead"] for flow in live.api("status")["flows"]]
        assert dead == 0
    assert live.run("journal", "verify").returncode == 0
