"""Pages followed to the end, and windows that lose no change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import ConnectorError
from accord.sdk import paging as p
from accord.sdk.bodies import MissingValue, fill_path, fill_value, placeholders, raw_at, raw_object, value_at
from accord.sdk.changes import ChangeWindow, format_cursor, parse_cursor
from accord.sdk.http import HttpResponse

ADDRESS = "https://api.example/v1/items?page=1"


def follow(paging: p.Paging, state: Any, body: Any = None, count: int = 2, link: str = "") -> Any:
    return p.follow(
        paging, state, HttpResponse(status=200, headers={"link": link} if link else {}), body, count, ADDRESS
    )


def test_counted_pages() -> None:
    paging = p.PagePaging(size=2, size_param="per")
    assert p.parameters(paging, None) == {"per": "2", "page": "1"}
    assert follow(paging, None) == {"page": 2}
    assert p.parameters(paging, {"page": 2}) == {"per": "2", "page": "2"}
    assert follow(paging, {"page": 2}, count=1) is None
    told = p.PagePaging(size=2, pages_at="pages")
    assert follow(told, {"page": 2}, {"pages": 3}) == {"page": 3}
    assert follow(told, {"page": 3}, {"pages": 3}) is None
    assert follow(p.OffsetPaging(size=2), {"offset": 4}) == {"offset": 6}
    assert follow(p.OffsetPaging(size=2), {"offset": 6}, count=0) is None


def test_cursors() -> None:
    paging = p.CursorPaging(at="meta.next", param="after", more_at="meta.more")
    assert p.parameters(paging, None) == {}
    assert follow(paging, None, {"meta": {"next": "c1", "more": True}}) == {"cursor": "c1"}
    assert follow(paging, None, {"meta": {"next": "c1", "more": False}}) is None
    assert follow(p.CursorPaging(at="next"), None, {"next": None}) is None
    assert p.parameters(p.CursorPaging(at="next"), {"cursor": 3}) == {"cursor": "3"}


@pytest.mark.parametrize(
    ("link", "wanted"),
    [
        ('<https://api.example/v1/items?p=2>; rel="next"', "https://api.example/v1/items?p=2"),
        ('<?p=1>; rel="prev", </v1/items?p=3>; title="a, b"; rel=next', "https://api.example/v1/items?p=3"),
        ('<?p=1>; rel="prev"', None),
        ('<?p=9>; rel="last next"', "https://api.example/v1/items?p=9"),
    ],
)
def test_link_header(link: str, wanted: str | None) -> None:
    assert follow(p.LinkPaging(), None, link=link) == ({"url": wanted} if wanted else None)


def test_credentials_do_not_follow_to_strangers() -> None:
    with pytest.raises(ConnectorError, match="another address"):
        follow(p.NextPaging(at="next"), None, {"next": "https://evil.example/v1/items"})
    with pytest.raises(ConnectorError, match="another address"):
        follow(p.LinkPaging(), None, link='<http://api.example/v1/items>; rel="next"')


def test_paths_and_templates() -> None:
    body = {"data": {"items": [{"id": 1}]}}
    assert value_at(body, "data.items.0.id") == 1
    assert value_at(body, "data.none.0") is None
    assert fill_path("/i/{a}/{b.c}", {"a": "x/ü", "b.c": 3}.get) == "/i/x%2F%C3%BC/3"
    assert fill_value({"n": "{n}", "t": "no {n}", "l": ["{d}"]}, {"n": 5, "d": dt.date(2026, 1, 1)}.get) == {
        "n": 5,
        "t": "no 5",
        "l": [dt.date(2026, 1, 1)],
    }
    assert placeholders({"a": ["{x} {y.z}"], "b": 3}) == {"x", "y.z"}
    with pytest.raises(MissingValue):
        fill_path("/{a}", {}.get)


def test_raw_parts_keep_their_digits() -> None:
    body = b'{"d": {"r": {"p": 1.50, "big": 820982911946154508}}, "l": [1, {"a": 2}]}'
    assert raw_at(body, "d.r") == b'{"p": 1.50, "big": 820982911946154508}'
    assert raw_at(body, "l.1") == b'{"a": 2}'
    assert raw_at(body, "d.x") is None
    assert raw_object(b'{"a": ') is None
    assert raw_object(b"[1]") is None
    assert raw_object(b' {"a": 1}') is not None


@pytest.mark.parametrize(
    ("format_", "value", "text"),
    [
        ("iso", "2026-01-01T10:00:00+01:00", "2026-01-01T09:00:00Z"),
        ("iso", "2026-01-01T10:00:00.123456Z", "2026-01-01T10:00:00.123456Z"),
        ("unix", 1700000000, "1700000000"),
        ("unix_ms", 1700000000123, "1700000000123"),
        ("date", "2026-01-01", "2026-01-01"),
        ("number", 12345678901234567890, "12345678901234567890"),
        ("text", "00ab", "00ab"),
    ],
)
def test_cursor_formats(format_: Any, value: Any, text: str) -> None:
    assert format_cursor(parse_cursor(value, format_), format_) == text


@pytest.mark.parametrize(("format_", "value"), [("iso", None), ("iso", "yesterday"), ("number", "x"), ("text", 3)])
def test_wrong_cursors_say_what_to_mend(format_: Any, value: Any) -> None:
    with pytest.raises(ConnectorError) as error:
        parse_cursor(value, format_)
    assert error.value.code == "connector.bad-cursor" and error.value.mend


def test_unordered_runs_do_not_move_past_their_beginning() -> None:
    window = ChangeWindow(None, format_="iso")
    assert window.is_new("a", "2026-01-01T00:00:10Z")
    window.advance(dt.datetime(2026, 1, 1, 0, 0, 5, tzinfo=dt.UTC))
    assert window.position()["since"] == "2026-01-01T00:00:05Z"


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=30),
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
)
def test_no_change_is_lost(changes: list[tuple[int, int]], reads: list[int]) -> None:
    """Records change at times that never go back; reads happen in between, from the stored position. Every last version is seen."""
    time, versions, seen, position = 100, {}, {}, None
    due = list(changes)
    for count in [*reads, len(due) + 1]:
        for key, step in due[:count]:
            time += step
            versions[key] = time
        due = due[count:]
        window = ChangeWindow(position, format_="number", overlap_s=1)
        bound = int(window.lower_bound() or 0)
        for key, at in sorted(versions.items(), key=lambda kv: kv[1]):
            if at >= bound and window.is_new(str(key), at):
                seen[key] = at
        window.advance()
        position = window.position()
    assert seen == versions


def test_two_versions_within_one_second_are_both_given() -> None:
    window = ChangeWindow(None, format_="iso", overlap_s=60)
    assert window.is_new("a", "2026-01-01T00:00:10Z", {"note": None})
    window.advance()
    again = ChangeWindow(window.position(), format_="iso", overlap_s=60)
    assert not again.is_new("a", "2026-01-01T00:00:10Z", {"note": None})
    assert again.is_new("a", "2026-01-01T00:00:10Z", {"note": "changed"})
