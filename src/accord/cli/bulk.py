"""``accord bulk``: runs of bulk flows."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accord.cli.main import EXIT_STOPPED, counted
from accord.cli.operator import Operator
from accord.cli.options import json_option, project_options
from accord.cli.output import show_json, show_table
from accord.cli.status import bulk_line, show_bulk
from accord.errors import AccordError, did_you_mean

if TYPE_CHECKING:
    from accord.engine.bulk.desk import BulkDesk

LOOK_S = 0.2  # how often progress is shown


@click.group("bulk", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Bulk flows: many records at once, chunk by chunk. What is refused becomes a reject (`accord rejects`)."""


@command.command("run")
@project_options
@json_option
@click.argument("flow")
@click.option("--fresh", is_flag=True, help="Give up an open run first, instead of taking it up.")
@click.option("--accept-rejects", "accept", is_flag=True, help="Go on however many rejects there are.")
def run(folder: Path, environment: str, as_json: bool, flow: str, fresh: bool, accept: bool) -> None:
    """Run a bulk flow now; an open run (stopped, failed, killed) is taken up where it was.

    With a running engine it is done there, else here: Ctrl-C then stops it at the next chunk. Exit code 1 when it failed, stopped, or
    when source = written + rejected + filtered does not hold.
    """
    _run(folder, environment, flow, as_json=as_json, fresh=fresh, accept=accept)


@command.command("resume")
@project_options
@json_option
@click.argument("flow")
@click.option("--accept-rejects", "accept", is_flag=True, help="Go on however many rejects there are.")
def resume(folder: Path, environment: str, as_json: bool, flow: str, accept: bool) -> None:
    """Take up a run that was stopped or failed."""
    present = Operator(folder, environment).bulk_flow(flow)["run"]
    if not present or present["state"] not in ("stopped", "failed", "running"):
        mend = "`accord bulk run` begins a new one."
        raise AccordError(f"No run of '{flow}' is open.", mend=mend, code="engine.bulk-asked")
    _run(folder, environment, flow, as_json=as_json, fresh=False, accept=accept)


@command.command("stop")
@project_options
@click.argument("flow")
def stop(folder: Path, environment: str, flow: str) -> None:
    """Stop the run under way at its next chunk; `accord bulk resume` takes it up."""
    Operator(folder, environment).bulk_ask(flow, "stop")
    click.echo("it stops at the next chunk")


@command.command("list")
@project_options
@json_option
def list_(folder: Path, environment: str, as_json: bool) -> None:
    """List bulk flows, each with its present or last run."""
    flows = Operator(folder, environment).bulk_flows()
    if as_json:
        show_json(flows)
        return
    show_bulk(flows)


@command.command("show")
@project_options
@json_option
@click.argument("flow")
def show(folder: Path, environment: str, as_json: bool, flow: str) -> None:
    """Show the runs of a bulk flow, the newest first, and how the newest adds up."""
    runs = Operator(folder, environment).bulk_runs(flow)
    if as_json:
        show_json(runs)
        return
    show_table(
        ("run", "state", "started", "rows", "rejected", "rows/s", "error"),
        [(one["id"], *bulk_line(one), one["error"]) for one in runs],
        right=("rows", "rejected", "rows/s"),
        styles=["red" if one["state"] == "failed" else "" for one in runs],
    )
    if runs:
        show_sums(runs[0])


@command.command("profile")
@project_options
@json_option
@click.argument("flow")
@click.option("--run", default="", help="The id of a run that has ended; the newest unless told.")
def profile(folder: Path, environment: str, as_json: bool, flow: str, run: str) -> None:
    """Show what the data of a run looked like: nulls, distinct values, smallest, largest and most frequent ones, patterns."""
    found = Operator(folder, environment).bulk_profile(flow, run)
    if as_json:
        show_json(found)
        return
    click.echo(f"run {found['run']}: {found['rows']} of {found['read']} rows, {found['sampled']} of them sampled")
    show_table(
        ("field", "type", "nulls", "distinct", "smallest", "largest", "values", "patterns"),
        [(name, *_profile_line(one)) for name, one in found["fields"].items()],
        right=("nulls", "distinct"),
    )


def _profile_line(one: dict[str, Any]) -> tuple[str, ...]:
    cells = [one["type"], one["nulls"], one["distinct"], one["low"], one["high"]]
    texts = ["" if cell is None else str(cell) for cell in cells]
    if one["is_personal"]:
        return (*texts, "(personal)", "")
    return (*texts, _most(one["values"]), _most(one["patterns"]))


def _most(counts: dict[str, int]) -> str:
    return ", ".join(f"{text!r} {count}" for text, count in list(counts.items())[:3])


