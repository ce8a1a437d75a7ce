"""A message's attempts over time as SVG: one row each, with the requests it made. Pure; the table beside it says the same in words."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from html import escape

from accord.engine.attempts import AttemptView

WIDTH, ROW, LABEL, BAR = 960, 22, 250, 12
ROWS_MAX = 100
WIDTH_MIN = 2.0  # of a bar, so that the shortest is seen


def draw_waterfall(accepted_at: dt.datetime, ended_at: dt.datetime | None, attempts: Sequence[AttemptView]) -> str:
    """'' when there is nothing to draw. Waits may be hours and attempts milliseconds, so time is drawn by its logarithm."""
    shown = attempts[:ROWS_MAX]
    if not shown:
        return ""
    ends = [(one.at - accepted_at).total_seconds() + one.took_s for one in shown]
    if ended_at is not None:
        ends.append((ended_at - accepted_at).total_seconds())
    longest = max(0.001, *ends)
    height = ROW * len(shown) + 4
    rows = [_row(number, one, accepted_at, longest) for number, one in enumerate(shown)]
    label = f"{len(shown)} attempts within {longest:.3f} s, time by its logarithm"
    return (
        f'<svg class="waterfall" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(rows)
        + "</svg>"
    )


def _row(number: int, one: AttemptView, accepted_at: dt.datetime, longest: float) -> str:
    began = (one.at - accepted_at).total_seconds()
    y = number * ROW + 2
    parts = [
        f'<text x="0" y="{y + BAR}">{escape(one.path[:34])}</text>',
        _bar(began, began + one.took_s, y, longest, one.outcome),
    ]
    parts += [
        _bar(began + each.began_s, began + each.began_s + each.took_s, y, longest, "request") for each in one.exchanges
    ]
    return "".join(parts)


def _bar(began_s: float, ended_s: float, y: int, longest: float, kind: str) -> str:
    left, right = _x(began_s, longest), _x(ended_s, longest)
    top, height = (y + 4, BAR - 8) if kind == "request" else (y, BAR)
    width = max(WIDTH_MIN, right - left)
    return f'<rect class="{escape(kind)}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{height}"/>'


def _x(seconds: float, longest: float) -> float:
    """Milliseconds by their logarithm, so that both a request of 3 ms and a wait of an hour are seen."""
    share = math.log1p(max(0.0, seconds) * 1000) / math.log1p(longest * 1000)
    return LABEL + share * (WIDTH - LABEL - WIDTH_MIN)
