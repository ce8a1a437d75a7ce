"""``accord status``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accord.cli.main import counted
from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table

COUNTS = ("running", "ready", "waiting", "held", "in_doubt", "done", "dead")


TITLES = tuple(name.replace("_", " ") for name in COUNTS)


@click.command("status")
@project_options
@json_option
def command(folder: Path, environment: str, as_json: bool) -> None:
    """What runs, waits and fails: flows with their messages, systems with their health, and the members when several engines work
    on one journal."""
    status = Operator(folder, environment).status()
    if as_json:
        show_json(status)
        return
    click.echo(f"{status['project']}: " + (status["address"] or "no engine is running"))
    flows = status["flows"]
    show_table(
        ("flow", *TITLES, ""),
        [(flow["name"], *(flow[name] for name in COUNTS), _paused(flow)) for flow in flows],
        right=TITLES,
        styles=["red" if flow["dead"] else "" for flow in flows],
    )
    show_bulk(status.get("bulk", []))
    show_versions(status["versions_in_flight"])
    show_members(status.get("members", []))
    if status["paused_messages"]:
        click.echo(
            f"{counted(status['paused_messages'], 'message')} paused one by one (`accord messages --state held`)"
        )
    systems = status["systems"]
    is_running = bool(status["address"])
    show_table(
        ("system", "health", "requests", "waiting", "held", "left to use", "reason"),
        [
            (s["name"], _health(s, is_running=is_running), _requests(s), s["waiting"], s["held"], _left(s), s["reason"])
            for s in systems
        ],
        right=("requests", "waiting", "held"),
        styles=["" if s["is_well"] else "red" for s in systems],
    )


def show_bulk(flows: list[dict[str, Any]]) -> None:
    """Bulk flows, each with its present or last run."""
    if flows:
        show_table(
            ("bulk flow", "state", "started", "rows", "rejected", "rows/s", "next"),
            [(one["flow"], *bulk_line(one["run"]), str(one["next"] or "")[:16]) for one in flows],
            right=("rows", "rejected", "rows/s"),
            styles=["red" if one["run"] and one["run"]["state"] == "failed" else "" for one in flows],
        )


def bulk_line(one: dict[str, Any] | None) -> tuple[Any, ...]:
    """State, start, rows, rejected, rows a second of a run; None: there was none."""
    if one is None:
        return "never ran", "", "", "", ""
    waits = f", waits since {str(one['waiting_since'])[:19]}: {one['waiting']}" if one["waiting"] else ""
    return one["state"] + waits, str(one["started"])[:19], one["rows"], one["rejected"], one["rows_per_s"]


def show_members(members: list[dict[str, Any]]) -> None:
    """Engines that work on this journal together, when they do."""
    if members:
        show_table(
            ("member", "address", "parts", "running", ""),
            [(one["name"], one["address"], one["parts"], one["running"], _presence(one)) for one in members],
            right=("parts", "running"),
            styles=["" if one["answers"] else "red" for one in members],
        )


def _presence(member: dict[str, Any]) -> str:
    if not member["answers"]:
        return "does not answer"
    return "leaves" if member["is_leaving"] else ""


def show_versions(versions: list[dict[str, Any]]) -> None:
    """Messages that finish on another version of their flow than today's."""
    if versions:
        show_table(
            ("flow", "version in flight", "since", "messages", "cannot run because"),
            [(one["flow"], one["version"], one["since"][:19], one["messages"], one["why_not"]) for one in versions],
            right=("messages",),
            styles=["red" if one["why_not"] else "" for one in versions],
        )


def _paused(one: dict[str, Any]) -> str:
    pause = one["paused"]
    if not pause:
        return ""
    return f"paused since {pause['since'][:19]}" + (f": {pause['reason']}" if pause["reason"] else "")


def _health(system: dict[str, Any], *, is_running: bool) -> str:
    if system["paused"]:
        return _paused(system)
    if not is_running:
        return "unknown"
    if system["is_well"] and system["pause_s"]:
        return f"throttled since {str(system['throttled_since'])[11:19]}, for {system['pause_s']} s more"
    return "well" if system["is_well"] else f"sick, next try in {system['wait_s']} s"


def _requests(system: dict[str, Any]) -> str:
    """Under way, and how many may be."""
    return f"{system['in_flight']} of {system['concurrency_limit']}"


def _left(system: dict[str, Any]) -> str:
    """The budget that is nearest to its end."""
    budgets = system["budgets"]
    if not budgets:
        return ""
    least = min(budgets, key=lambda budget: budget["left"] / (budget["limit"] or float("inf")))
    of = f" of {least['limit']:g}" if least["limit"] else ""
    until = f" for {least['resets_in_s']:g} s" if least["resets_in_s"] is not None else ""
    return f"{least['left']:g}{of}{until}"
