"""``accord schema``"""

from __future__ import annotations

import json
from pathlib import Path

import click

from accord.cli.options import project_options
from accord.errors import AccordError

KINDS = ("project", "system", "flow", "mapping")
FILES_OF = {
    "project": "accord.yaml",
    "system": "systems/**/*.yaml",
    "flow": "flows/**/*.yaml",
    "mapping": "mappings/**/*.yaml",
}
WRITTEN_TO = ".accord/schemas"
VSCODE = ".vscode/settings.json"


@click.command("schema")
@project_options
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--write", is_flag=True, help=f"Write all to {WRITTEN_TO}/ and map them in {VSCODE}.")
def command(folder: Path, environment: str, kind: str | None, write: bool) -> None:
    """JSON Schemas of project files, so that editors complete and lint YAML: print that of KIND, or --write all.

    They know the connectors and steps installed here: write them again after installing others.
    """
    from accord.project.schemas import schema_for

    if bool(kind) == write:
        raise click.UsageError("Name a kind of file, or give --write.")
    if kind:
        click.echo(json.dumps(schema_for(kind), indent=2, ensure_ascii=False))
        return
    if not (folder / "accord.yaml").is_file():
        what, mend = f"The folder {folder} holds no accord.yaml.", "Name a project's folder with --project."
        raise AccordError(what, mend=mend, code="project.no-project")
    is_mapped = write_schemas(folder)
    click.echo(f"{len(KINDS)} schemas are in {folder / WRITTEN_TO}.")
    if not is_mapped:
        click.echo(f"{VSCODE} holds comments, so it was left alone; put `yaml.schemas` into it yourself.")
    click.echo("An editor that does not read .vscode finds one by the first line of a file, for example in flows/:")
    click.echo(f"# yaml-language-server: $schema=../{WRITTEN_TO}/flow.json")


def write_schemas(folder: Path) -> bool:
    """Writes every schema and maps it to its files; False when the editor's settings could not be read and were left alone."""
    from accord.project.schemas import schema_for

    target = folder / WRITTEN_TO
    target.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        text = json.dumps(schema_for(kind), indent=2, ensure_ascii=False) + "\n"
        (target / f"{kind}.json").write_text(text, encoding="utf-8")
    path = folder / VSCODE
    try:
        settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        return False
    if not isinstance(settings, dict):
        return False
    mapped = {f"./{WRITTEN_TO}/{kind}.json": FILES_OF[kind] for kind in KINDS}
    settings["yaml.schemas"] = {**settings.get("yaml.schemas", {}), **mapped}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return True
