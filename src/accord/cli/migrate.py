"""``accord migrate``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options
from accord.cli.steering import OPEN_STATES, messages_argument, steer_all, steer_named


@click.command("migrate")
@project_options
@messages_argument
@click.option("--flow", default="", help="With --all: of this flow.")
@click.option("--all", "all_", is_flag=True, help="All open messages of --flow on an earlier version.")
@click.option("--state", type=click.Choice(OPEN_STATES), default=None, help="With --all: only those in this state.")
@click.option("--force", is_flag=True, help="Also when what a message did stands elsewhere in today's flow.")
@click.option("--yes", "-y", is_flag=True, help="With --all: do not ask.")
def command(
    folder: Path,
    environment: str,
    messages: tuple[str, ...],
    flow: str,
    all_: bool,
    state: str | None,
    force: bool,
    yes: bool,
) -> None:
    """Let messages that began on an earlier version of their flow finish on today's.

    What they did stays done, by the place of its step in the flow. A message whose done steps stand elsewhere today is refused: it would
    repeat or leave out something. `accord status` shows which versions are in flight.

    \b
    accord migrate 4711
    accord migrate --all --flow order-to-cash --state held
    """
    if bool(messages) == all_ or (flow and not all_):
        raise click.UsageError("Name messages, or give --all with --flow.")
    operator = Operator(folder, environment)
    if all_:
        steer_all(operator, "migrate", flow, state, yes=yes, force=force)
    else:
        steer_named(operator, "migrate", messages, force=force)
