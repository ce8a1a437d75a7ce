"""The crash laboratory itself, and a short run of it: every crash point, every kind of target, also through a bad network."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.servers import need_nats, need_postgres

from accord.observe.crash_points import POINTS
from accord.testing.crash import Plan, run_laboratory
from accord.testing.crash.jetstream import ALL, LEADER, MACHINE, ONE
from accord.testing.crash.laboratory import Report
from accord.testing.crash.postgresql import KILLED, STOPPED
from accord.testing.proxy import EVERY_TOXIC

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]


def _held(report: Report) -> None:
    assert report.faults == [], report.table()
    for name, one in report.tallies.items():
        assert one.sent > 0, f"nothing went to {name}"
        assert one.recorded >= one.sent


@pytest.mark.timeout(280)
def test_killed_at_every_point_nothing_is_lost_repeated_or_out_of_order(tmp_path: Path) -> None:
    report = asyncio.run(run_laboratory(tmp_path, Plan(kills=len(POINTS) + 40, messages=3000, seed=int(time.time()))))
    _held(report)
    assert sum(report.kills.values()) == len(POINTS) + 40
    assert report.points_missed == []
    assert report.tallies["plain"].duplicated > 0, (
        "nothing was repeated where it may be, so the zeros elsewhere prove nothing"
    )


@pytest.mark.server
@pytest.mark.timeout(200)
def test_with_a_journal_in_postgresql_that_dies_as_well_the_counts_are_the_same(tmp_path: Path) -> None:
    need_postgres()
    points = tuple(point for point in POINTS if point.startswith(("commit.", "migrate.", "settle.")))
    plan = Plan(kills=26, messages=1000, points=points, seed=int(time.time()))
    report = asyncio.run(run_laboratory(tmp_path, plan, store="postgresql"))
    _held(report)
    assert report.points_missed == []
    assert report.kills[STOPPED] + report.kills[KILLED] >= 4
    assert report.tallies["plain"].duplicated > 0


@pytest.mark.server
@pytest.mark.timeout(200)
def test_with_a_journal_in_jetstream_whose_servers_and_machine_are_lost_the_counts_are_the_same(tmp_path: Path) -> None:
    need_nats()
    points = ("commit.begun", "commit.applied", "commit.after-sync", "settle.after-commit", "start.journal-open")
    plan = Plan(kills=len(points) + 4, messages=2000, points=points, seed=int(time.time()))
    report = asyncio.run(run_laboratory(tmp_path, plan, store="jetstream"))
    _held(report)
    assert {ONE, LEADER, ALL, MACHINE} <= set(report.kills)
    assert report.tallies["plain"].duplicated > 0


@pytest.mark.server
@pytest.mark.timeout(200)
def test_two_engines_on_one_journal_killed_in_turn_lose_and_repeat_nothing(tmp_path: Path) -> None:
    need_postgres()
    points = ("commit.before-sync", "commit.after-sync", "send.under-way", "settle.after-commit", "drain.begun")
    plan = Plan(kills=9, messages=500, points=points, nodes=2, seed=int(time.time()))
    report = asyncio.run(run_laboratory(tmp_path, plan, store="postgresql"))
    _held(report)
    assert sum(report.kills.get(point, 0) for point in points) >= len(points) - 1
    assert report.kills[STOPPED] + report.kills[KILLED] >= 2


@pytest.mark.timeout(200)
def test_through_a_bad_network_the_counts_are_the_same(tmp_path: Path) -> None:
    points = ("send.under-way", "send.answered", "save.before-commit", "settle.before-commit")
    plan = Plan(kills=20, messages=1000, points=points, drop=0.0, busy=0.0, toxics=EVERY_TOXIC)
    report = asyncio.run(run_laboratory(tmp_path, plan))
    _held(report)
    assert len(report.network) >= 5, report.network
