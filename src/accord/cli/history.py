"""``accord history``"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table

COLUMNS = ("from", "done", "failed", "retried", "open", "p50", "p95", "p99")


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> int:
    from accord.settings.durations import parse_duration

    try:
        return int(parse_duration(value).total_seconds())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("history")
@project_options
@json_option
@click.argument("kind", type=click.Choice(["flow", "system"]))
@click.argument("name")
@click.option(
    "--since", "since_s", default="1h", show_default=True, callback=_duration, help="Like 30m, 2h; at most 48h."
)
def command(folder: Path, environment: str, as_json: bool, kind: str, name: str, since_s: int) -> None:
    """Show what a flow or a system did lately: messages (of a system: requests) that were done, failed and will be repeated, what was
    open, and how long it took.

    \b
    accord history flow order-to-cash --since 6h
    accord history system erp --json
    """
    found = Operator(folder, environment).history(kind, name, since_s)
    if as_json:
        show_json(found)
        return
    rows = [[_time(point["at"]), *_figures(point)] for point in found["points"]]
    show_table(COLUMNS, rows, right=COLUMNS[1:], title=f"{kind} {name}, every {found['span_s']} s (UTC)")
    if found["steps"]:
        steps = [[path, *_figures(point)] for path, point in found["steps"].items()]
        show_table(("step", *COLUMNS[1:]), steps, right=COLUMNS[1:])


def _figures(point: dict[str, Any]) -> list[str]:
    counts = [str(point[name]) for name in ("done", "failed", "retried", "open")]
    return counts + [shown_s(point[name]) for name in ("p50_s", "p95_s", "p99_s")]


def _time(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%m-%d %H:%M:%S")


def shown_s(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{float(seconds):.2f} s"
