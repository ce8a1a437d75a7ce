"""Causes of dead letters, the map, bars and rates."""

from __future__ import annotations

import datetime as dt
from xml.etree import ElementTree

from accord.engine.control import DeadLetterView
from accord.monitor.causes import causes_of, shape_of
from accord.monitor.drawing import Lines, draw_bars, draw_map
from accord.monitor.history import RATE_OVER_S, History

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
    view = {"state": "sick", "line": "<script>alert(1)</script> " + "x" * 60}
    picture = draw_map([Lines("flow", (name, "(time)"), (name, "other"))], {"flow": view}, {name: view})
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter("text")]
    assert name in texts
    assert not list(root.iter("script"))
    assert len(list(root.iter("path"))) == 4
    assert ElementTree.fromstring(draw_map([], {}, {})) is not None


def test_bars_are_as_high_as_their_rates() -> None:
    root = ElementTree.fromstring(draw_bars([0.0, 5.0, 10.0], label='a "label"', height=40))
    assert [float(bar.get("height", "-1")) for bar in root.iter("rect")] == [0.0, 20.0, 40.0]
    assert list(ElementTree.fromstring(draw_bars([], label="none")).iter("rect")) == []


class Clock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


def test_rates_are_of_the_last_moments_and_never_negative() -> None:
    clock = Clock()
    history = History(None, clock)  # type: ignore[arg-type]
    assert history.rate_per_s("f") == 0.0
    for at_s, done in ((0, 0), (60, 60_000), (60 + RATE_OVER_S / 2, 60_000), (60 + RATE_OVER_S, 60_300)):
        clock.at_s = at_s
        history.add({"f": done})
    assert history.rate_per_s("f") == 300 / RATE_OVER_S
    clock.at_s += 1
    history.add({"f": 10})  # retention has removed the others
    assert history.bars("f")[-1] == 0.0
    assert history.bars("f")[0] == 1000.0
