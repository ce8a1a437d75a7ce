"""``accord test``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accord.cli.options import json_option, project_options

if TYPE_CHECKING:
    from accord.project.trials import Trial


@click.command("test")
@project_options
@json_option
@click.argument("names", nargs=-1)
def command(folder: Path, environment: str, as_json: bool, names: tuple[str, ...]) -> None:
    """Run the examples beside mappings and flows, and of the project's functions. Reaches no system, needs no secrets.

    NAMES: mappings, flows or functions; all when none is given. Exit code 1 when one fails.
    """
    from accord.project import load_project
    from accord.project.trials import run_trials

    project = load_project(folder, environment, resolve_secrets=False)
    trials = list(run_trials(project, names))
    failed = [trial for trial in trials if not trial.is_passed]
    if as_json:
        _print_json(trials, len(failed))
    else:
        _print(trials, failed)
    sys.exit(1 if failed else 0)


def _print(trials: list[Trial], failed: list[Trial]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    for trial in failed:
        console.print(
            f"[red]failed[/red] {escape(f'{trial.place}: {trial.kind} {trial.of}: {trial.name}')}", soft_wrap=True
        )
        if trial.problem:
            console.print(f"  {escape(trial.problem)}", soft_wrap=True)
        if trial.differences:
            table = Table("field", "expected", "got")
            for difference in trial.differences:
                table.add_row(
                    escape(difference.path or "(record)"), escape(difference.expected), escape(difference.got)
                )
            console.print(table)
    if not trials:
        click.echo("There are no examples yet: write `tests:` beside a mapping or a flow.")
    click.echo(f"{len(trials) - len(failed)} passed, {len(failed)} failed")


def _print_json(trials: list[Trial], failed: int) -> None:
    from accord.sdk.http import encode_json

    shown = [
        {
            "kind": trial.kind,
            "of": trial.of,
            "name": trial.name,
            "file": trial.place.file,
            "line": trial.place.line,
            "passed": trial.is_passed,
            "differences": trial.differences,
            "problem": trial.problem,
        }
        for trial in trials
    ]
    click.echo(encode_json({"passed": len(trials) - failed, "failed": failed, "tests": shown}))
