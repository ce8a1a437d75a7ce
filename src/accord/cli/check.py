"""``accord check``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from accord.cli.options import json_option, project_options


@click.command("check")
@project_options
@json_option
@click.option("--no-secrets", is_flag=True, help="Do not need the secrets' values (in CI).")
def command(folder: Path, environment: str, as_json: bool, no_secrets: bool) -> None:
    """Check all files: unknown names, wrong types, missing conversions. Shows every fault with file and line, and then the
    guarantee of each step that changes something outside."""
    from rich.console import Console
    from rich.table import Table

    from accord.project import check_project
    from accord.sdk.http import encode_json

    project, faults = check_project(folder, environment, resolve_secrets=not no_secrets)
    effects = [(flow.name, effect) for flow in (project.flows.values() if project else ()) for effect in flow.effects]
    if as_json:
        shown = [
            {"flow": flow, "path": e.path, "target": e.target, "mode": e.mode, "guarantee": e.guarantee}
            for flow, e in effects
        ]
        click.echo(encode_json({"faults": faults.found, "effects": shown}))
        sys.exit(1 if faults.errors else 0)
    for fault in sorted(faults.found, key=lambda f: f.place):
        click.echo(f"{'warning: ' if fault.severity == 'warning' else ''}{fault}")
    if project is None or faults.errors:
        click.echo(f"{len(faults.errors)} faults")
        sys.exit(1)
    table = Table("flow", "step", "target", "mode", "guarantee", title=f"{project.name}: the guarantee of every effect")
    for flow, effect in effects:
        colour = "green" if effect.is_exactly_once else "yellow"
        table.add_row(flow, effect.path, effect.target, effect.mode, f"[{colour}]{effect.guarantee}[/{colour}]")
    Console().print(table)
    click.echo(
        f"no faults: {len(project.systems)} systems, {len(project.mappings)} mappings, {len(project.flows)} flows"
    )
