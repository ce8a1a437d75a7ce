"""``accord status``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table

COUNTS = ("running", "ready", "waiting", "held", "done", "dead")


@click.command("status")
@project_options
@json_option
def command(folder: Path, environment: str, as_json: bool) -> None:
    """What runs, waits and fails: flows with their messages, systems with their health."""
    status = Operator(folder, environment).status()
    if as_json:
        show_json(status)
        return
    click.echo(f"{status['project']}: " + (status["address"] or "no engine is running"))
    flows = status["flows"]
    show_table(
        ("flow", *COUNTS),
        [(flow["name"], *(flow[name] for name in COUNTS)) for flow in flows],
        right=COUNTS,
        styles=["red" if flow["dead"] else "" for flow in flows],
    )
    systems = status["systems"]
    show_table(
        ("system", "health", "held", "reason"),
        [(s["name"], _health(s, is_running=bool(status["address"])), s["held"], s["reason"]) for s in systems],
        right=("held",),
        styles=["" if s["is_well"] else "red" for s in systems],
    )


def _health(system: dict[str, object], *, is_running: bool) -> str:
    if not is_running:
        return "unknown"
    return "well" if system["is_well"] else f"sick, next try in {system['wait_s']} s"
