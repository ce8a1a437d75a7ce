"""``accord send``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options
from accord.errors import AccordError


@click.command("send")
@project_options
@click.argument("flow")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--lines", is_flag=True, help="The file holds one record per line (JSON Lines).")
@click.option("--event-id", default="", help="Your id of this event: a second send of it is not accepted again.")
@click.option("--backfill", is_flag=True, help="Live messages go first where they wait for one system.")
def command(folder: Path, environment: str, flow: str, file: str, lines: bool, event_id: str, backfill: bool) -> None:
    """Give a record (JSON, '-' for standard input) to FLOW by hand.

    It is accepted when this command says so: then it is on disk. What is wrong with the record itself makes it a dead letter.
    """
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    records = [line for line in raw.splitlines() if line.strip()] if lines else [raw]
    for number, record in enumerate(records, 1):
        _check_is_object(record, f"line {number} of {file}" if lines else file)
    operator = Operator(folder, environment)
    if lines:
        accepted, duplicates = operator.send_lines(flow, records, event_id, is_backfill=backfill)
    else:
        accepted, duplicates = operator.send(flow, raw, event_id, is_backfill=backfill)
    note = "" if operator.engine else " (no engine is running: it runs at the next `accord up`)"
    click.echo(f"{accepted} accepted, {duplicates} already known{note}")


def _check_is_object(record: bytes, where: str) -> None:
    """A slip of the hand (another file, a broken one) is told at once; nothing is accepted then."""
    import msgspec

    try:
        value = msgspec.json.decode(record)
    except msgspec.DecodeError as error:
        mend = "Give one record as a JSON object; --lines for one record per line."
        raise AccordError(f"{where} holds no JSON: {error}.", mend=mend, code="cli.bad-record") from error
    if not isinstance(value, dict):
        mend = "Give one record; --lines takes a file with one per line."
        raise AccordError(f"{where} holds no JSON object, but {_kind(value)}.", mend=mend, code="cli.bad-record")


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
