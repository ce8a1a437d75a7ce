"""Charts as SVG: lines over time with a title, a legend and the same figures as a table, for those who do not see them. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from html import escape

import msgspec

from accord.engine.history import HistoryView, Point

WIDTH, HEIGHT = 560, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 22  # room for what is written at the axes
TICKS = 4
TABLE_ROWS_MAX = 60


class Line(msgspec.Struct, frozen=True):
    """``value`` None: nothing to draw there."""

    label: str
    value: Callable[[Point], float | None]


class Chart(msgspec.Struct, frozen=True):
    """``is_level``: where nothing happened the value is not known, else it is 0. ``show``: a value in words."""

    title: str
    lines: tuple[Line, ...]
    show: Callable[[float], str]
    is_level: bool = False


def charts_of(view: HistoryView) -> list[str]:
    """Throughput, times, what is open, errors: each a figure in HTML."""
    span_s, noun = view.span_s, "requests" if view.kind == "system" else "messages"
    charts = [
        Chart(f"{noun.capitalize()} a second", (Line("done", lambda p: p.done / span_s),), _rate),
        Chart(
            "How long they took",
            (Line("p50", lambda p: p.p50_s), Line("p95", lambda p: p.p95_s), Line("p99", lambda p: p.p99_s)),
            seconds,
            is_level=True,
        ),
        Chart(
            "Errors in each span",
            (Line("failed", lambda p: p.failed), Line("to be repeated", lambda p: p.retried)),
            _count,
        ),
    ]
    if view.kind == "flow":
        charts.insert(2, Chart("Open messages, at most", (Line("open", lambda p: p.open),), _count))
    return [draw_chart(chart, view, f"chart-{at}") for at, chart in enumerate(charts)]


def draw_chart(chart: Chart, view: HistoryView, id_: str) -> str:
    """``id_``: unique on the page."""
    spans = _spans(view)
    series = [[(at, _value(line, point, chart.is_level)) for at, point in spans] for line in chart.lines]
    highest = _nice(max((value for one in series for _, value in one if value is not None), default=0.0))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{id_}-title {id_}-desc" class="chart">',
        f'<title id="{id_}-title">{escape(chart.title)} of {escape(view.kind)} {escape(view.name)}</title>',
        f'<desc id="{id_}-desc">{escape(_described(chart, view, series))}</desc>',
        *_grid(chart, view, highest),
    ]
    for number, one in enumerate(series):
        parts += [f'<path d="{path}" class="line s{number}"/>' for path in _paths(one, view, highest)]
    legend = "".join(f'<li class="s{at}">{escape(line.label)}</li>' for at, line in enumerate(chart.lines))
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{"".join(parts)}</svg>'
        f'<ul class="legend">{legend}</ul>{_table(chart, view)}</figure>'
    )


def _spans(view: HistoryView) -> list[tuple[int, Point | None]]:
    """Every span of the time, with its point if something happened in it."""
    found = {point.at: point for point in view.points}
    first = view.since // view.span_s * view.span_s
    return [(at, found.get(at)) for at in range(first, view.until + 1, view.span_s)]


def _value(line: Line, point: Point | None, is_level: bool) -> float | None:
    if point is None:
        return None if is_level else 0.0
    return line.value(point)


def _paths(series: Sequence[tuple[int, float | None]], view: HistoryView, highest: float) -> list[str]:
    """One path for each stretch without a gap."""
    stretches: list[list[str]] = [[]]
    for at, value in series:
        if value is None:
            stretches.append([])
        else:
            stretches[-1].append(f"{_x(at, view):.1f} {_y(value, highest):.1f}")
    return [f"M{points[0]}h2" if len(points) == 1 else "M" + "L".join(points) for points in stretches if points]


def _x(at: float, view: HistoryView) -> float:
    return LEFT + max(0.0, (at - view.since) / max(1, view.until - view.since)) * (WIDTH - LEFT - RIGHT)


def _y(value: float, highest: float) -> float:
    return TOP + (1 - value / highest) * (HEIGHT - TOP - BOTTOM)


def _grid(chart: Chart, view: HistoryView, highest: float) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(highest * share, highest)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="left">{escape(chart.show(highest * share))}</text>')
    for tick in range(TICKS + 1):
        at = view.since + (view.until - view.since) * tick / TICKS
        place = "first" if not tick else "last" if tick == TICKS else ""
        parts.append(f'<text x="{_x(at, view):.1f}" y="{HEIGHT - 6}" class="under {place}">{_clock(at)}</text>')
    return parts


def _described(chart: Chart, view: HistoryView, series: Sequence[Sequence[tuple[int, float | None]]]) -> str:
    words = []
    for line, one in zip(chart.lines, series, strict=True):
        known = [value for _, value in one if value is not None]
        if known:
            words.append(f"{line.label}: at most {chart.show(max(known))}, lately {chart.show(known[-1])}")
    return f"From {_clock(view.since)} to {_clock(view.until)} UTC. " + ("; ".join(words) or "Nothing happened.")


def _table(chart: Chart, view: HistoryView) -> str:
    head = "".join(f'<th scope="col">{escape(line.label)}</th>' for line in chart.lines)
    rows = []
    for point in view.points[-TABLE_ROWS_MAX:]:
        cells = [(line.value(point)) for line in chart.lines]
        shown = "".join(f"<td>{escape('' if value is None else chart.show(value))}</td>" for value in cells)
        rows.append(f'<tr><th scope="row">{_clock(point.at)}</th>{shown}</tr>')
    body = "".join(rows) or f'<tr><td colspan="{len(chart.lines) + 1}">Nothing happened.</td></tr>'
    return (
        f"<details><summary>Figures: {escape(chart.title)}</summary>"
        f'<table><thead><tr><th scope="col">from (UTC)</th>{head}</tr></thead><tbody>{body}</tbody></table></details>'
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 … (or 0.5, 0.2 …); 1 for nothing."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value * (1 - 1e-9))


def _clock(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M")


def seconds(value: float) -> str:
    if value and value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
