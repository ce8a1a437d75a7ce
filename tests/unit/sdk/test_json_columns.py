"""Objects by the pattern are the objects the decoder gives, and what the pattern does not take the decoder decides."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from accord.record import Field
from accord.record import types as t
from accord.sdk.json_frames import JsonFramer

LINE = t.Object(
    {
        "sku": Field(type=t.String()),
        "count": Field(type=t.Integer(), nullable=True),
        "price": Field(type=t.Decimal(), nullable=True),
        "is_gift": Field(type=t.Boolean(), nullable=True),
    }
)
FIELDS = {
    "id": Field(type=t.Integer()),
    "name": Field(type=t.String(), nullable=True),
    "total": Field(type=t.Decimal(), nullable=True),
    "weight": Field(type=t.Float(), nullable=True),
    "is_open": Field(type=t.Boolean(), nullable=True),
    "day": Field(type=t.Date(), nullable=True),
    "at": Field(type=t.DateTime(), nullable=True),
    "buyer": Field(type=LINE, nullable=True),
    "lines": Field(type=t.List(LINE), nullable=True),
}
NAMES = {"at": "changed at"}

numbers = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(float),
    st.sampled_from(["12.50", "007", "", "-0", "1e5", True]),
)
lettering = st.one_of(
    st.none(),
    st.text(st.sampled_from('ab"\\/\n\x00\u00e9\u20ac\U0001f600\ud800 ,:{}[]'), max_size=8),
    st.sampled_from(
        ['say "hello"', "a\\nb", "back\\\\slash\\", "] }, {", '"}], "lines": [', "tab\tand\nline", "/", "5"]
    ),
)
moments = st.sampled_from(
    [None, "2025-02-28", "2025-02-30", "2025-02-16T10:14:54Z", "2025-02-16T10:14:54.123+02:00", "0001-01-01", 5]
)
lines = st.fixed_dictionaries(
    {
        "sku": lettering,
        "count": numbers,
        "price": numbers,
        "is_gift": st.sampled_from([True, False, None]),
        "more": lettering,
    }
)
records = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**64), 2**64),
        "name": lettering,
        "total": numbers,
        "weight": numbers,
        "is_open": st.sampled_from([True, False, None, 0]),
        "day": moments,
        "changed at": moments,
        "buyer": st.one_of(st.none(), lines),
        "lines": st.one_of(st.none(), st.lists(lines, max_size=3)),
        "more": st.one_of(lettering, numbers),
    }
)
broken = st.sampled_from(
    ["{}", "[]", "null", '{"id": 1', '{"id": 01}', '{"id": 1, "id": 2}', '{"id": 1} {"id": 2}', "\\"]
)
texts = st.one_of(
    st.tuples(records, st.booleans(), st.sampled_from([None, (",", ":")])).map(
        lambda given: json.dumps(given[0], ensure_ascii=given[1], separators=given[2])
    ),
    broken,
)


def by_decoder(raws: list[bytes]) -> tuple[pl.DataFrame, list[int]]:
    framer = JsonFramer(FIELDS, NAMES)
    frame, _, odd = framer._decoded(raws, range(len(raws)))
    return frame, odd


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(texts, max_size=30))
def test_pattern_and_decoder_agree(given: list[str]) -> None:
    raws = [text.encode("utf-8", "surrogatepass") for text in given]
    frame, odd = JsonFramer(FIELDS, NAMES).rows(raws)
    expected, expected_odd = by_decoder(raws)
    assert odd == expected_odd
    assert_frame_equal(frame, expected, check_exact=True)


def order(id_: int, **values: Any) -> bytes:
    item = {"sku": 'a ] } "x"', "count": id_, "price": 14.1, "is_gift": True, "more": "(y)"}
    plain = {"id": id_, "name": 'say "hi"\\', "total": 3037.17, "weight": 2.5, "is_open": False, "day": "2025-02-28"}
    return json.dumps(
        {**plain, "changed at": "2025-02-16T10:14:54Z", "buyer": item, "lines": [item] * 2, **values}
    ).encode()


def test_texts_written_alike_are_all_taken_by_the_pattern() -> None:
    framer = JsonFramer(FIELDS, NAMES)
    raws = [
        order(1),
        order(2, lines=[], buyer=None),
        order(3, lines=None, total=None, name=""),
        order(4, total="12.50"),
    ]
    found = framer.columns.read(raws)
    assert found is not None and found[1].to_list() == [True] * 4
    assert_frame_equal(found[0], by_decoder(raws)[0], check_exact=True)


@pytest.mark.parametrize(
    "values",
    [
        {"total": "12.5O"},
        {"id": "5"},
        {"id": 5.0},
        {"is_open": 1},
        {"day": "2025-02-30"},
        {"lines": [None]},
        {"new": 1},
    ],
)
def test_what_differs_is_left_to_the_decoder(values: dict[str, Any]) -> None:
    raws = [order(1), order(2), order(3, **values), order(4)]
    framer = JsonFramer(FIELDS, NAMES)
    found = framer.columns.read(raws)
    assert found is not None and found[1].to_list() == [True, True, False, True]
    assert framer.rows(raws)[1] == by_decoder(raws)[1]


def test_texts_that_are_not_alike_give_the_pattern_up() -> None:
    framer = JsonFramer(FIELDS, NAMES)
    raws = [json.dumps({f"k{at}": 1, "id": at}).encode() for at in range(8)]
    for _ in range(4):
        frame, odd = framer.rows(raws)
        assert frame["id"].to_list() == list(range(8)) and odd == []
    assert framer.columns.read([order(1), order(2)]) is None
