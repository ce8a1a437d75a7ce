"""Bounds of each system's webhooks."""

from __future__ import annotations

import io
from typing import Any

from accord.engine.admission import Bounds, Source, SystemBounds, sources_of
from accord.engine.answer import Answer
from accord.observe import Observer
from unit.engine.test_gate import HandClock


class Queue:
    def __init__(self) -> None:
        self.open_count = 0


def _sources(
    bounds: Bounds, queues: dict[str, list[Any]], own: dict[str, SystemBounds] | None = None
) -> dict[str, Source]:
    observer = Observer(stream=io.StringIO())
    return sources_of(bounds, own or {}, ["shop", "crm", "erp"], queues, observer, HandClock())


def _code(answer: Answer | None) -> tuple[int, bytes, str] | None:
    if answer is None:
        return None
    return answer.status, dict(answer.headers)[b"retry-after"], answer.body.decode().split('"code":"')[1].split('"')[0]


def test_a_backlog_is_bounded_per_system() -> None:
    orders, returns, leads = Queue(), Queue(), Queue()
    queues: dict[str, list[Any]] = {"shop": [orders, returns], "crm": [leads]}
    sources = _sources(Bounds(backlog_max=10), queues, {"crm": SystemBounds(backlog_max=3)})
    orders.open_count, returns.open_count, leads.open_count = 5, 4, 2
    assert sources["shop"].refusal() is None
    assert sources["crm"].refusal() is None
    returns.open_count, leads.open_count = 5, 3
    assert _code(sources["shop"].refusal()) == (429, b"30", "intake.backlog")
    assert _code(sources["crm"].refusal()) == (429, b"30", "intake.backlog")
    orders.open_count = 4
    assert sources["shop"].refusal() is None, "as soon as something is done"


def test_one_of_several_systems_leaves_room_for_requests_of_others() -> None:
    queues: dict[str, list[Any]] = {"shop": [Queue()], "crm": [Queue()]}
    sources = _sources(Bounds(requests_max=100), queues)
    sources["shop"].requests = 75
    assert _code(sources["shop"].refusal()) == (429, b"2", "intake.requests")
    assert sources["crm"].refusal() is None
    alone = _sources(Bounds(requests_max=100), {"shop": [Queue()]})["shop"]
    alone.requests = 99
    assert alone.refusal() is None, "a system that is the only one may have all"


def test_the_rate_is_each_systems_own() -> None:
    queues: dict[str, list[Any]] = {"shop": [Queue()], "crm": [Queue()]}
    sources = _sources(Bounds(rate_per_s=2.0), queues, {"crm": SystemBounds(rate_per_s=5.0)})
    taken = {name: [sources[name].refusal() is None for _ in range(6)].count(True) for name in ("shop", "crm")}
    assert taken == {"shop": 2, "crm": 5}
    assert _code(sources["shop"].refusal()) == (429, b"2", "intake.rate")
