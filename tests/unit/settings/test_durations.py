from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.settings.durations import format_duration, format_size, parse_duration, parse_instant, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1s", 1),
        ("10m", 600),
        ("2h", 7200),
        ("3d", 259200),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("0s", 0),
        ("7us", 7e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1 s", "-1s", "1w", "0.1us", "1e3s", "9" * 18 + "d", "١s", "1s\n1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.timedeltas(min_value=dt.timedelta(0)))
def test_a_duration_is_written_and_read_back(duration: dt.timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size"),
    [("10MB", 10_000_000), ("64KiB", 65_536), ("1.5 GB", 1_500_000_000), ("0B", 0), ("5mb", 5_000_000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "10", "MB", "-1MB", "1.5B", "10 megabytes"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(
    st.integers(0, 2**60)
    | st.integers(0, 2**20).map(lambda n: n * 1024)
    | st.integers(0, 10**6).map(lambda n: n * 10**6)
)
def test_a_size_is_written_and_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_an_instant_needs_a_zone() -> None:
    assert parse_instant("2026-01-31T09:00:00+01:00").utcoffset() == dt.timedelta(hours=1)
    with pytest.raises(ValueError, match="no zone"):
        parse_instant("2026-01-31T09:00:00")


def test_negative_values_are_never_written() -> None:
    with pytest.raises(ValueError):
        format_duration(dt.timedelta(seconds=-1))
    with pytest.raises(ValueError):
        format_size(-1)
