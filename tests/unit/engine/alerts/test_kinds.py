"""Each kind of alert fires when its condition holds and is over when it does not; the clock is moved by hand."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accord.engine.alerts.arrivals import LATE_MAX
from accord.engine.alerts.hours import within_hours
from accord.journal.operations import State
from accord.settings.alert_spec import AlertSpec
from unit.engine.alerts.desk import BEGIN, Desk

MARKED = b'{"email": "marked.person@planted.example"}'


def run(spec: AlertSpec, story: Callable[[Desk], Awaitable[None]]) -> Desk:
    async def main() -> Desk:
        desk = Desk([spec])
        await story(desk)
        for view in await desk.alerts.view():
            assert "marked.person" not in str(view)
        assert "marked.person" not in desk.log.getvalue()
        return desk

    return asyncio.run(main())


def spec(when: Any, **more: Any) -> AlertSpec:
    minutes = {name: dt.timedelta(minutes=more.pop(name)) for name in ("within", "for_") if name in more}
    return AlertSpec(alert="watched", when=when, **minutes, **more)


def test_quality_of_the_last_run():
    async def story(desk: Desk) -> None:
        assert await desk.look() == []
        desk.figures.differences = ["status: new values 'marked.person@planted.example' (new_values)"]
        assert await desk.look(seconds=10) == ["nightly"]
        desk.figures.differences = []
        assert await desk.look(seconds=10) == []

    run(spec("quality", flow="nightly"), story)


def test_dead_letters():
    async def story(desk: Desk) -> None:
        desk.figures.dead = 2
        assert await desk.look() == []
        desk.figures.dead = 3
        assert await desk.look(seconds=10) == ["orders"]
        desk.figures.dead = 0
        assert await desk.look(seconds=10) == []

    desk = run(spec("dead_letters", above=2), story)
    assert "alert.firing alert=watched subject=orders" in desk.log.getvalue()
    assert "alert.over alert=watched" in desk.log.getvalue()


def test_for_is_waited():
    async def story(desk: Desk) -> None:
        desk.figures.dead = 1
        assert await desk.look() == []
        assert await desk.look(minutes=4) == []
        desk.figures.dead = 0
        assert await desk.look(minutes=2) == [], "it was over before anybody had to hear of it"
        desk.figures.dead = 1
        assert await desk.look(minutes=1) == []
        assert await desk.look(minutes=5) == ["orders"]

    desk = run(spec("dead_letters", for_=5), story)
    assert desk.log.getvalue().count("alert.over") == 0


def test_error_rate():
    async def story(desk: Desk) -> None:
        attempts = desk.figures.counted.flow("orders").attempts
        assert await desk.look() == []
        attempts.update(done=95, dead=5)
        assert await desk.look(minutes=1) == [], "5 % are no more than 5"
        attempts.update(dead=5)
        assert await desk.look(minutes=1) == ["orders"]
        attempts.update(done=100)
        assert await desk.look(minutes=9) == [], "what lies back longer does not count"
        attempts.update(dead=3)
        assert await desk.look(minutes=11) == [], "three messages are too few for a share"

    run(spec("error_rate", flow="orders", within=10, above=5), story)


def test_oldest_waiting():
    async def story(desk: Desk) -> None:
        desk.figures.oldest = {"orders": 600.0}
        assert await desk.look() == []
        desk.figures.oldest = {"orders": 601.0}
        assert await desk.look() == ["orders"]
        desk.figures.oldest = {}
        assert await desk.look() == []

    run(spec("oldest_waiting", within=10), story)


def test_breaker_open():
    async def story(desk: Desk) -> None:
        assert await desk.look() == []
        desk.figures.is_well = False
        assert await desk.look() == []
        assert await desk.look(minutes=2) == ["erp"]
        desk.figures.is_well = True
        assert await desk.look() == []

    run(spec("breaker_open", system="erp", for_=1), story)


def test_silence_counts_business_hours_only():
    async def story(desk: Desk) -> None:
        assert await desk.look() == []  # Monday, 10:00 in Berlin
        await desk.accept("1", MARKED)
        assert await desk.look(minutes=10) == []
        assert await desk.look(minutes=29) == []
        assert await desk.look(minutes=1) == ["orders"]
        await desk.accept("2", MARKED)
        assert await desk.look(minutes=1) == []
        assert await desk.look(hours=7) == ["orders"]  # in the evening it is still so
        await desk.accept("3", MARKED)
        assert await desk.look(hours=4) == []
        assert await desk.look(hours=10) == [], "nobody orders at night"

    run(spec("silence", flow="orders", within=30, hours="08:00-18:00", weekdays=["mon", "tue"]), story)


def test_silence_outlives_a_restart():
    async def story(desk: Desk) -> None:
        await desk.look()
        assert await desk.look(minutes=31) == ["orders"]
        desk.restart()
        desk.figures.counted = type(desk.figures.counted)()
        assert await desk.look(minutes=1) == ["orders"], "a restart is no order"
        await desk.accept("1")
        assert await desk.look(minutes=1) == []

    run(spec("silence", flow="orders", within=30), story)


def test_missing():
    async def story(desk: Desk) -> None:
        stuck, booked, filtered = [await desk.accept(id, MARKED) for id in ("stuck", "booked", "filtered")]
        await desk.settle(stuck, State.WAITING, "stock")
        await desk.settle(booked, State.READY, "stock", "book")
        await desk.settle(filtered, State.DONE)
        assert await desk.look(minutes=9) == []
        assert await desk.look(minutes=2) == ["orders"]
        (view,) = await desk.alerts.view()
        assert view.active[0].text == "1 message of flow orders not in books.invoices after 10m"
        await desk.settle(stuck, State.DONE, "book")
        assert await desk.look(minutes=1) == []

    run(spec("missing", flow="orders", reaches="books.invoices", within=10), story)


def test_missing_in_what_another_flow_writes():
    async def story(desk: Desk) -> None:
        seqs = {
            id: await desk.accept(id, MARKED, flow="paid") for id in ("by-erp", "by-key", "direct", "open", "filtered")
        }
        for id in ("by-erp", "by-key", "direct"):
            await desk.settle(seqs[id], State.DONE, "0")
        await desk.settle(seqs["open"], State.WAITING)
        await desk.settle(seqs["filtered"], State.DONE, reason="filtered by step 0")
        await desk.refer(("shop.orders", "by-erp", "erp.orders", "E1"))
        assert await desk.look(minutes=9) == []
        assert await desk.look(minutes=2) == ["paid"]
        desk.restart()
        (view,) = await desk.alerts.view()
        assert view.active[0].text == "4 messages of flow paid not in ledger.invoices after 10m"
        await desk.refer(
            ("erp.orders", "E1", "ledger.invoices", "I1"), ("erp.orders", "by-key", "ledger.invoices", "I2")
        )
        assert await desk.look(minutes=1) == ["paid"]
        await desk.refer(("ledger.invoices", "I3", "shop.orders", "direct"))
        assert await desk.look(minutes=1) == ["paid"], "one is still open"
        await desk.settle(seqs["open"], State.DONE, reason="cancelled")
        assert await desk.look(minutes=1) == []
        await desk.accept("late", MARKED, flow="paid")
        assert await desk.look(minutes=9) == []
        assert await desk.look(minutes=2) == ["paid"]
        assert await desk.look(hours=25) == [], "somebody was told for a day"

    run(spec("missing", flow="paid", reaches="ledger.invoices", within=10), story)


def test_of_many_missing_it_says_at_least_and_none_is_passed_over():
    async def story(desk: Desk) -> None:
        count = LATE_MAX + 50
        for number in range(count):
            await desk.settle(await desk.accept(str(number), flow="paid"), State.DONE, "0")
        assert await desk.look(minutes=11) == ["paid"]
        (view,) = await desk.alerts.view()
        assert view.active[0].text.startswith(f"at least {LATE_MAX} messages")
        await desk.refer(*(("shop.orders", str(number), "ledger.invoices", str(number)) for number in range(count - 1)))
        assert await desk.look(minutes=1) == ["paid"]
        (view,) = await desk.alerts.view()
        assert view.active[0].text.startswith("1 message of flow paid")
        await desk.refer(("shop.orders", str(count - 1), "ledger.invoices", "x"))
        assert await desk.look(minutes=1) == []

    run(spec("missing", flow="paid", reaches="ledger.invoices", within=10), story)


@pytest.mark.parametrize(
    ("begin", "end", "minutes"),
    [
        ("2026-03-02T06:00", "2026-03-02T08:00", 60),  # 07:00 to 09:00 in Berlin
        ("2026-03-06T16:30", "2026-03-09T07:15", 45),  # over a weekend
        ("2026-03-28T00:00", "2026-03-30T07:00", 60),  # over the change to summer time: 08:00 is 06:00 UTC then
        ("2026-03-07T00:00", "2026-03-08T23:00", 0),
    ],
)
def test_how_much_lies_in_business_hours(begin: str, end: str, minutes: int):
    hours = spec("silence", flow="f", within=1, hours="08:00-18:00", weekdays=["mon", "tue", "wed", "thu", "fri"])
    times = [dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in (begin, end)]
    assert within_hours(*times, hours, "Europe/Berlin") == dt.timedelta(minutes=minutes)


def test_a_day_without_hours_is_whole():
    whole = spec("silence", flow="f", within=1)
    assert within_hours(BEGIN, BEGIN + dt.timedelta(days=3), whole, "Europe/Berlin") == dt.timedelta(days=3)
