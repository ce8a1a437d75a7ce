"""Versions as text keep the order of the values."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accord.flow.versions import LENGTH_MAX, NEWEST, version_text

_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
_INSTANTS = st.datetimes(timezones=_OFFSETS)
_INTEGERS = st.integers() | st.integers(-20, 20) | st.integers(-(10**30), 10**30)
_TEXTS = st.text(max_size=8) | st.text("ab", max_size=4)
_PAIRS = st.one_of(*(st.tuples(values, values) for values in (_INSTANTS, st.dates(), _INTEGERS, _TEXTS)))


@given(_PAIRS)
@example((-1, 0))
@example((-16, -15))
@example((15, 16))
@example((dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))), dt.datetime.max.replace(tzinfo=dt.UTC)))
@example(
    (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
)
@example((dt.date.min, dt.date.max))
@example(("\uffff", "\U0001f600"))
@example(("a", "a\x00"))
def test_order_is_kept(pair: tuple[Any, Any]) -> None:
    first, second = pair
    assert (version_text(first) < version_text(second)) is (first < second)
    assert (version_text(first) == version_text(second)) is (first == second)


@given(st.one_of(_INSTANTS, st.dates(), _INTEGERS))
def test_every_version_comes_between_none_and_the_newest(value: Any) -> None:
    assert "" < version_text(value) < NEWEST


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TypeError):
        version_text(dt.datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="at most"):
        version_text("x" * (LENGTH_MAX + 1))
