"""Samples of what was done: rolled up, bounded, added up over processes, and kept over a restart."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sqlite3
from pathlib import Path

import msgspec
import pytest

from accord.engine.history import (
    FINE_S,
    KEPT_S,
    POINTS_MAX,
    ROLLED_S,
    SAMPLE_S,
    History,
    Span,
    by_part,
    span_s,
    together,
)
from accord.observe.metrics import Metrics
from accord.sdk.http import decode_json, encode_json

START = 1_800_000_000


class Time:
    def __init__(self) -> None:
        self.at_s = START

    def monotonic(self) -> float:
        return float(self.at_s)

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.at_s, dt.UTC)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


async def no_counts() -> dict[tuple[str, str], int]:
    return {}


def history_of(folder: Path, metrics: Metrics, clock: Time) -> History:
    return History(folder / "history.db", metrics, no_counts, clock)


def worked(metrics: Metrics, done: int, dead: int = 0, took_s: float = 0.01) -> None:
    flow = metrics.flow("orders")
    flow.attempts["done"] += done
    flow.attempts["dead"] += dead
    for _ in range(done):
        flow.duration.observe(took_s)
        flow.step("1.write").observe(took_s / 2)
    metrics.system("erp").requests["retry"] += dead


def rows(folder: Path, where: str = "1") -> int:
    with contextlib.closing(sqlite3.connect(folder / "history.db")) as db:
        return int(db.execute(f"SELECT count(*) FROM samples WHERE {where}").fetchone()[0])


def test_what_was_done_is_found_again_after_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        clock, metrics = Time(), Metrics()
        one = history_of(tmp_path, metrics, clock)
        for _ in range(12):  # two minutes
            worked(metrics, 5, 1)
            await one.sample({("orders", "held"): 3, ("orders", "waiting"): 4, ("orders", "done"): 9})
            clock.at_s += SAMPLE_S
        await one.close()
        again = history_of(tmp_path, Metrics(), clock)
        await again.sample({})  # rolls up what the other left
        for since_s in (FINE_S, 6 * 3600, 24 * 3600):
            spans = together((await again.read("flow", "orders", since_s)).values())
            assert sum(span.done for span in spans) == 60, since_s
            assert sum(span.failed for span in spans) == 12
            assert max(span.open for span in spans) == 7
            assert all(span.at % span_s(since_s) == 0 for span in spans)
            assert spans[0].quantile_s(0.5) == pytest.approx(0.01, rel=0.5)
        steps = by_part(together((await again.read("step", "orders", FINE_S)).values()))
        assert steps["1.write"].done == 60
        systems = together((await again.read("system", "erp", FINE_S)).values())
        assert sum(span.failed for span in systems) == 12
        assert await again.read("flow", "other", FINE_S) == {next(iter(await again.read("flow", "orders", 1))): []}
        await again.close()

    asyncio.run(check())


def test_processes_share_the_file_and_are_added_up(tmp_path: Path) -> None:
    async def check() -> None:
        clock, mine, other = Time(), Metrics(), Metrics()
        first, second = history_of(tmp_path, mine, clock), history_of(tmp_path, other, clock)
        worked(mine, 5)
        worked(other, 7)
        open_ = {("orders", "ready"): 4}  # of the whole journal: each tells the same
        await asyncio.gather(first.sample(open_), second.sample(open_))
        (spans,) = (await second.read("flow", "orders", FINE_S)).values()
        assert [(span.done, span.open) for span in spans] == [(12, 4)]
        await first.close()
        await second.close()

    asyncio.run(check())


def test_spans_can_be_sent_to_another_member() -> None:
    found = {"store": [Span(at=START, part="1.write", done=3, times={7: 2, 9: 1})]}
    told = decode_json(encode_json(found))
    assert msgspec.convert(told, dict[str, list[Span]], strict=False) == found


def test_the_file_does_not_grow_without_bound_and_quiet_flows_take_no_room(tmp_path: Path) -> None:
    async def check() -> None:
        clock, metrics = Time(), Metrics()
        history = history_of(tmp_path, metrics, clock)
        for _ in range(3 * FINE_S // 60):
            worked(metrics, 1)
            await history.sample({})
            clock.at_s += 60
        assert rows(tmp_path, f"period = {SAMPLE_S} AND at < {clock.at_s - FINE_S - 3 * ROLLED_S}") == 0
        kept = rows(tmp_path)
        for _ in range(50):
            await history.sample({})
            clock.at_s += SAMPLE_S
        assert rows(tmp_path) <= kept, "nothing happened"
        clock.at_s += KEPT_S + 60
        await history.sample({})
        assert rows(tmp_path) == 0
        await history.close()

    asyncio.run(check())


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no database" * 1000)

    async def check() -> None:
        clock, metrics = Time(), Metrics()
        history = history_of(tmp_path, metrics, clock)
        await history.sample({})
        worked(metrics, 3)
        await history.sample({})
        (spans,) = (await history.read("flow", "orders", FINE_S)).values()
        assert [span.done for span in spans] == [3]
        await history.close()

    asyncio.run(check())


@pytest.mark.parametrize("since_s", [1, 60, FINE_S, FINE_S + 1, 6 * 3600, KEPT_S])
def test_an_answer_has_a_bounded_number_of_points(since_s: int) -> None:
    length = span_s(since_s)
    assert since_s / length <= POINTS_MAX
    assert length % (SAMPLE_S if since_s <= FINE_S else ROLLED_S) == 0
