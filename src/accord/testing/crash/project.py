"""The project the laboratory runs: one flow with a target of every guarantee, others that wait, split and take back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec

_ERRORS = "on_error: {attempts: 1000, first: 10ms, factor: 2, longest: 100ms}"
_ENTRY = "key: number\n    fields: {number: integer, key: string}"


def _http(name: str, entity: str, settings: str = "") -> str:
    head = f"system: {name}\nconnector: http\nsettings:\n  address: ${{env:RECORDER}}\n{settings}"
    return f"{head}entities:\n  entries:\n    {_ENTRY}\n{entity}"


FILES: Mapping[str, str] = {
    "accord.yaml": """
name: crash
environments:
  default: {address: "${env:ACCORD_ADDRESS}", secrets: [environment], api_token: "${secret:api}", drain: 5s}
""",
    "systems/desk.yaml": """
system: desk
connector: http
settings:
  address: http://127.0.0.1:1
  webhooks:
    signature: {type: none}
    topic: {header: x-topic}
    event_id: {body: number}
    events: events
    topics: {work: jobs, later: jobs, parts: jobs, undone: jobs}
entities:
  jobs:
    key: number
    fields: {number: integer, key: string, parts: {list: {part: integer}}}
""",
    "systems/keyed.yaml": _http(
        "keyed", "    write: {create: {path: /key/keyed}}\n", "  idempotency_header: Idempotency-Key\n"
    ),
    "systems/shelf.yaml": _http("shelf", '    write: {upsert: {path: "/upsert/shelf/{key}"}}\n'),
    "systems/looked.yaml": _http(
        "looked",
        "    write: {create: {path: /look/looked}}\n    find: {path: /look/looked, query: {number: '{number}'}}\n",
    ),
    "systems/plain.yaml": _http("plain", "    write: {create: {path: /plain/plain}}\n"),
    "systems/late.yaml": _http(
        "late", "    write: {create: {path: /key/late}}\n", "  idempotency_header: Idempotency-Key\n"
    ),
    "systems/parts.yaml": _http(
        "parts", "    write: {create: {path: /key/parts}}\n", "  idempotency_header: Idempotency-Key\n"
    ),
    "systems/till.yaml": """
system: till
connector: http
settings:
  address: ${env:RECORDER}
  idempotency_header: Idempotency-Key
  operations:
    take: {path: /key/taken, takes: {number: integer, key: string}}
    give: {path: /key/given, takes: {number: integer, key: string}}
    refuse: {path: /refuse, takes: {number: integer, key: string}}
""",
    "systems/ledger.yaml": f"""
system: ledger
connector: sql
settings: {{url: "sqlite:///ledger.db"}}
entities:
  entries:
    {_ENTRY}
  shelf:
    key: key
    fields: {{key: string, number: integer}}
  holds:
    key: id
    fields: {{id: string}}
""",
    "flows/work.yaml": f"""
flow: work
on: {{webhook: desk.jobs, topic: work}}
key: key
steps:
  - {{write: ledger.entries, mode: create, with: {{number: number, key: key}}, link: false}}
  - {{write: ledger.shelf, mode: upsert, with: {{number: number, key: key}}, link: false}}
  - {{write: keyed.entries, mode: create, with: {{number: number, key: key}}, link: false}}
  - {{write: shelf.entries, mode: upsert, with: {{number: number, key: key}}, link: false}}
  - {{write: looked.entries, mode: create, with: {{number: number, key: key}}, link: false}}
  - {{write: plain.entries, mode: create, with: {{number: number, key: key}}, link: false}}
{_ERRORS}
""",
    "flows/later.yaml": f"""
flow: later
on: {{webhook: desk.jobs, topic: later}}
key: key
steps:
  - delay: 100ms
  - {{write: late.entries, mode: create, with: {{number: number, key: key}}, link: false}}
{_ERRORS}
""",
    "flows/parts.yaml": f"""
flow: parts
on: {{webhook: desk.jobs, topic: parts}}
key: key
steps:
  - split: parts
    steps:
      - write: parts.entries
        mode: create
        with: {{number: part, key: parent.key}}
        link: false
{_ERRORS}
""",
    "flows/undone.yaml": f"""
