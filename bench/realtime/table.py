"""Medians of the runs, as a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from realtime.contender import Contender
from realtime.measure import Fault, Run

HEADS = (
    "| | orders/s (runs) | p50, p99 ms at half the rate | CPU ms an order | idle, peak MB | ready s |"
    " after kill -9: lost, twice | target away 3 s: lost, twice | driver's share of a core |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
)


def median(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    return statistics.median(of(run) for run in runs)


def row(contender: type[Contender], runs: Sequence[Run]) -> str:
    rates = ", ".join(f"{run.orders_per_s:,.0f}" for run in runs)
    parts = {name: median(runs, lambda run, name=name: run.cpu_ms[name]) for name in runs[0].cpu_ms}  # type: ignore[misc]
    cpu = f"{sum(parts.values()):.3f}"
    if len(parts) > 1:
        cpu += " (" + ", ".join(f"{name} {ms:.3f}" for name, ms in parts.items()) + ")"
    title = contender.title + (f" ({contender.version()})" if contender.version() else "")
    wrong = sum(run.lost for run in runs)
    return (
        f"| {title} | **{median(runs, lambda r: r.orders_per_s):,.0f}** ({rates}){f' {wrong} LOST' if wrong else ''}"
        f" | {median(runs, lambda r: r.p50_ms):.1f}, {median(runs, lambda r: r.p99_ms):.1f} | {cpu}"
        f" | {median(runs, lambda r: r.idle_mb):.0f}, {median(runs, lambda r: r.peak_mb):.0f}"
        f" | {median(runs, lambda r: r.ready_s):.2f} | {_worst([run.kill for run in runs])}"
        f" | {_worst([run.outage for run in runs])} | {median(runs, lambda r: r.driver_share):.2f} |"
    )


def _worst(faults: Sequence[Fault | None]) -> str:
    """Sums over the runs. Repeats are requests the target saw again; those with the first one's key it can recognise."""
    found = [fault for fault in faults if fault is not None]
    if not found:
        return "–"
    lost, repeated = sum(f.lost for f in found), sum(f.repeated for f in found)
    recognised = sum(f.recognised for f in found)
    twice = f"{repeated - recognised}" + (f" (+{recognised} with the same key)" if recognised else "")
    return f"{lost}, {twice} of {sum(f.accepted for f in found):,}"


def last_line(results: dict[str, list[Run]]) -> str:
    """``accord=… limit=… ratio=… p99_ms=…``; n/a for what was not measured."""
    accord, limit = results.get("accord"), results.get("limit")
    fast = median(accord, lambda r: r.orders_per_s) if accord else 0.0
    most = median(limit, lambda r: r.orders_per_s) if limit else 0.0
    return " ".join(
        (
            f"accord={fast:.0f}" if accord else "accord=n/a",
            f"limit={most:.0f}" if limit else "limit=n/a",
            f"ratio={fast / most:.2f}" if accord and limit else "ratio=n/a",
            f"p99_ms={median(accord, lambda r: r.p99_ms):.2f}" if accord else "p99_ms=n/a",
        )
    )