def show_sums(one: dict[str, Any]) -> None:
    """How a run adds up: source = passed + rejected + filtered (+ known), and what each target was given."""
    known = f" + {one['known']} known" if one["known"] else ""
    click.echo(
        f"{one['rows']} read = {one['passed']} passed + {one['rejected']} rejected + {one['filtered']} filtered{known}"
    )
    for write in one["writes"]:
        told = [
            f"{write[name]} {name}"
            for name in ("inserted", "updated", "unchanged", "deleted")
            if write[name] is not None
        ]
        click.echo(
            f"{write['target']} ({write['mode']}): {write['given']} given = {write['written']} written"
            f" + {write['refused']} refused, checksum {write['checksum']}" + (f"; {', '.join(told)}" if told else "")
        )
    for change in one["changes"]:
        click.echo(f"source: {change}")
    for finding in one["quality"]:
        click.echo(f"data quality: {finding}")
    for difference in one["differences"]:
        click.echo(f"it does not add up: {difference}", err=True)


def _run(folder: Path, environment: str, flow: str, *, as_json: bool, fresh: bool, accept: bool) -> None:
    operator = Operator(folder, environment)
    progress = _Progress(quiet=as_json)
    with progress:
        if operator.engine is None:
            one = asyncio.run(_run_here(folder, environment, flow, fresh=fresh, accept=accept, progress=progress))
        else:
            one = _run_there(operator, flow, fresh=fresh, accept=accept, progress=progress)
    if as_json:
        show_json(one)
    else:
        click.echo(f"run {one['id']} {one['state']} in {one['seconds']:g} s, {one['rows_per_s']} rows/s")
        show_sums(one)
        if one["error"]:
            click.echo(one["error"], err=True)
        elif one["rejected"]:
            click.echo(f"{counted(one['rejected'], 'reject')}: `accord rejects list --flow {flow}`")
    if one["state"] == "stopped":
        sys.exit(EXIT_STOPPED)
    if one["state"] != "done" or one["differences"]:
        sys.exit(1)


def _run_there(operator: Operator, flow: str, *, fresh: bool, accept: bool, progress: _Progress) -> dict[str, Any]:
    """In the running engine; Ctrl-C leaves it running."""
    operator.bulk_ask(flow, "run", fresh=fresh, accept=accept)
    while True:
        view = operator.bulk_flow(flow)
        one: dict[str, Any] | None = view["run"]
        if one is not None:
            progress.show(one)
            if not view["is_asked"] and one["state"] != "running":
                return one
        time.sleep(LOOK_S)


async def _run_here(
    folder: Path, environment: str, flow: str, *, fresh: bool, accept: bool, progress: _Progress
) -> dict[str, Any]:
    from accord.engine.build import engine_of
    from accord.engine.bulk.desk import run_view
    from accord.observe import Level, Observer
    from accord.project import load_project

    project = load_project(folder, environment)
    bulk = project.bulk_flows.get(flow)
    if bulk is None:
        mend = did_you_mean(flow, project.bulk_flows) or "A bulk flow has `read:`."
        raise AccordError(f"There is no bulk flow '{flow}'.", mend=mend, code="engine.bulk-asked")
    engine = engine_of(project, observer=Observer(level=Level.ERROR), is_brief=True)
    try:
        await engine.open_journal()
        await engine.connect({bulk.source.system, *(write.entity.system for write in bulk.writes)})
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, engine.bulk.stop_here, flow)
        work = asyncio.ensure_future(engine.bulk.run_here(flow, fresh=fresh, accept=accept))
        while not (await asyncio.wait([work], timeout=LOOK_S))[0]:
            _show_present(engine.bulk, flow, progress)
        shown = run_view(await work)
        assert shown is not None
        return shown
    finally:
        await engine.stop()


def _show_present(desk: BulkDesk, flow: str, progress: _Progress) -> None:
    from accord.engine.bulk.desk import run_view

    shown = run_view(desk.present(flow))
    if shown is not None:
        progress.show(shown)


class _Progress:
    """A bar on a terminal: rows, rows a second, rejects, time left (by the last whole run's rows). Nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._is_shown = not quiet and sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        if self._is_shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            text = "{task.completed:,.0f} rows  {task.fields[rate]:,} rows/s  {task.fields[rejects]} rejects"
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(text), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[waiting]}"), console=Console(stderr=True))
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, one: dict[str, Any]) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(one["flow"], total=one["expected"] or None, rate=0, rejects=0, waiting="")
        waiting = f"waiting: {one['waiting']}" if one["waiting"] else ""
        self._bar.update(
            self._task, completed=one["rows"], rate=one["rows_per_s"], rejects=one["rejected"], waiting=waiting
        )