flow: undone
on: {{webhook: desk.jobs, topic: undone}}
key: key
steps:
  - call: till.take
    with: {{number: number, key: key}}
    undo: {{call: till.give, with: {{number: number, key: key}}}}
  - write: ledger.holds
    mode: create
    with: {{id: text(number)}}
    link: false
    undo: {{write: ledger.holds, mode: delete, with: {{id: text(number)}}}}
  - call: till.refuse
    with: {{number: number, key: key}}
{_ERRORS}
""",
}

# No table forbids repeats: a repeated effect shows as a second row. Of `shelf`, rows are kept by a trigger, change by change.
_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE entries (number INTEGER, key TEXT);
CREATE TABLE shelf (key TEXT PRIMARY KEY, number INTEGER);
CREATE TABLE shelf_changes (key TEXT, number INTEGER);
CREATE TRIGGER shelf_new AFTER INSERT ON shelf BEGIN INSERT INTO shelf_changes VALUES (new.key, new.number); END;
CREATE TRIGGER shelf_changed AFTER UPDATE ON shelf BEGIN INSERT INTO shelf_changes VALUES (new.key, new.number); END;
CREATE TABLE holds (id TEXT);
CREATE TABLE hold_changes (number INTEGER);
CREATE TRIGGER hold_new AFTER INSERT ON holds BEGIN INSERT INTO hold_changes VALUES (CAST(new.id AS INTEGER)); END;
"""

PARTS_EACH = 3


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where effects of a ``topic`` are recorded. ``repeat_is_same`` and ``is_ordered`` as for ``tally``."""

    name: str
    kind: str
    guarantee: str
    topic: str
    repeat_is_same: bool = False
    is_ordered: bool = True
    may_repeat: bool = False


TARGETS = (
    Target(name="entries", kind="sql", guarantee="transaction", topic="work"),
    Target(name="shelf_changes", kind="sql upsert", guarantee="transaction", topic="work"),
    Target(name="keyed", kind="http", guarantee="idempotency key", topic="work"),
    Target(name="shelf", kind="http upsert", guarantee="upsert", topic="work", repeat_is_same=True),
    Target(name="looked", kind="http find", guarantee="look-up", topic="work"),
    Target(name="plain", kind="http", guarantee="at-least-once", topic="work", may_repeat=True),
    Target(name="late", kind="http after a wait", guarantee="idempotency key", topic="later"),
    Target(name="parts", kind="http in a split", guarantee="idempotency key", topic="parts", is_ordered=False),
    Target(name="taken", kind="http call", guarantee="idempotency key", topic="undone"),
    Target(name="hold_changes", kind="sql, then undone", guarantee="transaction", topic="undone", is_ordered=False),
    Target(name="given", kind="http call as undo", guarantee="idempotency key", topic="undone"),
)


def write_project(folder: Path, store: str = "") -> None:
    """The project's files and its database. ``store``: the setting of the journal's store, if it is not the default."""
    files = {**FILES, "accord.yaml": FILES["accord.yaml"].replace("default: {", f"default: {{{store}")}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.executescript(_TABLES)


def recorded_in_ledger(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Table → key → numbers, in the order they were written. Holds have no key: all under ''."""
    found: dict[str, dict[str, list[int]]] = {"entries": {}, "shelf_changes": {}, "hold_changes": {}}
    with contextlib.closing(sqlite3.connect(folder / "ledger.db", timeout=10)) as db:
        for table in ("entries", "shelf_changes"):
            for key, number in db.execute(f"SELECT key, number FROM {table} ORDER BY rowid"):  # noqa: S608 (names above)
                found[table].setdefault(key, []).append(number)
        found["hold_changes"][""] = [n for (n,) in db.execute("SELECT number FROM hold_changes ORDER BY rowid")]
    return found


def holds_left(folder: Path) -> int:
    """Rows that should have been taken back."""
    with contextlib.closing(sqlite3.connect(folder / "ledger.db", timeout=10)) as db:
        return int(db.execute("SELECT count(*) FROM holds").fetchone()[0])
