"""``accord monitor``: who may look."""

from __future__ import annotations

import sys

import click

from accord.errors import AccordError

PASSWORD_LENGTH_MIN = 12


@click.group("monitor", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Users of the monitor and of the control API."""


@command.command("hash-password")
def hash_password() -> None:
    """Ask for a password (or read it from standard input) and print its hash, to keep as a secret.

    \b
    accord monitor hash-password | accord secret set ada-password --value-from -
    environments: {default: {monitor: {users: [{name: ada, password_hash: "${secret:ada-password}", role: operator}]}}}
    """
    from accord.engine.operators.passwords import hash_password as hashed

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < PASSWORD_LENGTH_MIN:
        what = f"The password has {len(password)} characters; at least {PASSWORD_LENGTH_MIN} are asked for."
        raise AccordError(what, mend="A few words in a row are easy to keep in mind.", code="cli.password")
    click.echo(hashed(password))
