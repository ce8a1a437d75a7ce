"""``accord alerts``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.settings.durations import parse_duration

SILENCE_MAX_S = 31_536_000  # a year


@click.group("alerts")
def command() -> None:
    """Declared alerts: which fire, keep one quiet for a while, try a channel."""


@command.command("list")
@project_options
@json_option
def list_(folder: Path, environment: str, as_json: bool) -> None:
    """Every alert and where its condition holds. `waits`: not for as long yet as its `for` says."""
    alerts = Operator(folder, environment).alerts()
    if as_json:
        show_json(alerts)
        return
    rows = [row for alert in alerts for row in _rows(alert)]
    styles = ["red" if row[2] == "firing" else "" for row in rows]
    show_table(("alert", "severity", "state", "since", "what", "silenced until"), rows, styles=styles)


@command.command("silence")
@project_options
@click.argument("alert")
@click.option(
    "--for", "duration", default="1h", show_default=True, help="How long, like 30m or 8h; 0s ends the silence."
)
@click.option("--reason", default="", help="Shown beside the alert.")
def silence(folder: Path, environment: str, alert: str, duration: str, reason: str) -> None:
    """Send no notices of ALERT ('*': of any) for a while. It goes on being looked at; what still fires then is told."""
    try:
        for_s = int(parse_duration(duration).total_seconds())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    if for_s > SILENCE_MAX_S:
        raise click.BadParameter("a year at most", param_hint="--for")
    Operator(folder, environment).silence(alert, for_s, reason)
    click.echo(f"{alert}: silenced for {duration}" if for_s else f"{alert}: told again")


@command.command("test")
@project_options
@click.argument("channel")
def test(folder: Path, environment: str, channel: str) -> None:
    """Send a notice to CHANNEL now, to see that it arrives."""
    Operator(folder, environment).test_channel(channel)
    click.echo(f"{channel}: took the notice")


def _rows(alert: dict[str, Any]) -> list[tuple[Any, ...]]:
    until = str(alert["silenced_until"] or "")[:19]
    if not alert["active"]:
        return [(alert["alert"], alert["severity"], "well", "", "", until)]
    return [
        (
            alert["alert"],
            alert["severity"],
            "firing" if one["fired_at"] else "waits",
            str(one["since"])[:19],
            one["text"],
            until,
        )
        for one in alert["active"]
    ]
