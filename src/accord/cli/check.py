"""``accord check``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from accord.cli.main import counted
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.cli.status import show_versions


@click.command("check")
@project_options
@json_option
@click.option("--no-secrets", is_flag=True, help="Secrets and environment variables need not be there (in CI).")
def command(folder: Path, environment: str, as_json: bool, no_secrets: bool) -> None:
    """Check all files: unknown names, wrong types, missing conversions.

    Shows every fault with file and line, and then the guarantee of each step that changes something outside, and what of bulk flows
    goes row by row. Exit code 1 when there is a fault; warnings alone are none.
    """
    from accord.project import check_project

    project, faults = check_project(folder, environment, resolve_secrets=not no_secrets)
    effects = [(flow.name, effect) for flow in (project.flows.values() if project else ()) for effect in flow.effects]
    if as_json:
        shown = [
            {"flow": flow, "path": e.path, "target": e.target, "mode": e.mode, "guarantee": e.guarantee}
            for flow, e in effects
        ]
        show_json({"faults": faults.found, "effects": shown})
        sys.exit(1 if faults.errors else 0)
    for line in dict.fromkeys(_line(fault.severity, str(fault)) for fault in sorted(faults.found, key=_order)):
        click.echo(line)
    warnings = counted(len(faults.found) - len(faults.errors), "warning")
    if project is None or faults.errors:
        click.echo(f"{counted(len(faults.errors), 'fault')}, {warnings}")
        sys.exit(1)
    show_table(
        ("flow", "step", "target", "mode", "guarantee"),
        [(flow, effect.path, effect.target, effect.mode, effect.guarantee) for flow, effect in effects],
        title=f"{project.name}: the guarantee of every effect",
        styles=["" if effect.is_exactly_once else "yellow" for _flow, effect in effects],
    )
    by_rows = [(name, path, why) for name, flow in project.bulk_flows.items() for path, why in _row_only(flow)]
    if by_rows:
        show_table(("bulk flow", "where", "goes row by row because of"), by_rows)
    if versions := _in_flight(folder, environment, {flow.name: flow.version for flow in project.flows.values()}):
        click.echo("messages that finish on the version they began with (`accord migrate` moves them):")
        show_versions(versions)
    parts = (
        counted(len(project.systems), "system"),
        counted(len(project.mappings), "mapping"),
        counted(len(project.flows), "flow"),
    )
    click.echo(f"no faults, {warnings}: {', '.join(parts)}")


def _row_only(flow: Any) -> list[tuple[str, str]]:
    """What of a bulk flow has no column form: the same result, more slowly."""
    from accord.errors import AccordError

    try:
        plan = flow.columns()
    except AccordError as error:
        return [("all steps", str(error))]
    found = list(plan.row_only.items())
    if not plan.is_row_only and (shown := flow.as_written()):
        why = (
            f"it shows how {', '.join(sorted(shown))} was written: values that a column does not keep so (1.50, +02:00)"
        )
        found.append(("the record", why))
    return found


def _in_flight(folder: Path, environment: str, today: dict[str, str]) -> list[dict[str, Any]]:
    """Nothing when there is no journal here, or none that can be asked."""
    from accord.cli.operator import Operator
    from accord.errors import AccordError

    operator = Operator(folder, environment)
    if operator.engine is None and not any((folder / ".accord").glob("*.db")):
        return []
    try:
        return operator.versions(today)
    except AccordError:
        return []


def _order(fault: object) -> tuple[object, ...]:
    return fault.place, fault.code, fault.what  # type: ignore[attr-defined]


def _line(severity: str, text: str) -> str:
    return f"warning: {text}" if severity == "warning" else text
