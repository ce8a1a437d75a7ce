"""``accord messages``"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, limit_options, project_options
from accord.cli.output import show_json, show_table

SEQ_MAX = 2**53
TIME = click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])
COLUMNS = ("seq", "flow", "key", "state", "accepted", "attempts", "steps done", "reason")


@click.command("messages")
@project_options
@json_option
@click.option("--flow", default="", help="Only of this flow.")
@click.option("--key", default="", help="Only with this key (an order's id).")
@click.option("--id", "id_", default="", help="The message with this id.")
@click.option(
    "--state",
    type=click.Choice(["ready", "waiting", "held", "done", "dead", "in_doubt"]),
    default=None,
    help="Only in this state; in_doubt: an effect's last try may have been carried out.",
)
@click.option("--source", default="", help="Only from this entity (shop.orders).")
@click.option("--since", type=TIME, help="Only accepted at this time or later (2026-03-01T08:00, UTC).")
@click.option("--until", type=TIME, help="Only accepted before this time.")
@click.option("--newest", is_flag=True, help="The newest first.")
@limit_options
def command(
    folder: Path,
    environment: str,
    as_json: bool,
    flow: str,
    key: str,
    id_: str,
    state: str | None,
    source: str,
    since: dt.datetime | None,
    until: dt.datetime | None,
    newest: bool,
    after_seq: int,
    limit: int,
) -> None:
    """Look at messages: their state, and which steps are done. With --json their records too, personal data masked."""
    operator = Operator(folder, environment)
    filters = {"flow": flow, "key": key, "id": id_, "state": state or "", "source": source}
    times = {"since": since.isoformat() if since else "", "until": until.isoformat() if until else ""}
    found = operator.messages(**filters, **times, before=SEQ_MAX if newest else 0, after=after_seq, limit=limit)
    if as_json:
        show_json(found)
        return
    rows = []
    for row in found:
        steps = " ".join(path for path, outcome in row["steps"].items() if outcome == "done")
        accepted = row["accepted_at"][:19]
        rows.append(
            (row["seq"], row["flow"], row["key"], row["state"], accepted, row["attempts"], steps, row["reason"])
        )
    show_table(COLUMNS, rows, right=("seq", "attempts"))
    if len(found) == limit and not newest:
        click.echo(f"there may be more: --after {found[-1]['seq']}")
