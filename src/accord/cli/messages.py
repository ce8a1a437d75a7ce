"""``accord messages``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options


@click.command("messages")
@project_options
@json_option
@click.option("--flow", default="", help="Only of this flow.")
@click.option("--key", default="", help="Only with this key (an order's id).")
@click.option("--id", "id_", default="", help="The message with this id.")
@click.option("--state", type=click.Choice(["ready", "waiting", "held", "done", "dead"]), default=None)
@click.option("--after", "after_seq", default=0, help="Only with a greater sequence number.")
@click.option("--limit", default=50, show_default=True)
def command(
    folder: Path,
    environment: str,
    as_json: bool,
    flow: str,
    key: str,
    id_: str,
    state: str | None,
    after_seq: int,
    limit: int,
) -> None:
    """Look at messages: their state, and which steps are done. Personal data shows masked."""
    from rich.console import Console
    from rich.table import Table

    from accord.sdk.http import encode_json

    operator = Operator(folder, environment)
    found = operator.messages(flow=flow, key=key, id=id_, state=state or "", after_seq=after_seq, limit=limit)
    if as_json:
        click.echo(encode_json(found))
        return
    table = Table("seq", "flow", "key", "state", "accepted", "attempts", "steps done", "reason")
    for row in found:
        steps = " ".join(path for path, outcome in row["steps"].items() if outcome == "done")
        table.add_row(
            str(row["seq"]),
            row["flow"],
            row["key"],
            row["state"],
            row["accepted_at"][:19],
            str(row["attempts"]),
            steps,
            row["reason"],
        )
    Console().print(table)
