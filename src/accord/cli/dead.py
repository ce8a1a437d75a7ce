"""``accord dead``: dead letters."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, limit_options, project_options
from accord.cli.output import show_json, show_table
from accord.errors import AccordError

COLUMNS = ("seq", "flow", "key", "step", "code", "field", "reason")
PAGE = 1000


@click.group("dead", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Dead letters: messages that could not be processed, kept whole until mended and replayed."""


@command.command("list")
@project_options
@json_option
@click.option("--flow", default="", help="Only of this flow.")
@limit_options
def list_(folder: Path, environment: str, as_json: bool, flow: str, after_seq: int, limit: int) -> None:
    """List dead letters, oldest first."""
    letters = Operator(folder, environment).dead_letters(flow, after_seq, limit)
    if as_json:
        show_json(letters)
        return
    names = ("seq", "flow", "key", "step", "code", "path", "reason")
    show_table(COLUMNS, [[letter[name] for name in names] for letter in letters], right=("seq",))
    if len(letters) == limit:
        click.echo(f"there may be more: --after {letters[-1]['seq']}")


@command.command("show")
@project_options
@click.argument("seq", type=int)
@click.option("--reveal", is_flag=True, help="Print the payload as it came, personal data included (to mend it).")
def show(folder: Path, environment: str, seq: int, reveal: bool) -> None:
    """Show one dead letter: where it stopped, why, and its record (personal data masked)."""
    import msgspec

    from accord.sdk.http import encode_json

    letter = _one(Operator(folder, environment), seq, with_payload=reveal)
    if reveal:
        click.echo(letter["payload"])
        return
    shown = encode_json({name: value for name, value in letter.items() if name != "payload"})
    click.echo(msgspec.json.format(shown, indent=2))


@command.command("diff")
@project_options
@json_option
@click.argument("seq", type=int)
def diff(folder: Path, environment: str, as_json: bool, seq: int) -> None:
    """How a dead letter's record differs from the last good one of its flow: fields missing, new, of another type or shape."""
    found = Operator(folder, environment).difference(seq)
    if as_json:
        show_json(found)
        return
    if found["good_seq"] is not None:
        click.echo(f"compared with message {found['good_seq']}")
    names = ("path", "kind", "good", "this")
    show_table(("field", "difference", "good", "this"), [[one[name] for name in names] for one in found["differences"]])
    if found["note"]:
        click.echo(found["note"])


@command.command("preview")
@project_options
@json_option
@click.argument("seq", type=int)
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A mended record (JSON); default: as it is.",
)
@click.option("--from-start", is_flag=True, help="As if it were replayed from the start.")
def preview(folder: Path, environment: str, as_json: bool, seq: int, body: Path | None, from_start: bool) -> None:
    """What a replay would do, step by step and field by field, without doing it."""
    from accord.cli.message import show_trace

    found = Operator(folder, environment).preview(seq, body.read_bytes() if body else None, from_start=from_start)
    if as_json:
        show_json(found)
        return
    for problem in found["problems"]:
        click.echo(problem)
    show_trace(found["trace"])


@command.command("edit")
@project_options
@click.argument("seq", type=int)
@click.option("--from-start", is_flag=True, help="Forget which steps are done when it is replayed.")
def edit(folder: Path, environment: str, seq: int, from_start: bool) -> None:
    """Mend one dead letter in your editor ($VISUAL or $EDITOR): the record is checked as its flow will check it, and replayed.

    The editor shows the record as it came, personal data included. Leaving without a change replays nothing.
    """
    operator = Operator(folder, environment)
    letter = _one(operator, seq, with_payload=True)
    text = _pretty(letter["payload"])
    check = checker(folder, environment, letter["flow"], letter["source"])
    while True:
        edited = click.edit(text, extension=".json", require_save=True)
        if edited is None or edited.strip() == text.strip() == _pretty(letter["payload"]).strip():
            click.echo("nothing was changed, nothing is replayed")
            return
        text = edited
        problems = check(text.encode())
        for problem in problems:
            click.echo(problem, err=True)
        if not problems or not click.confirm("Edit it again?", default=True, err=True):
            break
    if problems:
        raise AccordError("The record does not satisfy its contract, so it was not replayed.", code="record.rejected")
    operator.replay(seq, text.encode(), from_start=from_start)
    click.echo("1 replayed")


@command.command("replay")
@project_options
@click.argument("seqs", type=int, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All dead letters (of --flow).")
@click.option("--flow", default="", help="With --all: only of this flow.")
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
    if body is not None and len(seqs) != 1:
        raise click.UsageError("--body mends exactly one letter.")
    if bool(seqs) == all_:
        raise click.UsageError("Name the letters, or give --all.")
    operator = Operator(folder, environment)
    mended = body.read_bytes() if body else None
    chosen = list(seqs) or [letter["seq"] for letter in _every(operator, flow)]
    for seq in chosen:
        operator.replay(seq, mended, from_start=from_start)
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
    while page := operator.dead_letters(flow, letters[-1]["seq"] if letters else 0, PAGE):
        letters.extend(page)
    return letters


def _one(operator: Operator, seq: int, *, with_payload: bool) -> dict[str, Any]:
    letters = operator.dead_letters(after_seq=seq - 1, limit=1, with_payload=with_payload)
    if not letters or letters[0]["seq"] != seq:
        what = f"Message {seq} is not a dead letter."
        raise AccordError(what, mend="`accord dead list` shows them.", code="engine.command")
    return letters[0]


def _pretty(payload: str) -> str:
    import msgspec

    try:
        return msgspec.json.format(payload, indent=2) + "\n"
    except msgspec.DecodeError:
        return payload  # it may be dead because it is no JSON


def checker(folder: Path, environment: str, flow: str, source: str) -> Any:
    """A function from a record's bytes to what is wrong with it, by what its flow asks of it (the entity's types and presence, when
    there is no such flow)."""
    from accord.cli.options import project_of_journal
    from accord.errors import Faults
    from accord.mapping.contract import compile_contract, problems_of

    project = project_of_journal(folder, environment)
    entity = project.entities.get(source)
    contract = compile_contract(entity, project.functions, Faults(), types_only=True) if entity else None
    if flow in project.flows:
        contract = project.flows[flow].contract

    return functools.partial(problems_of, contract)
