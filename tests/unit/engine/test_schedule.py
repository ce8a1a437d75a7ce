"""Schedules on a clock of the test: each time once, of missed times only the last, also across restarts and clock changes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from accord.engine.accept import Acceptor
from accord.engine.dispatch import FlowQueue
from accord.engine.sources import Schedule
from accord.flow.trigger import EVERY_S_MIN, ScheduleTrigger
from accord.journal.group import Journal
from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite import SqliteStore


class HandClock:
    """Time that moves only when ``run_until`` says so; sleepers wake in order."""

    def __init__(self, start: str) -> None:
        self._now = dt.datetime.fromisoformat(start)
        self._sleepers: list[tuple[dt.datetime, asyncio.Future[None]]] = []

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + dt.timedelta(seconds=seconds), future))
        await future

    async def run_until(self, text: str, journal: Journal) -> None:
        end = dt.datetime.fromisoformat(text)
        while True:
            # a schedule that is not asleep is waiting for the journal, which answers in real time
            async with asyncio.timeout(20):
                while not self._sleepers:
                    await asyncio.sleep(0)
            wake, future = min(self._sleepers, key=lambda one: one[0])
            if wake > end:
                self._now = end
                return
            self._sleepers.remove((wake, future))
            self._now = max(self._now, wake)
            if not future.done():
                future.set_result(None)
            await asyncio.sleep(0)

    def forget(self) -> None:
        self._sleepers.clear()


def started(folder: Path, trigger: ScheduleTrigger, runs: Sequence[tuple[str, str]]) -> list[str]:
    """The times a flow was started at, when its engine runs from … until …, several times."""
    flow: Any = SimpleNamespace(name="f", triggers=(trigger,), key_of=lambda body, fallback: fallback)

    async def work() -> list[str]:
        bodies: list[bytes] = []
        for begin, end in runs:
            clock = HandClock(begin)
            journal = Journal(SqliteStore(folder / "journal.db"))
            journal.open()

            async def never(_lease: Any) -> Any:
                raise AssertionError("the queue is not started")

            queue = FlowQueue("f", journal, never, lambda _state: None)
            acceptor = Acceptor({"f": flow}, {"f": queue}, journal, clock)
            task = asyncio.create_task(Schedule(flow, trigger, acceptor, journal, clock).run())
            await clock.run_until(end, journal)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            bodies = [row.message.body for row in journal.read.messages(MessageQuery(limit=1000))]
            await journal.close()
        return [msgspec.json.decode(body)["scheduled_at"] for body in bodies]

    return asyncio.run(work())


def test_an_interval_counts_from_the_epoch_and_each_time_comes_once(tmp_path: Path) -> None:
    trigger = ScheduleTrigger(every_s=60)
    assert started(tmp_path, trigger, [("2026-01-01T10:00:30Z", "2026-01-01T10:03:10Z")]) == [
        "2026-01-01T10:01:00Z",
        "2026-01-01T10:02:00Z",
        "2026-01-01T10:03:00Z",
    ]


def test_a_restart_repeats_nothing_and_of_missed_times_only_the_last_comes(tmp_path: Path) -> None:
    trigger = ScheduleTrigger(every_s=60)
    runs = [
        ("2026-01-01T10:00:30Z", "2026-01-01T10:02:00Z"),
        ("2026-01-01T10:02:00Z", "2026-01-01T10:02:30Z"),  # at once again: nothing new
        ("2026-01-01T11:17:30Z", "2026-01-01T11:18:00Z"),  # 75 times missed
    ]
    assert started(tmp_path, trigger, runs) == [
        "2026-01-01T10:01:00Z",
        "2026-01-01T10:02:00Z",
        "2026-01-01T11:17:00Z",
        "2026-01-01T11:18:00Z",
    ]


def test_cron_follows_the_clocks_of_its_zone(tmp_path: Path) -> None:
    trigger = ScheduleTrigger(cron="30 9 * * *", zone="Europe/Berlin")
    assert started(tmp_path, trigger, [("2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z")]) == [
        "2026-03-28T08:30:00Z",
        "2026-03-29T07:30:00Z",
        "2026-03-30T07:30:00Z",
    ]


def test_a_time_the_clocks_skip_comes_right_after_and_a_repeated_one_once(tmp_path: Path) -> None:
    trigger = ScheduleTrigger(cron="30 2 * * *", zone="Europe/Berlin")
    (tmp_path / "spring").mkdir()
    (tmp_path / "autumn").mkdir()
    assert started(tmp_path / "spring", trigger, [("2026-03-28T20:00:00Z", "2026-03-29T20:00:00Z")]) == [
        "2026-03-29T01:00:00Z"
    ]
    assert started(tmp_path / "autumn", trigger, [("2026-10-24T20:00:00Z", "2026-10-25T20:00:00Z")]) == [
        "2026-10-25T00:30:00Z"
    ]


def test_of_missed_cron_times_only_the_last_comes_however_long_ago(tmp_path: Path) -> None:
    daily = ScheduleTrigger(cron="0 2 * * *", zone="UTC")
    (tmp_path / "daily").mkdir()
    (tmp_path / "yearly").mkdir()
    runs = [("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"), ("2026-01-09T12:00:00Z", "2026-01-10T03:00:00Z")]
    assert started(tmp_path / "daily", daily, runs) == [
        "2026-01-01T02:00:00Z",
        "2026-01-09T02:00:00Z",
        "2026-01-10T02:00:00Z",
    ]
    yearly = ScheduleTrigger(cron="0 2 1 3 *", zone="UTC")
    runs = [("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), ("2028-09-09T00:00:00Z", "2028-09-09T01:00:00Z")]
    assert started(tmp_path / "yearly", yearly, runs) == ["2028-03-01T02:00:00Z"]


@given(
    st.floats(EVERY_S_MIN, 100_000).map(lambda seconds: round(seconds, 6)),
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),
)
@example(0.3, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
@example(0.7, dt.datetime(2026, 1, 1, 0, 0, 0, 600001, tzinfo=dt.UTC))
def test_the_next_time_of_an_interval_is_always_later_and_never_skips_one(every_s: float, instant: dt.datetime) -> None:
    trigger = ScheduleTrigger(every_s=every_s)
    first = trigger.after(instant)
    second = trigger.after(first)
    assert instant < first <= instant + dt.timedelta(seconds=every_s)
    assert second - first == dt.timedelta(seconds=every_s)
