"""``accord pause``"""

from __future__ import annotations

from pathlib import Path

import click

from accord.cli.operator import Operator
from accord.cli.options import project_options
from accord.cli.steering import all_options, messages_argument, steer_all, steer_named


@click.command("pause")
@project_options
@messages_argument
@click.option("--flow", default="", help="Pause this flow: its messages are accepted and wait.")
@click.option("--system", default="", help="Pause this system: nothing is sent to it or read from it.")
@all_options
def command(
    folder: Path,
    environment: str,
    messages: tuple[str, ...],
    flow: str,
    system: str,
    all_: bool,
    state: str | None,
    yes: bool,
    reason: str,
) -> None:
    """Pause messages (by sequence number or id), a flow, or a system, until `accord resume`.

    A paused flow goes on accepting; what runs finishes its attempt, the rest waits on disk. A paused message keeps back later
    messages of its key. A paused system holds the messages that need it; webhooks from it are still accepted. All of it survives
    a restart and shows in `accord status`.

    \b
    accord pause --flow order-to-cash --reason "price list is wrong"
    accord pause --system erp
    accord pause 4711
    accord pause --all --flow order-to-cash --state waiting
    """
    if sum((bool(messages), bool(system), bool(flow))) != 1:
        raise click.UsageError("Name messages, or --flow, or --system.")
    operator = Operator(folder, environment)
    if all_:
        steer_all(operator, "pause", flow, state, yes=yes, reason=reason)
    elif messages:
        steer_named(operator, "pause", messages, reason=reason)
    else:
        kind, name = ("flow", flow) if flow else ("system", system)
        changed = operator.pause(kind, name, reason)
        click.echo(f"{kind} {name}: " + ("paused" if changed else "was paused already"))
