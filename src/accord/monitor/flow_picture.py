"""A flow's steps as a picture: one under the other, inner ones indented, effects with their guarantee and times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from accord.engine.history import Point
from accord.flow.flow import Flow
from accord.monitor.charts import seconds

WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP, INDENT = 640, 440, 46, 18, 36
TEXT_MAX = 58  # characters that fit into a box
STEPS_MAX = 200  # drawn; the declaration shows all


def draw_steps(flow: Flow, times: Mapping[str, Point]) -> str:
    """``times``: of the effects that were tried, by path."""
    steps = sorted(flow.shapes.items(), key=lambda step: (step[1].place.line, step[0]))[:STEPS_MAX]
    effects = {effect.path: effect for effect in flow.effects}
    height = len(steps) * (BOX_HEIGHT + GAP) + GAP
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" class="steps"'
        f' aria-label="Steps of flow {escape(flow.name)}, from top to bottom">'
    ]
    before: tuple[int, int] | None = None
    for number, (path, shape) in enumerate(steps):
        x, y = 10 + INDENT * _depth(path), GAP + number * (BOX_HEIGHT + GAP)
        if before is not None:
            parts.append(f'<path d="M{before[0] + 20} {before[1]}V{y - GAP / 2}H{x + 20}V{y}" class="edge"/>')
        effect, told = effects.get(path), times.get(path)
        words = [shape.written[key] for key in ("mapping",) if key in shape.written]
        words += [f"when {shape.written['when']}"] if "when" in shape.written else []
        words += [effect.guarantee] if effect is not None else []
        words += [f"p95 {seconds(told.p95_s)}"] if told is not None and told.p95_s is not None else []
        kind = "inner" if effect is None else "effect" if effect.is_exactly_once else "effect paused"
        name = f"{shape.kind} {shape.written.get(shape.kind, '')}".strip()
        parts.append(
            f"<g><title>{escape(path)}: {escape(', '.join([name, *words]))}</title>"
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" class="{kind}"/>'
            f'<text x="{x + 12}" y="{y + 19}" class="name">{escape(_short(name))}</text>'
            f'<text x="{x + 12}" y="{y + 37}" class="words">{escape(_short(", ".join(words)))}</text></g>'
        )
        before = (x, y + BOX_HEIGHT)
    return "".join([*parts, "</svg>"])


def _depth(path: str) -> int:
    """``3.split[].0.call`` is in another step, ``3.split`` is not."""
    return min(path.count(".") // 2, (WIDTH - BOX_WIDTH) // INDENT - 1)


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
