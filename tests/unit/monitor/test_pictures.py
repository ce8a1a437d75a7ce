"""Causes of dead letters, the map, charts and rates."""

from __future__ import annotations

import datetime as dt
from typing import Any
from xml.etree import ElementTree

from accord.engine.control_views import DeadLetterView
from accord.engine.history import HistoryView, Point
from accord.monitor.causes import causes_of, shape_of
from accord.monitor.charts import charts_of
from accord.monitor.drawing import Lines, draw_map
from accord.monitor.rates import RATE_OVER_S, Rates

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def letter(seq: int, reason: str, **given: str) -> DeadLetterView:
    told = {"flow": "f", "key": "k", "source": "a.b", "step": "1.write", "code": "c", "path": "", **given}
    return DeadLetterView(seq=seq, id=str(seq), at=NOW, reason=reason, attempts=1, record={}, **told)


def test_letters_of_one_cause_differ_only_in_values() -> None:
    assert shape_of("order #1001 of 'Ada' is 12.50") == shape_of("order #7 of 'Bob' is 0")
    causes = causes_of(
        [
            letter(3, "404: no item 'A-1'"),
            letter(1, "404: no item 'B-2'"),
            letter(2, "409: taken"),
            letter(4, "404: no item 'B-2'", step="2.write"),
        ]
    )
    assert [cause.seqs for cause in causes] == [(3, 1), (2,), (4,)]
    assert len({cause.id for cause in causes}) == 3


def test_the_map_is_well_formed_whatever_things_are_called() -> None:
    name = "<b>&\"'"
    view = {"state": "sick", "line": "<script>alert(1)</script> " + "x" * 60, "tip": f"{name}: p95 2 s"}
    picture = draw_map([Lines("flow", (name, "(time)"), (name, "other"))], {"flow": view}, {name: view})
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter("text")]
    assert name in texts
    assert not list(root.iter("script"))
    assert len(list(root.iter("path"))) == 4
    titles = [element.text for element in root.iter("title")]
    assert titles.count(f"{name}: p95 2 s. {name}: p95 2 s") == 2, "an edge tells of its flow and its system"
    assert titles.count(f"{name}: p95 2 s") == 3
    assert ElementTree.fromstring(draw_map([], {}, {})) is not None


def view_of(points: list[Point], name: str = "orders", until: int = 3_600) -> HistoryView:
    return HistoryView(kind="flow", name=name, since=0, until=until, span_s=30, points=points, steps={})


def point(at: int, **given: Any) -> Point:
    told = {"done": 0, "failed": 0, "retried": 0, "open": 0, "p50_s": None, "p95_s": None, "p99_s": None, **given}
    return Point(at=at, **told)


def test_charts_tell_the_same_to_the_eye_and_in_words() -> None:
    name = "<b>&\"'"
    points = [point(600, done=300, p50_s=0.01), point(630, done=600, p50_s=0.02, failed=2), point(1200, done=3)]
    charts = [ElementTree.fromstring(chart) for chart in charts_of(view_of(points, name))]
    titles = [chart.find("svg/title") for chart in charts]
    assert all(title is not None and name in (title.text or "") for title in titles)
    throughput, times = charts[0], charts[1]
    assert "at most 20" in (throughput.findtext("svg/desc") or "")
    rows = [[cell.text for cell in row] for row in throughput.iter("tr")]
    assert rows[1:3] == [["00:10", "10"], ["00:10", "20"]]
    assert len([path for path in times.iter("path") if "s0" in path.get("class", "")]) == 1, "a line without its gaps"
    assert len([path for path in throughput.iter("path") if "line" in path.get("class", "")]) == 1
    drawn = next(path.get("d", "") for path in throughput.iter("path") if "line" in path.get("class", ""))
    assert drawn.count("L") == 120, "nothing done is a zero"
    heights = [float(place.split()[1]) for place in drawn[1:].split("L")]
    assert min(heights) == 8.0, "20 a second is the top"


def test_charts_of_nothing_are_charts() -> None:
    for chart in charts_of(view_of([])):
        assert "Nothing happened" in "".join(ElementTree.fromstring(chart).itertext())


class Clock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


def test_rates_are_of_the_last_moments_and_never_negative() -> None:
    clock = Clock()
    rates = Rates(None, clock)  # type: ignore[arg-type]
    assert rates.rate_per_s("f") == 0.0
    for at_s, done in ((0, 0), (30, 60_000), (30 + RATE_OVER_S / 2, 60_000), (30 + RATE_OVER_S, 60_300)):
        clock.at_s = at_s
        rates.add({"f": done})
    assert rates.rate_per_s("f") == 300 / RATE_OVER_S
    clock.at_s += 1
    rates.add({"f": 10})  # retention has removed the others
    assert rates.rate_per_s("f") == 0.0
