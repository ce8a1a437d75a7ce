"""``accord discover``"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from accord.cli.options import project_options
from accord.errors import AccordError, did_you_mean


@click.command("discover")
@project_options
@click.argument("system")
def command(folder: Path, environment: str, system: str) -> None:
    """What SYSTEM holds: its entities as YAML, to copy into the system file."""
    import yaml

    entities = asyncio.run(_discover(folder, environment, system))
    click.echo(yaml.safe_dump({"entities": entities}, sort_keys=False, allow_unicode=True))


async def _discover(folder: Path, environment: str, name: str) -> dict[str, Any]:
    from accord.engine.http import PooledHttpClient
    from accord.project import load_project
    from accord.sdk.connector import Context

    project = load_project(folder, environment)
    system = project.systems.get(name)
    if system is None:
        raise AccordError(
            f"there is no system '{name}'", mend=did_you_mean(name, project.systems), code="project.unknown-system"
        )
    client = PooledHttpClient()
    state = project.folder / ".accord" / "systems" / name
    state.mkdir(parents=True, exist_ok=True)
    context = Context(system=name, http=client, folder=project.folder, state_folder=state)
    connection = system.kind.connect(system.settings, system.entities, context)
    try:
        await connection.open()
        found = await connection.discover()
    finally:
        await connection.close()
        await client.close()
    return {
        entity.short_name: {
            "key": list(entity.key),
            "fields": {name: _field(field) for name, field in entity.fields.items()},
        }
        for entity in found
    }


def _field(field: Any) -> Any:
    from accord.record import name_of

    return name_of(field.type) + ("?" if field.nullable else "")
