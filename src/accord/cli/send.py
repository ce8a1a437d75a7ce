"""``accord send``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options


@click.command("send")
@project_options
@click.argument("flow")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--lines", is_flag=True, help="The file holds one record per line (JSON Lines).")
@click.option("--event-id", default="", help="Your id of this event: a second send of it is not accepted again.")
def command(folder: Path, environment: str, flow: str, file: str, lines: bool, event_id: str) -> None:
    """Give a record (JSON, '-' for standard input) to FLOW by hand."""
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    operator = Operator(folder, environment)
    accepted = duplicates = 0
    for index, body in enumerate(raw.splitlines() if lines else [raw]):
        if lines and not body.strip():
            continue
        one_id = f"{event_id}:{index}" if event_id and lines else event_id
        stored = operator.send(flow, body, one_id)
        accepted += len(stored["ids"])
        duplicates += stored["duplicates"]
    note = "" if operator.engine else " (no engine is running: it runs at the next `accord up`)"
    click.echo(f"{accepted} accepted, {duplicates} already known{note}")
