"""What ``accord pause``, ``resume`` and ``cancel`` share: which messages are meant, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from accord.cli.main import counted
from accord.cli.operator import Operator
from accord.errors import AccordError

F = TypeVar("F", bound=Callable[..., Any])
OPEN_STATES = ("ready", "waiting", "held")
PAGE = 500
ID_LENGTH = 32  # hex digits


def messages_argument(function: F) -> F:
    return click.argument("messages", nargs=-1, metavar="[MESSAGE]...")(function)


def all_options(function: F) -> F:
    """``--all``, ``--state``, ``--yes``, ``--reason``."""
    function = click.option("--reason", default="", help="Why; kept with it and shown.")(function)
    function = click.option("--yes", "-y", is_flag=True, help="With --all: do not ask.")(function)
    function = click.option(
        "--state", type=click.Choice(OPEN_STATES), default=None, help="With --all: only those in this state."
    )(function)
    return click.option("--all", "all_", is_flag=True, help="All open messages of --flow (and in --state).")(function)


def steer_named(operator: Operator, word: str, messages: Sequence[str], **options: Any) -> None:
    """Tells each message the word (pause, resume, cancel), by sequence number or id; what became of each is printed."""
    for message in messages:
        done = operator.steer(word, _seq_of(operator, message), **options)
        click.echo(f"message {done['seq']}: {done['state']}")


def steer_all(operator: Operator, word: str, flow: str, state: str | None, *, yes: bool, **options: Any) -> None:
    """Tells all open messages of a flow, after asking with their number."""
    if not flow:
        raise click.UsageError("--all needs --flow.")
    states = [state] if state else list(OPEN_STATES)
    counts = next((one for one in operator.status()["flows"] if one["name"] == flow), None)
    if counts is None:
        raise AccordError(f"There is no flow '{flow}'.", mend="`accord status` shows them.", code="engine.command")
    number = sum(counts[each] for each in states)
    shown = counted(number, f"{state or 'open'} message")
    if number and not yes:
        click.confirm(f"{word.capitalize()} {shown} of flow '{flow}'?", abort=True)
    done = refused = 0
    for each in states:
        after = 0
        while True:
            page = operator.steer_many(word, flow=flow, state=each, after_seq=after, limit=PAGE, **options)
            done += page["done"]
            refused += page["refused"]
            after = page["last"]
            if not after:
                break
    click.echo(
        f"{counted(done, 'message')} told to {word}" + (f", {refused} had ended or did not fit" if refused else "")
    )


def _seq_of(operator: Operator, message: str) -> int:
    if message.isascii() and message.isdigit() and len(message) < ID_LENGTH:
        return int(message)
    found = operator.messages(id=message, limit=1)
    if not found:
        what = f"There is no message with the id '{message}'."
        raise AccordError(what, mend="`accord messages` shows sequence numbers and ids.", code="engine.message-state")
    return int(found[0]["seq"])
