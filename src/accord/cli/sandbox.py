"""``accord sandbox``: start stand-ins for business systems, break them on purpose, place orders."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from accord.cli.output import console
from accord.sandbox.control import Known, Listing, SandboxError, ask, read_listing
from accord.sandbox.launcher import ORDERS_AT_ONCE_MAX, SYSTEMS, Sandbox

LOOK_EVERY_S = 0.5


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def duration(value: str | float) -> float:
    """``500ms``, ``2s``, ``1m``, or plain seconds; a number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", str(value).strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration; write 500ms, 30s, 2m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]


def rate_per_s(value: str | float) -> float:
    """``5/s``, ``300/m`` or plain requests a second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|m))?", str(value).strip())
    if match is None or float(match[1]) <= 0:
        raise click.BadParameter(f"{value!r} is not a rate; write 5/s or 300/m")
    return float(match[1]) / (60.0 if match[2] == "m" else 1.0)


folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".sandbox"),
    show_default=True,
    help="Where they keep their state.",
)


@click.group()
def sandbox() -> None:
    """Stand-ins for a company's systems (shop, accounting, CRM …), over their real protocols."""


def _pairs(values: tuple[str, ...], what: str) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r}: write {what}")
        found[name] = content
    return found


def _settings(values: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, content in _pairs(values, "SYSTEM.SETTING=VALUE").items():
        system, _, key = name.partition(".")
        number = re.fullmatch(r"-?\d+(\.\d+)?", content)
        words: dict[str, Any] = {"true": True, "false": False}
        found.setdefault(system, {})[key] = float(content) if number else words.get(content, content)
    return found


def _up(systems: tuple[str, ...], folder: Path, seed: int, values: tuple[str, ...], ports: tuple[str, ...]) -> None:
    wanted = {name: int(port) for name, port in _pairs(ports, "SYSTEM=PORT").items()}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _spoken(), Sandbox(folder, systems or SYSTEMS, seed, _settings(values), wanted) as running:
        console().print(_table(Listing(seed, 0, running.systems), {}))
        click.echo(f"Addresses and credentials: {running.folder / 'systems.json'} and sandbox.env. Ctrl+C stops.")
        while not stop.wait(LOOK_EVERY_S):
            ended = running.ended()
            if ended:
                names = ", ".join(f"{name} (code {code})" for name, code in ended.items())
                raise SandboxError(
                    f"Ended by itself: {names}.", mend=f"See log.txt in {running.folder}.", code="sandbox.ended"
                )


def _declare_up(name: str) -> None:
    """``up`` and ``start`` are one command: both run in the foreground until SIGTERM or Ctrl+C."""
    command = click.Command(
        name, callback=_up, params=[], help="Run the stand-ins (all when none is named) until SIGTERM or Ctrl+C."
    )
    decorated: Any = command
    for decorate in (
        click.option(
            "--port",
            "ports",
            multiple=True,
            metavar="SYSTEM=PORT",
            help="Fix a port (smtp=…: mail's SMTP).",
        ),
        click.option(
            "--set", "values", multiple=True, metavar="SYSTEM.SETTING=VALUE", help="E.g. shipping.dispatch_after_s=1."
        ),
        click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same data and credentials."),
        folder_option,
        click.argument("systems", nargs=-1, type=click.Choice(SYSTEMS)),
    ):
        decorated = decorate(decorated)
    sandbox.add_command(command)


_declare_up("up")
_declare_up("start")


@sandbox.command()
@folder_option
def status(folder: Path) -> None:
    """What runs, where, with which faults and how many objects."""
    with _spoken():
        listing = read_listing(folder)
        health = {}
        for name, known in listing.systems.items():
            try:
                health[name] = ask(known, "GET", "health", timeout_s=5)
            except SandboxError as fault:
                health[name] = {"up": False, "faults": {"not running": 1}, "counts": {}, "why": str(fault)}
        console().print(_table(listing, health))


@sandbox.command()
@click.argument("system")
@click.option("--down", type=duration, help="Refuse connections for so long (accounting: its database is locked).")
@click.option("--unavailable", type=duration, help="Answer 503 for so long.")
@click.option("--slow", "slow_s", type=duration, help="Every answer waits so long.")
@click.option("--rate-limit", "rate_limit_per_s", type=rate_per_s, help="429 above this rate, e.g. 5/s.")
@click.option(
    "--lose-answers", type=click.FloatRange(0, 1), help="Share of requests whose work is done and answer lost."
)
@click.option("--error", type=click.IntRange(400, 599), help="Answer with this status and do nothing.")
@click.option(
    "--share", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Of the requests that get --error."
)
@click.option("--duplicate-webhooks", is_flag=True, help="Deliver every webhook twice.")
@click.option("--reorder-webhooks", is_flag=True, help="Let later webhooks overtake earlier ones.")
@click.option(
    "--for", "for_s", type=duration, default=0.0, help="End these faults after so long (default: until --clear)."
)
@click.option("--clear", is_flag=True, help="End all faults of the system first.")
@folder_option
def fault(
    system: str, folder: Path, down: float | None, unavailable: float | None, for_s: float, **wanted: Any
) -> None:
    """Break SYSTEM (or 'all') on purpose: accord sandbox fault shipping --down 30s."""
    request = {name: value for name, value in wanted.items() if value not in (None, False)}
    timed = [(kind, seconds) for kind, seconds in (("down", down), ("unavailable", unavailable)) if seconds is not None]
    if not timed and not (request.keys() - {"share"}):
        raise click.UsageError("Name a fault, or --clear.")
    with _spoken():
        for known in _chosen(folder, system):
            found = ask(known, "POST", "fault", {**request, "for_s": for_s}) if request.keys() - {"share"} else {}
            for kind, seconds in timed:
                found = ask(known, "POST", "fault", {kind: True, "for_s": seconds})
        click.echo(", ".join(f"{kind}={value:g}" for kind, value in found["faults"].items()) or "no faults")


@sandbox.command()
@click.option("-n", "count", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="How many.")
@click.option("--rate", type=rate_per_s, help="Orders a second (default: as fast as the shop can).")
@folder_option
def order(count: int, rate: float | None, folder: Path) -> None:
    """Place random but seeded orders in the shop."""
    with _spoken():
        (shop,) = _chosen(folder, "shop")
        left = count
        while left:
            portion = min(left, ORDERS_AT_ONCE_MAX if rate is None else max(1, min(int(rate), ORDERS_AT_ONCE_MAX)))
            for placed in ask(shop, "POST", "orders", {"count": portion, "rate": rate}, timeout_s=120)["orders"]:
                click.echo(f"{placed['name']}  {placed['total_price']} {placed['currency']}  {placed['customer']}")
            left -= portion


@sandbox.command()
@click.argument("systems", nargs=-1)
@folder_option
def reset(systems: tuple[str, ...], folder: Path) -> None:
    """Drop the state of the named systems (all when none is named) and seed them again."""
    with _spoken():
        for system in systems or ("all",):
            for known in _chosen(folder, system):
                ask(known, "POST", "reset", {})


@sandbox.command()
@click.argument("by", required=False, metavar="[+DURATION]")
@click.option("--reset", is_flag=True, help="Back to the machine's time first.")
@folder_option
def clock(by: str | None, reset: bool, folder: Path) -> None:
    """Move the time of all stand-ins ahead: accord sandbox clock +1d. Without an argument, show it."""
    by_s = 0.0
    if by is not None:
        days = re.fullmatch(r"\+?(\d+(?:\.\d+)?)d", by)
        by_s = float(days[1]) * 86_400 if days else duration(by.removeprefix("+"))
    body = {"by_s": by_s, "reset": reset} if by is not None or reset else None
    with _spoken():
        for name, known in read_listing(folder).systems.items():
            told = ask(known, "POST" if body else "GET", "clock", body)
            click.echo(f"{name}: {told['now']} ({told['ahead_s'] / 3600:g} h ahead)")


def _chosen(folder: Path, system: str) -> list[Known]:
    listing = read_listing(folder)
    if system == "all":
        return list(listing.systems.values())
    if system not in listing.systems:
        raise SandboxError(
            f"{system!r} does not run here.",
            mend=f"Running: {', '.join(listing.systems)}.",
            code="sandbox.unknown-system",
        )
    return [listing.systems[system]]


class _spoken:
    """Turns a SandboxError into the command's error message and exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SandboxError):
            raise click.ClickException(str(error)) from error


def _table(listing: Listing, health: dict[str, Any]) -> Table:
    table = Table("system", "address", "for programs", *(["faults", "holds"] if health else []))
    for name, known in listing.systems.items():
        row = [name, known.address, known.smtp or known.database]
        if health:
            row.append(", ".join(f"{k}={v:g}" for k, v in health[name]["faults"].items()) or "none")
            row.append(", ".join(f"{n} {kind}" for kind, n in health[name]["counts"].items()))
        table.add_row(*row)
    return table
