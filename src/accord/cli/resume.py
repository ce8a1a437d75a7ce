"""``accord resume``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options
from accord.cli.steering import messages_argument, steer_all, steer_named


@click.command("resume")
@project_options
@messages_argument
@click.option("--flow", default="", help="Resume this flow.")
@click.option("--system", default="", help="Resume this system.")
@click.option("--all", "all_", is_flag=True, help="All messages of --flow that were paused one by one.")
@click.option("--yes", "-y", is_flag=True, help="With --all: do not ask.")
def command(
    folder: Path,
    environment: str,
    messages: tuple[str, ...],
    flow: str,
    system: str,
    all_: bool,
    yes: bool,
) -> None:
    """Let paused messages, a paused flow or a paused system go on.

    \b
    accord resume --flow order-to-cash
    accord resume 4711
    accord resume --all --flow order-to-cash
    """
    if sum((bool(messages), bool(system), bool(flow))) != 1:
        raise click.UsageError("Name messages, or --flow, or --system.")
    operator = Operator(folder, environment)
    if all_:
        steer_all(operator, "resume", flow, "held", yes=yes)
    elif messages:
        steer_named(operator, "resume", messages)
    else:
        kind, name = ("flow", flow) if flow else ("system", system)
        changed = operator.resume(kind, name)
        click.echo(f"{kind} {name}: " + ("resumed" if changed else "was not paused"))
