"""``accord systems``"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.errors import AccordError, did_you_mean

if TYPE_CHECKING:
    from accord.engine.probe import SystemCheck
    from accord.flow.parts import DeclaredSystem


@click.group("systems", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Systems: whether they can be reached, and what they said last."""


@command.command("test")
@project_options
@json_option
@click.argument("system")
def test(folder: Path, environment: str, as_json: bool, system: str) -> None:
    """Ask SYSTEM whether its address and credentials work: by the engine that runs, or from here when none does.

    Exits with 1 when they do not.
    """
    operator = Operator(folder, environment)
    check = operator.check_system(system) if operator.engine is not None else _from_here(folder, environment, system)
    if as_json:
        show_json(check)
    else:
        words = "is well" if check["ok"] else check["reason"]
        click.echo(f"{system}: {words} ({float(check['took_s']):g} s)")
    if check["ok"] is False:
        sys.exit(1)


@command.command("errors")
@project_options
@json_option
@click.argument("system")
def errors(folder: Path, environment: str, as_json: bool, system: str) -> None:
    """The last requests to SYSTEM that failed, newest first; the engine keeps 20 of them while it runs."""
    found = Operator(folder, environment).troubles(system)
    if as_json:
        show_json(found)
        return
    show_table(("at", "kind", "reason"), [[one["at"], one["kind"], one["reason"]] for one in found])


def _from_here(folder: Path, environment: str, name: str) -> dict[str, Any]:
    import msgspec

    from accord.project import load_project

    project = load_project(folder, environment)
    system = project.systems.get(name)
    if system is None:
        what = f"There is no system '{name}'."
        raise AccordError(what, mend=did_you_mean(name, project.systems), code="project.unknown-system")
    found: dict[str, Any] = msgspec.to_builtins(asyncio.run(_probe(system, project.folder)))
    return found


async def _probe(system: DeclaredSystem, folder: Path) -> SystemCheck:
    from accord.engine.probe import probe
    from accord.engine.scratch import scratch_connection

    async with scratch_connection(system, folder) as connection:
        await connection.open()
        return await probe(system.name, connection, system.settings)
