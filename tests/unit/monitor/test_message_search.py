"""A search on the page of messages looks through a bounded number of them and says how far it came."""

from __future__ import annotations

import asyncio
import datetime as dt
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest

from accord.engine.control import Control
from accord.journal.operations import Accept, MessageRow
from accord.journal.search import MessageQuery
from accord.journal.stores.memory import MemoryStore
from accord.monitor import message_views
from accord.monitor.message_views import MessageViews
from accord.project import Project
from accord.record import Message

WANTED = 7


class Reads:
    """What the page asks of the control, from a store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.open()
        now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
        made = [
            Message(
                id=f"{n:032x}", flow="orders", key="wanted" if n == WANTED else "other", source="", body=b"{}", time=now
            )
            for n in range(1, 101)
        ]
        self.store.commit([Accept(tuple(made))])

    async def messages(self, query: MessageQuery, *, source: str = "") -> list[MessageRow]:
        return self.store.messages(query)


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> MessageViews:
    monkeypatch.setattr(message_views, "SEARCHED_AT_ONCE", 40)
    return MessageViews(cast("Project", SimpleNamespace(flows={})), cast("Control", Reads()))


def shown(views: MessageViews, query: dict[str, str]) -> dict[str, Any]:
    return asyncio.run(views.messages(query))[1]


def test_who_looks_further_back_finds_what_is_far_back(views: MessageViews) -> None:
    query = {"key": "wanted"}
    ways = []
    while not (page := shown(views, query))["rows"]:
        ways.append(page["searched"])
        query = dict(parse_qsl(page["further"]))
    assert ways == [(61, 100), (21, 60)]
    assert page["rows"][0].seq == WANTED
    assert page["further"] == ""


def test_a_page_that_is_full_has_older_ones_and_no_further(
    views: MessageViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_views, "PAGE_SIZE", 10)
    page = shown(views, {})
    assert ([row.seq for row in page["rows"]], page["further"]) == (list(range(100, 90, -1)), "")
    assert shown(views, dict(parse_qsl(page["older"])))["rows"][0].seq == 90


def test_who_says_from_when_is_asked_nothing_more(views: MessageViews) -> None:
    page = shown(views, {"key": "wanted", "since": "2020-01-01T00:00"})
    assert ([row.seq for row in page["rows"]], page["further"]) == ([WANTED], "")
