"""``accord secret``"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from accord.cli.options import project_options
from accord.errors import DeclarationError, Faults, SettingsError, did_you_mean

if TYPE_CHECKING:
    from accord.settings.secrets import KeyFile, SealedFile


@click.group("secret", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Secrets in the encrypted file that lies in git with the project. Their key stays outside."""


@command.command("set")
@project_options
@click.argument("name")
@click.option("--value-from", type=click.File("r"), help="A file to read the value from ('-': standard input).")
def set_(folder: Path, environment: str, name: str, value_from: IO[str] | None) -> None:
    """Set a secret; its value is asked for, never given as an argument (arguments show in process lists)."""
    sealed, key_file = secrets_file(folder, environment)
    if value_from is not None:
        value = value_from.read().rstrip("\n")
    else:
        value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=sys.stdin.isatty())
    if ensure_key(sealed, key_file):
        click.echo(
            f"A new key was written to {key_file.path}. Keep it safe and out of git: without it the secrets are lost."
        )
    sealed.set(name, value)
    click.echo(f"{name} is set in {sealed.path.name}")


@command.command("list")
@project_options
def list_(folder: Path, environment: str) -> None:
    """Names of the secrets in the file (never their values)."""
    sealed, _ = secrets_file(folder, environment)
    for name in sealed.names():
        click.echo(name)


@command.command("remove")
@project_options
@click.argument("name")
def remove(folder: Path, environment: str, name: str) -> None:
    """Remove a secret from the file."""
    sealed, _ = secrets_file(folder, environment)
    if not sealed.remove(name):
        what, mend = f"There is no secret '{name}' in {sealed.path.name}.", did_you_mean(name, sealed.names())
        raise SettingsError(what, mend=mend, code="settings.secret-missing")
    click.echo(f"{name} is removed")


@command.command("rotate")
@project_options
def rotate(folder: Path, environment: str) -> None:
    """Make a new key and encrypt every secret with it."""
    sealed, key_file = secrets_file(folder, environment)
    count = sealed.rotate_key_file(key_file)
    click.echo(f"{count} secrets are encrypted with a new key in {key_file.path}")


def ensure_key(sealed: SealedFile, key_file: KeyFile) -> bool:
    """Makes the key of a file that is not there yet, unless there is one already. True when it was made."""
    from accord.settings.secrets import Key

    if sealed.path.exists() or "ACCORD_KEY" in os.environ or key_file.path.exists():
        return False
    key_file.store(Key.generate())
    return True


def secrets_file(folder: Path, environment: str) -> tuple[SealedFile, KeyFile]:
    """The encrypted file an environment declares, and the file of its key. Raises DeclarationError, SettingsError."""
    from accord.settings.decode import decode
    from accord.settings.environment import sealed_file
    from accord.settings.node import read_yaml
    from accord.settings.project_file import EnvironmentSpec, SecretSource, environment_node, read_project_file

    faults = Faults()
    file = read_project_file(read_yaml(folder / "accord.yaml", faults, shown_as="accord.yaml"), faults)
    node = environment_node(file, environment, faults) if file else None
    if file is None or node is None:
        raise DeclarationError(faults.errors)
    declared = node.get("secrets")
    sources = decode(declared, list[str | SecretSource], faults) if declared else EnvironmentSpec().secrets
    faults.raise_if_any()
    for source in sources or []:
        if isinstance(source, SecretSource) and source.file:
            return sealed_file(file.name, source, folder, os.environ)
    raise SettingsError(
        "This environment declares no encrypted file.",
        mend="Add {file: secrets.accord} under `secrets` in accord.yaml.",
        code="cli.no-secrets-file",
    )
