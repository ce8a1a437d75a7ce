"""How a record differs from a good one: what is told, and that nothing personal is."""

from __future__ import annotations

from typing import Any

import pytest

from accord.engine.masking import Masker
from accord.engine.mending import FieldDifference, differences_of, shape_of
from accord.record import Field
from accord.record.types import Decimal, List, Object, String

TEXT = Field(type=String())
FIELDS = {
    "id": TEXT,
    "day": TEXT,
    "mail": Field(type=String(), personal="contact"),
    "lines": Field(type=List(Object({"sku": TEXT, "price": Field(type=Decimal())}))),
}
GOOD: dict[str, Any] = {
    "id": "A1",
    "day": "2026-05-01",
    "mail": "ada@example.com",
    "lines": [{"sku": "X-1", "price": 5}],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"day": "1 May 2026"}, [("day", "shape", "text 2026-05-01", "text 1 May 2026")]),
        ({"day": None}, [("day", "type", "text 2026-05-01", "null")]),
        ({"lines": [{"sku": "X-2"}]}, [("lines[].price", "missing", "number 5", "")]),
        ({"lines": []}, [("lines", "shape", "list", "list"), ("lines[]", "missing", "object", "")]),
        ({"mail": 7}, [("mail", "type", "text ***", "number ***")]),
        ({"id": "for ada@example.com"}, [("id", "shape", "text A1", "text for ***")]),
        ({"extra": "ada"}, [("extra", "new", "", "text ***")]),
    ],
)
def test_differences_are_told_without_what_is_personal(
    changes: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    masker = Masker()
    masker.learn(GOOD, FIELDS)
    found = differences_of(GOOD, GOOD | changes, FIELDS, masker)
    wanted = [FieldDifference(path=path, kind=kind, good=good, this=this) for path, kind, good, this in expected]
    assert found == wanted


@pytest.mark.parametrize(("text", "shape"), [("2026-05-01", "9-9-9"), ("Émile  7", "Aa 9"), ("", ""), ("x" * 99, "a")])
def test_the_shape_of_a_text(text: str, shape: str) -> None:
    assert shape_of(text) == shape


def test_a_value_is_masked_wherever_it_stands_again() -> None:
    masker = Masker(["phone_number"])
    masker.learn({"mail": "Ada Lovelace <ada@example.com>"}, FIELDS)
    masker.learn({"mail": 12345678}, FIELDS)
    told = {
        "text": "dear LOVELACE, we wrote to ADA@example.com",
        "number": 12345678,
        "phoneNumber": "0123",
        "client_secret": "s",
        "list": [{"a": "lovelace"}, True, None, 3],
    }
    assert masker.free(told) == {
        "text": "dear ***, we wrote to ***@***.***",
        "number": "***",
        "phoneNumber": "***",
        "client_secret": "***",
        "list": [{"a": "***"}, True, None, 3],
    }
    assert masker.record({"id": "lovelace", "other": 1}, FIELDS) == {"id": "***"}
