"""``accord changes``"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.errors import AccordError, did_you_mean

if TYPE_CHECKING:
    from accord.flow.parts import DeclaredSystem
    from accord.sdk.capture import Capture, ChangeSource


@click.group("changes", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """What databases keep so that no change is missed: replication slots, binary logs, and how much log they hold."""


@command.command("list")
@project_options
@json_option
def list_(folder: Path, environment: str, as_json: bool) -> None:
    """Every system whose changes can be streamed, with what it keeps for this project."""
    import msgspec

    from accord.project import load_project

    project = load_project(folder, environment)
    found = [
        (name, capture)
        for name, system in project.systems.items()
        if _can_stream(system)
        for capture in asyncio.run(_captures(system, project.folder))
    ]
    if as_json:
        show_json([{"system": name, **msgspec.to_builtins(capture)} for name, capture in found])
        return
    columns = ("system", "slot", "read now", "log kept (bytes)", "confirmed", "state")
    rows = [(name, c.name, "yes" if c.is_active else "no", c.retained_bytes, c.confirmed, c.state) for name, c in found]
    show_table(columns, rows, right=("log kept (bytes)",))


@command.command("drop")
@project_options
@click.argument("system")
def drop(folder: Path, environment: str, system: str) -> None:
    """Take away what SYSTEM keeps. Stop the engine first; what changes from now on is not told any more. A flow that still wants
    changes then needs `changes: {on_lost: snapshot}` to begin again."""
    from accord.project import load_project

    project = load_project(folder, environment)
    declared = project.systems.get(system)
    if declared is None:
        what, mend = f"There is no system '{system}'.", did_you_mean(system, project.systems)
        raise AccordError(what, mend=mend, code="project.unknown-system")
    if not _can_stream(declared):
        what = f"'{system}' (connector '{declared.connector}') keeps no log of changes."
        raise AccordError(what, mend="Name a system on PostgreSQL, MariaDB or MySQL.", code="cli.no-changes")
    is_dropped = asyncio.run(_drop(declared, project.folder))
    click.echo(f"{system}: " + ("dropped" if is_dropped else "there was nothing to drop"))


def _can_stream(system: DeclaredSystem) -> bool:
    return any(system.capabilities(entity).stream_changes for entity in system.entities.values())


async def _captures(system: DeclaredSystem, folder: Path) -> list[Capture]:
    from accord.engine.scratch import scratch_connection

    async with scratch_connection(system, folder) as connection:
        await connection.open()
        return list(await cast("ChangeSource", connection).captures())


async def _drop(system: DeclaredSystem, folder: Path) -> bool:
    from accord.engine.scratch import scratch_connection

    async with scratch_connection(system, folder) as connection:
        await connection.open()
        return await cast("ChangeSource", connection).drop_capture()
