"""The map of systems and flows as SVG. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from accord.flow.flow import Flow
from accord.flow.trigger import ScheduleTrigger

WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP = 960, 230, 58, 18
LEFT, MIDDLE, RIGHT = 10, (WIDTH - BOX_WIDTH) // 2, WIDTH - BOX_WIDTH - 10


class Lines(msgspec.Struct, frozen=True):
    """The systems a flow starts from and those it changes or asks, in order. A schedule starts from '(time)'."""

    flow: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]


def lines_of(flows: Mapping[str, Flow]) -> list[Lines]:
    found = []
    for name, flow in flows.items():
        starts = [
            "(time)" if isinstance(trigger, ScheduleTrigger) else trigger.entity.partition(".")[0]
            for trigger in flow.triggers
        ]
        changed = [effect.system for effect in flow.effects]
        asked = sorted(flow.systems - set(starts) - set(changed))
        found.append(Lines(name, tuple(dict.fromkeys(starts)), tuple(dict.fromkeys([*changed, *asked]))))
    return found


def draw_map(lines: Sequence[Lines], flows: Mapping[str, Any], systems: Mapping[str, Any]) -> str:
    """``flows`` and ``systems``: views by name with ``state`` (well, busy, sick, paused), ``line`` (a few words) and ``tip`` (all that is
    known, for who points at it or hears the page)."""
    left = list(dict.fromkeys(source for one in lines for source in one.sources))
    right = list(dict.fromkeys(target for one in lines for target in one.targets))
    columns = ((left, LEFT, "system"), ([one.flow for one in lines], MIDDLE, "flow"), (right, RIGHT, "system"))
    rows = max((len(names) for names, _, _ in columns), default=1)
    height = rows * (BOX_HEIGHT + GAP) + GAP
    places = [_places(names, height) for names, _, _ in columns]
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="group" aria-label="Systems and the flows between them" class="map">'
    ]
    for one in lines:
        at = places[1][one.flow]
        state = flows[one.flow]["state"]
        ends = [(name, LEFT + BOX_WIDTH, places[0][name], MIDDLE, at) for name in one.sources]
        ends += [(name, MIDDLE + BOX_WIDTH, at, RIGHT, places[2][name]) for name in one.targets]
        for name, *path in ends:
            system = systems[name]["state"] if name in systems else "well"
            shown = system if system in ("sick", "paused") else state
            marks = f'data-of="flow:{escape(one.flow)}" data-end="system:{escape(name)}"'
            mark = escape(edge_mark(one.flow, name))
            tip = edge_tip(flows[one.flow], systems.get(name))
            parts.append(_edge(path, shown, marks, f'<title data-of="{mark}" data-figure="tip">{escape(tip)}</title>'))
    for (names, x, kind), column in zip(columns, places, strict=True):
        views = flows if kind == "flow" else systems
        parts += [_box(name, x, column[name], kind, views.get(name)) for name in names]
    return "".join([*parts, "</svg>"])


def edge_mark(flow: str, system: str) -> str:
    """By which the page's script finds what is said of an edge."""
    return f"edge:{flow}/{system}"


def edge_tip(flow: Mapping[str, Any], system: Mapping[str, Any] | None) -> str:
    """Between a flow and a system; None: a flow and the clock."""
    return f"{flow['tip']}. {system['tip']}" if system is not None else f"{flow['tip']}. Starts by the clock"


def _places(names: Sequence[str], height: int) -> dict[str, float]:
    """The middle of each box, evenly spread."""
    step = height / max(1, len(names))
    return {name: step * (at + 0.5) for at, name in enumerate(names)}


def _edge(ends: Sequence[float], state: str, marks: str, title: str) -> str:
    """As sick or paused as its system, else as its flow. ``marks``: attributes by which the page's script finds it."""
    x1, y1, x2, y2 = ends
    bend = (x2 - x1) / 2
    path = f"M{x1:.0f} {y1:.0f} C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" class="edge {state}" data-state="edge" {marks} role="img">{title}</path>'


def _box(name: str, x: float, y: float, kind: str, view: Any) -> str:
    state, words = (view["state"], view["line"]) if view else ("well", "")
    top = y - BOX_HEIGHT / 2
    mark = f'data-of="{kind}:{escape(name)}"'
    text = (
        f'<rect x="{x}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{8 if kind == "flow" else 26}"'
        f' class="{kind} {state}" data-state="{kind}" {mark}/>'
        f'<text x="{x + BOX_WIDTH / 2}" y="{y - 4:.0f}" class="name">{escape(_short(name, 26))}</text>'
        f'<text x="{x + BOX_WIDTH / 2}" y="{y + 16:.0f}" class="words" {mark} data-figure="line">{escape(_short(words, 30))}</text>'
    )
    if view is None:
        return f"<g>{text}</g>"
    return f'<a href="/monitor/{kind}s/{escape(name)}"><title {mark} data-figure="tip">{escape(view["tip"])}</title>{text}</a>'


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
