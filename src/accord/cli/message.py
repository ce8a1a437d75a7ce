"""``accord message``: one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.errors import AccordError


@click.group("message", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """One message: what it was and the way it went."""


@command.command("show")
@project_options
@json_option
@click.argument("seq", type=int)
@click.option(
    "--trace", is_flag=True, help="Every step with its input and output, and where each mapped field came from."
)
def show(folder: Path, environment: str, as_json: bool, seq: int, trace: bool) -> None:
    """Show one message, personal data masked. Without --json, --trace shows one line for each step."""
    operator = Operator(folder, environment)
    if trace:
        told = operator.trace(seq)
        show_json(told) if as_json else show_trace(told)
        return
    found = operator.messages(after=seq - 1, limit=1)
    if not found or found[0]["seq"] != seq:
        raise AccordError(f"There is no message {seq}.", mend="`accord messages` shows them.", code="engine.command")
    if as_json:
        show_json(found[0])
        return
    import msgspec

    from accord.sdk.http import encode_json

    click.echo(msgspec.json.format(encode_json(found[0]), indent=2))


def show_trace(told: dict[str, Any]) -> None:
    """One line for each step, and one for each mapped field under it."""
    rows = []
    for step in told["steps"]:
        effects = " ".join(f"{one['target']} {one['mode']}: {one['outcome']}" for one in step["effects"])
        rows.append(("  " * step["depth"] + step["path"], step["outcome"], effects, step["reason"]))
        rows += [
            (
                "  " * (step["depth"] + 1) + origin["target"],
                _short(origin["value"]),
                origin["expression"],
                _from(origin),
            )
            for origin in step["origins"]
        ]
    show_table(("step or field", "outcome or value", "effect or expression", "why, or read from"), rows)
    for note in told["notes"]:
        click.echo(note)


def _from(origin: dict[str, Any]) -> str:
    return ", ".join(f"{path} = {_short(value)}" for path, value in origin["sources"].items())


def _short(value: Any) -> str:
    from accord.sdk.http import encode_json

    return encode_json(value).decode()
