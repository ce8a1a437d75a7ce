"""``accord cancel``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options
from accord.cli.steering import all_options, messages_argument, steer_all, steer_named


@click.command("cancel")
@project_options
@messages_argument
@click.option("--flow", default="", help="With --all: of this flow.")
@click.option("--undo", is_flag=True, help="Run the flow's undo steps for what the message did, last first.")
@all_options
def command(
    folder: Path,
    environment: str,
    messages: tuple[str, ...],
    flow: str,
    undo: bool,
    all_: bool,
    state: str | None,
    yes: bool,
    reason: str,
) -> None:
    """End open messages (by sequence number or id) before their flow does.

    A running message stops at its next command: an effect under way ends and is recorded first. A cancelled message is done, with
    the reason `cancelled`; later messages of its key go on. With --undo what it did is taken back first; when that fails, it becomes a
    dead letter that says so. Dead letters are ended with `accord dead discard`.

    \b
    accord cancel 4711 --reason "customer called"
    accord cancel 0199c2a4f1d05e0c8b8d4e1f2a3b4c5d --undo
    accord cancel --all --flow order-to-cash --state waiting
    """
    if bool(messages) == all_ or (flow and not all_):
        raise click.UsageError("Name messages, or give --all with --flow.")
    operator = Operator(folder, environment)
    if all_:
        steer_all(operator, "cancel", flow, state, yes=yes, reason=reason, undo=undo)
    else:
        steer_named(operator, "cancel", messages, reason=reason, undo=undo)
