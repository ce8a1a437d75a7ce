"""``accord journal``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from accord.cli.options import project_options


@click.group("journal", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The journal: verify and measure it."""


@command.command("verify")
@project_options
def verify(folder: Path, environment: str) -> None:
    """Read the journal itself and report every violated invariant (while no engine runs on it)."""
    from accord.journal.stores.sqlite_verify import verify as verify_file
    from accord.project import load_project

    path = folder / load_project(folder, environment, resolve_secrets=False).environment.spec.store.path
    violations = verify_file(path)
    for violation in violations:
        click.echo(str(violation))
    click.echo(f"{len(violations)} violations")
    sys.exit(1 if violations else 0)
