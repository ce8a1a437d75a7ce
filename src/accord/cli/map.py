"""``accord map``"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accord.cli.options import project_options
from accord.cli.output import show_table
from accord.errors import AccordError, Faults, RecordError, did_you_mean

if TYPE_CHECKING:
    from accord.mapping.mapping import Mapping


@click.group("map", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Mappings: how a record of one entity becomes a record of another."""


@command.command("try")
@project_options
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ref", "refs", multiple=True, metavar="ENTITY:KEY=ENTITY:KEY", help="A cross-reference to assume.")
@click.option("--use", "uses", multiple=True, metavar="NAME=FILE", help="An earlier result the mapping uses (JSON).")
def try_(folder: Path, environment: str, name: str, file: Path, refs: tuple[str, ...], uses: tuple[str, ...]) -> None:
    """Map the record in FILE (JSON) with mapping NAME; show the result and where each field comes from.

    Reaches no system, needs no secrets.
    """
    from accord.mapping.contract import compile_contract
    from accord.mapping.environment import Environment
    from accord.project import load_project

    project = load_project(folder, environment, resolve_secrets=False)
    mapping = project.mappings.get(name)
    if mapping is None:
        what, mend = f"There is no mapping '{name}'.", did_you_mean(name, project.mappings)
        raise AccordError(what, mend=mend, code="cli.unknown-mapping")
    contract = compile_contract(mapping.source, project.functions, Faults(), types_only=True)
    surroundings = Environment(dt.datetime.now(dt.UTC), {}, dict(_reference(text) for text in refs))
    try:
        result = mapping.apply(contract.decode(file.read_bytes()), _names(mapping, uses), surroundings)
    except RecordError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise AccordError(f"The record is rejected: {len(error.problems)} problems.", code="record.rejected") from error
    _show(mapping, result)
    for entity, key, wanted in sorted(surroundings.missing):
        click.echo(f"no cross-reference was given for {entity} {key} in {wanted}: --ref {entity}:{key}={wanted}:KEY")


def _show(mapping: Mapping, result: dict[str, Any]) -> None:
    from accord.sdk.http import encode_json

    origins = mapping.origins()
    rows = []
    for path, value in _leaves(result, ""):
        origin = origins.get(re.sub(r"\[\d+\]", "[]", path))
        expression, sources = (origin.text, ", ".join(origin.sources)) if origin else ("", "")
        rows.append((path, encode_json(value).decode(), expression, sources))
    title = f"{mapping.source.name} → {mapping.target.name}"
    show_table(("field", "value", "expression", "from"), rows, title=title)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Every field with its path; empty objects and lists stand for themselves."""
    if isinstance(value, dict) and value:
        return [leaf for key, each in value.items() for leaf in _leaves(each, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and value:
        return [leaf for index, each in enumerate(value) for leaf in _leaves(each, f"{path}[{index}]")]
    return [(path, value)]


def _names(mapping: Mapping, uses: tuple[str, ...]) -> dict[str, Any]:
    from accord.sdk.http import decode_json

    names: dict[str, Any] = {}
    for text in uses:
        name, equals, file = text.partition("=")
        if not equals or name not in mapping.names:
            known = did_you_mean(name, mapping.names) or "This mapping uses no earlier results."
            raise click.BadParameter(f"'{text}' gives no result the mapping uses. {known}", param_hint="--use")
        try:
            names[name] = decode_json(Path(file).read_bytes())
        except ValueError as error:
            raise click.BadParameter(f"{file} holds no JSON: {error}", param_hint="--use") from error
    missing = sorted(set(mapping.names) - set(names))
    if missing:
        raise click.UsageError(f"The mapping uses earlier results: give --use {missing[0]}=FILE.")
    return names


def _reference(text: str) -> tuple[tuple[str, str, str], str]:
    left, _, right = text.partition("=")
    entity, _, key = left.partition(":")
    wanted, _, found = right.partition(":")
    if not (entity and key and wanted and found):
        raise click.BadParameter(f"'{text}' is not like shop.customers:7=crm.clients:C-9", param_hint="--ref")
    return (entity, key, wanted), found
