"""The CRM's query language and ids, without a server."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.connectors.salesforce.soql import literal
from accord.sandbox.crm.objects import full_id, record_id
from accord.sandbox.crm.soql import MalformedQuery, parse

ROWS: list[dict[str, Any]] = [
    {"Name": "Ada", "Amount": 1, "IsWon": True, "CloseDate": dt.date(2026, 1, 1)},
    {"Name": "bob", "Amount": 20, "IsWon": False, "CloseDate": dt.date(2026, 2, 1)},
    {"Name": None, "Amount": None, "IsWon": False, "CloseDate": None},
]


def found(condition: str) -> list[Any]:
    where = parse(f"SELECT Name FROM Opportunity WHERE {condition}").where
    assert where is not None
    return [row["Name"] for row in ROWS if where(row.get)]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("Name = 'ADA'", ["Ada"]),
        ("Name != 'ada'", ["bob", None]),
        ("Name = null", [None]),
        ("Amount > 1", ["bob"]),
        ("Amount >= 1 AND IsWon = true", ["Ada"]),
        ("Amount < 5 OR Amount = null", ["Ada", None]),
        ("NOT (IsWon = true OR Name = 'bob')", [None]),
        ("Name LIKE 'a%'", ["Ada"]),
        ("Name LIKE '_o_'", ["bob"]),
        ("Name IN ('bob', 'x')", ["bob"]),
        ("Name NOT IN ('bob')", ["Ada", None]),
        ("CloseDate >= 2026-01-15", ["bob"]),
    ],
)
def test_conditions(condition: str, names: list[Any]) -> None:
    assert found(condition) == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT FROM Account",
        "SELECT Id FROM",
        "SELECT Id FROM Account WHERE",
        "SELECT Id FROM Account WHERE Name",
        "SELECT Id FROM Account WHERE Name = ",
        "SELECT Id FROM Account WHERE Name = 'open",
        "SELECT Id FROM Account WHERE (Name = 'a'",
        "SELECT Id FROM Account LIMIT many",
        "SELECT Id FROM Account; DROP TABLE records",
        "DELETE FROM Account",
    ],
)
def test_what_is_no_query_is_refused(text: str) -> None:
    with pytest.raises(MalformedQuery):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_survives_quoting(text: str) -> None:
    where = parse(f"SELECT Id FROM Account WHERE Name = {literal(text)}").where
    assert where is not None
    assert where({"Name": text}.get)


@given(st.integers(1, 10**12))
def test_ids_are_told_apart_without_case(number: int) -> None:
    one, next_ = record_id("001", number), record_id("001", number + 1)
    assert len(one) == 18
    assert one.lower() != next_.lower()
    assert full_id(one[:15]) == one


def test_a_known_id_has_its_known_suffix() -> None:
    # The id of the example in "REST API Developer Guide", Insert or Update (Upsert) a Record Using an External ID.
    assert full_id("00190000001pPvH") == "00190000001pPvHAAU"
