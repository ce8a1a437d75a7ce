"""What `accord check` says of sql, files and mail systems before anything runs: every fault, each with its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from accord.connectors.files import CONNECTOR as FILES
from accord.connectors.mail import CONNECTOR as MAIL
from accord.connectors.sql import CONNECTOR as SQL
from accord.errors import Faults
from accord.sdk.connector import Idempotency, WriteMode
from accord.settings.decode import decode
from accord.settings.entities import read_entity
from accord.settings.node import Node
from accord.settings.secret import Secret

ROOT = Path(__file__).parents[3]
FIELDS = {"id": "integer", "at": "datetime?", "lines": {"list": {"sku": "string"}}}


def found(kind: Any, settings: dict[str, Any], entities: dict[str, Any]) -> list[str]:
    faults = Faults()
    node = Node(
        {name: Node(value) if isinstance(value, Secret) else Node.of(value) for name, value in settings.items()}
    )
    decoded = decode(node, kind.settings, faults)
    made = {
        name: read_entity("s", name, Node.of({"fields": FIELDS, **declared}), kind.entity_settings, faults)
        for name, declared in entities.items()
    }
    assert decoded is not None and all(made.values()), [str(f) for f in faults.found]
    kind.check(decoded, made, node, faults)
    return [fault.code for fault in faults.found]


@pytest.mark.parametrize(
    ("settings", "entities", "codes"),
    [
        ({"url": Secret("postgresql://x")}, {"a": {"key": "id", "cursor": "id"}}, []),
        ({"url": "postgresql://u@h/d", "password": Secret("x")}, {}, []),
        ({"url": "localhost/erp"}, {}, ["sql-url"]),
        ({"url": "postgresql://u:geheim@h/d"}, {}, ["sql-open-password"]),
        ({"url": "sqlite:///x", "zone": "Mars/Base"}, {}, ["sql-zone"]),
        ({"url": "sqlite:///x"}, {"a": {"key": "id", "cursor": "idd"}}, ["sql-cursor"]),
        ({"url": "sqlite:///x"}, {"a": {"cursor": "at"}}, ["sql-cursor", "sql-cursor"]),
        ({"url": "sqlite:///x"}, {"a": {"key": "id", "overlap": "5s"}}, ["sql-cursor"]),
        ({"url": "sqlite:///x"}, {"a": {"key": "id", "columns": {"idd": "x"}, "scaled": {"t": 2}}}, ["sql-field"] * 2),
        ({"url": "sqlite:///x"}, {"a": {"children": {"at": {"table": "t", "parent_key": "p"}}}}, ["sql-children"] * 2),
        (
            {"url": "sqlite:///x", "read_only": True, "operations": {"o": {"query": "DELETE FROM t"}}},
            {},
            ["sql-read-only"],
        ),
    ],
)
def test_sql(settings: dict[str, Any], entities: dict[str, Any], codes: list[str]) -> None:
    assert found(SQL, settings, entities) == [f"connector.{code}" for code in codes]


@pytest.mark.parametrize(
    ("settings", "entity", "codes"),
    [
        ({}, {"pattern": "in/*.csv"}, []),
        ({"encoding": "utf-9", "zone": "Mars/Base", "processed": "../done"}, {}, ["encoding", "zone", "outside"]),
        ({}, {"pattern": "../*.csv", "encoding": "klingon"}, ["encoding", "outside"]),
        ({}, {"format": "fixed"}, ["columns"]),
        ({}, {"headers": {"idd": "x"}}, ["field"]),
        ({}, {"name": "all.json"}, ["name"]),
        ({}, {"name": "{idd}.json"}, ["name"]),
        ({}, {"name": "{id.json"}, ["name"]),
        ({}, {"name": "{id}.xlsx"}, ["format"]),
        ({}, {"append": "log.xml"}, ["format"]),
    ],
)
def test_files(settings: dict[str, Any], entity: dict[str, Any], codes: list[str]) -> None:
    assert found(FILES, {"folder": "x", **settings}, {"a": entity}) == [f"connector.files-{code}" for code in codes]


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({}, []),
        ({"from": "nobody"}, ["address"]),
        ({"password": Secret("x")}, ["login"]),
        ({"user": "u", "password": Secret("x"), "tls": "none"}, ["open-password"]),
        ({"user": "u", "password": Secret("x"), "tls": "none", "host": "127.0.0.1"}, []),
    ],
)
def test_mail(settings: dict[str, Any], codes: list[str]) -> None:
    given = {"host": "smtp.example.org", "from": "a@example.org", **settings}
    assert found(MAIL, given, {}) == [f"connector.mail-{code}" for code in codes]


def test_guarantees_are_told_honestly() -> None:
    def of(kind: Any, settings: Any, **declared: Any) -> dict[WriteMode, Idempotency]:
        entity = read_entity(
            "s", "a", Node.of({"key": "id", "fields": FIELDS, **declared}), kind.entity_settings, Faults()
        )
        capabilities = kind.capabilities(settings, entity)
        assert set(capabilities.idempotency) == capabilities.write
        if Idempotency.NONE in capabilities.idempotency.values():
            assert capabilities.at_least_once_reason
        return dict(capabilities.idempotency)

    sql, files = SQL.settings(url="sqlite:///x"), FILES.settings(folder="x")
    assert of(SQL, sql) == dict.fromkeys(WriteMode, Idempotency.TRANSACTION)
    assert of(SQL, sql, query="SELECT 1 AS id") == {}
    assert of(SQL, SQL.settings(url="sqlite:///x", read_only=True)) == {}
    assert of(FILES, files, append="a.csv") == {WriteMode.CREATE: Idempotency.NONE}
    assert of(FILES, files, name="{effect_id}.json") == {WriteMode.CREATE: Idempotency.KEY}
    plain, looked = MAIL.settings(host="h", from_="a@b"), MAIL.settings(host="h", from_="a@b", lookup_url="http://x")
    assert MAIL.operations(plain)["message"].idempotency is Idempotency.NONE
    assert MAIL.operations(looked)["message"].idempotency is Idempotency.LOOKUP


def test_every_code_has_its_page() -> None:
    pages = set(re.findall(r"^## (\S+)", (ROOT / "docs/errors/connector.md").read_text(), re.MULTILINE))
    for name in ("sql", "files", "mail"):
        for path in (ROOT / "src/accord/connectors" / name).glob("*.py"):
            used = re.findall(rf'"(?:connector\.)?({name}-[a-z-]+)"', path.read_text())
            used = [code for code in used if code not in ("sql-", "accord-sql")]
            assert set(used) <= pages, f"{path.name}: no page for {sorted(set(used) - pages)}"
