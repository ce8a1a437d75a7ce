"""``accord discover``"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accord.cli.options import project_options
from accord.errors import AccordError, did_you_mean

if TYPE_CHECKING:
    from accord.flow.parts import DeclaredSystem
    from accord.record import Entity, Field


@click.command("discover")
@project_options
@click.argument("system")
def command(folder: Path, environment: str, system: str) -> None:
    """What SYSTEM holds: its entities as YAML, to copy into the system file."""
    import yaml

    from accord.project import load_project

    project = load_project(folder, environment)
    declared = project.systems.get(system)
    if declared is None:
        what, mend = f"There is no system '{system}'.", did_you_mean(system, project.systems)
        raise AccordError(what, mend=mend, code="project.unknown-system")
    found = asyncio.run(_discover(declared, project.folder))
    entities = {entity.short_name: _entity(entity) for entity in found}
    click.echo(yaml.safe_dump({"entities": entities}, sort_keys=False, allow_unicode=True), nl=False)


async def _discover(system: DeclaredSystem, folder: Path) -> list[Entity]:
    from accord.engine.scratch import scratch_connection
    from accord.sdk.connector import Connection

    async with scratch_connection(system, folder) as connection:
        if type(connection).discover is Connection.discover:
            what = f"The connector '{system.connector}' cannot tell what a system holds."
            mend = "Write the entities from the system's documentation."
            raise AccordError(what, mend=mend, code="cli.cannot-discover")
        await connection.open()
        return list(await connection.discover())


def _entity(entity: Entity) -> dict[str, Any]:
    key: Any = entity.key[0] if len(entity.key) == 1 else list(entity.key)
    return {**({"key": key} if entity.key else {}), "fields": {n: _field(f) for n, f in entity.fields.items()}}


def _field(field: Field) -> Any:
    """The shorthand of project files; lists and objects with what they hold."""
    from accord.record import name_of
    from accord.record.types import List, Object

    match field.type:
        case Object(fields=fields) if fields:
            inner: dict[str, Any] = {"object": {name: _field(each) for name, each in fields.items()}}
        case List(item=Object(fields=fields)) if fields:
            inner = {"list": {name: _field(each) for name, each in fields.items()}}
        case _ if field.length_max is not None:
            inner = {"type": name_of(field.type), "length_max": field.length_max}
        case _:
            return name_of(field.type) + ("?" if field.nullable else "")
    return {**inner, "nullable": True} if field.nullable else inner
