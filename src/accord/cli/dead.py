"""``accord dead``: dead letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.errors import AccordError


@click.group("dead", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Dead letters: messages that could not be processed, kept whole until mended and replayed."""


@command.command("list")
@project_options
@json_option
@click.option("--flow", default="", help="Only of this flow.")
@click.option("--after", "after_seq", default=0, help="Only with a greater sequence number.")
@click.option("--limit", default=50, show_default=True)
def list_(folder: Path, environment: str, as_json: bool, flow: str, after_seq: int, limit: int) -> None:
    """List dead letters, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from accord.sdk.http import encode_json

    letters = Operator(folder, environment).dead_letters(flow, after_seq, limit)
    if as_json:
        click.echo(encode_json(letters))
        return
    table = Table("seq", "flow", "key", "step", "code", "field", "reason")
    for letter in letters:
        table.add_row(
            str(letter["seq"]),
            letter["flow"],
            letter["key"],
            letter["step"],
            letter["code"],
            letter["path"],
            letter["reason"],
        )
    Console().print(table)


@command.command("show")
@project_options
@click.argument("seq", type=int)
@click.option("--reveal", is_flag=True, help="Print the payload as it came, personal data included (to mend it).")
def show(folder: Path, environment: str, seq: int, reveal: bool) -> None:
    """Show one dead letter: where it stopped, why, and its record (personal data masked)."""
    from accord.sdk.http import encode_json

    letter = _one(Operator(folder, environment), seq, with_payload=reveal)
    if reveal:
        click.echo(letter["payload"])
        return
    click.echo(encode_json({name: value for name, value in letter.items() if name != "payload"}))


@command.command("replay")
@project_options
@click.argument("seqs", type=int, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All dead letters (of --flow).")
@click.option("--flow", default="")
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A mended record (JSON) for one letter.",
)
@click.option(
    "--from-start", is_flag=True, help="Forget which steps are done. Effects are repeated with the same effect ids."
)
def replay(
    folder: Path, environment: str, seqs: tuple[int, ...], all_: bool, flow: str, body: Path | None, from_start: bool
) -> None:
    """Put dead letters back on their way, from the step where they stopped, in order."""
    operator = Operator(folder, environment)
    if body is not None and len(seqs) != 1:
        raise click.UsageError("--body mends exactly one letter.")
    if not seqs and not all_:
        raise click.UsageError("Name the letters, or give --all.")
    chosen = list(seqs) or [letter["seq"] for letter in _every(operator, flow)]
    for seq in chosen:
        operator.replay(seq, body.read_bytes() if body else None, from_start=from_start)
    click.echo(f"{len(chosen)} replayed")


@command.command("discard")
@project_options
@click.argument("seqs", type=int, nargs=-1, required=True)
@click.option("--reason", required=True, help="Why; kept with the message.")
def discard(folder: Path, environment: str, seqs: tuple[int, ...], reason: str) -> None:
    """Settle dead letters without running them."""
    operator = Operator(folder, environment)
    for seq in seqs:
        operator.discard(seq, reason)
    click.echo(f"{len(seqs)} discarded")


def _every(operator: Operator, flow: str) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = []
    while page := operator.dead_letters(flow, letters[-1]["seq"] if letters else 0, 1000):
        letters.extend(page)
    return letters


def _one(operator: Operator, seq: int, *, with_payload: bool) -> dict[str, Any]:
    letters = operator.dead_letters(after_seq=seq - 1, limit=1, with_payload=with_payload)
    if not letters or letters[0]["seq"] != seq:
        raise AccordError(
            f"message {seq} is not a dead letter", mend="`accord dead list` shows them.", code="engine.command"
        )
    return letters[0]
