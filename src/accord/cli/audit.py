"""``accord audit``: who did what."""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table

COLUMNS = ("at", "actor", "role", "via", "action", "object", "result", "address")


@click.group("audit", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The audit trail: who did what, when, from where."""


@command.command("list")
@project_options
@json_option
@click.option("--actor", default="", help="Only of this one.")
@click.option("--action", default="", help="Only this: replay, discard, pause, resume, cancel, migrate, sign-in …")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
def list_(folder: Path, environment: str, as_json: bool, actor: str, action: str, limit: int) -> None:
    """List what was done, newest first: on pages, over the API and with commands."""
    found = Operator(folder, environment).audit(before="", actor=actor, action=action, limit=limit)
    if as_json:
        show_json(found)
        return
    show_table(COLUMNS, [[entry[name] for name in COLUMNS] for entry in found])
