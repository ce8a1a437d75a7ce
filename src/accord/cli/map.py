"""``accord map``"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from accord.cli.options import project_options
from accord.errors import AccordError, RecordError, did_you_mean


@click.group("map", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Mappings: how a record of one entity becomes a record of another."""


@command.command("try")
@project_options
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ref", "refs", multiple=True, metavar="ENTITY:KEY=ENTITY:KEY", help="A cross-reference to assume.")
def try_(folder: Path, environment: str, name: str, file: Path, refs: tuple[str, ...]) -> None:
    """Map the record in FILE (JSON) with mapping NAME; show the result and where each field comes from."""
    from rich.console import Console
    from rich.table import Table

    from accord.mapping.contract import compile_contract
    from accord.mapping.expression import Environment
    from accord.project import load_project
    from accord.errors import Faults
    from accord.sdk.http import encode_json

    project = load_project(folder, environment, resolve_secrets=False)
    mapping = project.mappings.get(name)
    if mapping is None:
        raise AccordError(f"there is no mapping '{name}'", mend=did_you_mean(name, project.mappings), code="mapping.unknown")
    contract = compile_contract(mapping.source, project.functions, Faults(), types_only=True)
    now = dt.datetime.now(dt.UTC)
    known = dict(_reference(text) for text in refs)
    try:
        record = contract.decode(file.read_bytes())
        surroundings = Environment(now, {}, dict(known))
        result = mapping.apply(record, {}, surroundings)
    except RecordError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise AccordError(f"{len(error.problems)} problems", code="record.rejected") from error
    table = Table("field", "value", "from", title=f"{mapping.source.name} → {mapping.target.name}")
    origins = mapping.origins()
    for field, value in result.items():
        table.add_row(field, encode_json(value).decode(), str(origins.get(field, "")))
    Console().print(table)
    for entity, key, wanted in sorted(surroundings.missing):
        click.echo(f"no cross-reference was given for {entity} {key} in {wanted}: --ref {entity}:{key}={wanted}:KEY")


def _reference(text: str) -> tuple[tuple[str, str, str], str]:
    left, _, right = text.partition("=")
    entity, _, key = left.partition(":")
    wanted, _, found = right.partition(":")
    if not (entity and key and wanted and found):
        raise click.BadParameter(f"'{text}' is not like shop.customers:7=crm.clients:C-9", param_hint="--ref")
    return (entity, key, wanted), found
