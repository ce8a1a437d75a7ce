"""``accord status``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options


@click.command("status")
@project_options
@json_option
def command(folder: Path, environment: str, as_json: bool) -> None:
    """What runs, waits and fails: flows with their messages, systems with their health."""
    from rich.console import Console
    from rich.table import Table

    from accord.sdk.http import encode_json

    status = Operator(folder, environment).status()
    if as_json:
        click.echo(encode_json(status))
        return
    console = Console()
    console.print(f"[bold]{status['project']}[/bold]  " + (status["address"] or "(no engine is running)"))
    flows = Table("flow", *(_right(name) for name in ("running", "ready", "waiting", "held", "done", "dead")))
    for flow in status["flows"]:
        dead = f"[red]{flow['dead']}[/red]" if flow["dead"] else "0"
        counts = [str(flow[name]) for name in ("running", "ready", "waiting", "held", "done")]
        flows.add_row(flow["name"], *counts, dead)
    console.print(flows)
    systems = Table("system", "health", _right("held"), "reason")
    for system in status["systems"]:
        health = "[green]well[/green]" if system["is_well"] else f"[red]sick[/red], next try in {system['wait_s']} s"
        systems.add_row(system["name"], health, str(system["held"]), system["reason"])
    console.print(systems)


def _right(name: str):  # type: ignore[no-untyped-def]
    from rich.table import Column

    return Column(name, justify="right")
