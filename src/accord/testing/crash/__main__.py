"""``make crash``: kills, counts, prints the table. Exit code 1 when a guarantee did not hold or a point was not reached."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop

from accord.testing.crash.laboratory import Report, run_laboratory
from accord.testing.crash.lane import Plan
from accord.testing.proxy import EVERY_TOXIC


def main() -> None:
    parser = argparse.ArgumentParser(prog="accord.testing.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--lanes", type=int, default=2, help="engines at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin to finish after so long, whatever is left")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--store", choices=("sqlite", "postgresql", "jetstream"), default="sqlite", help="where the journal is"
    )
    parser.add_argument("--nodes", type=int, default=1, help="engines on one journal, killed in turn (postgresql)")
    parser.add_argument("--proxy", action="store_true", help="a fault proxy before the targets")
    parser.add_argument("--keep", metavar="FILE", help="write the tables as Markdown")
    given = parser.parse_args()
    if given.nodes > 1 and given.store != "postgresql":
        parser.error("several nodes need --store postgresql")
    plan = Plan(
        kills=given.kills,
        messages=given.messages,
        seed=given.seed,
        nodes=given.nodes,
        toxics=EVERY_TOXIC if given.proxy else (),
        seconds_max=given.minutes * 60,
    )
    with (
        tempfile.TemporaryDirectory(prefix="accord-crash-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        report = runner.run(run_laboratory(Path(folder), plan, given.lanes, given.store, _progress(given.kills)))
    text = f"{report.table()}\n\n{report.summary()}\n"
    sys.stdout.write(text)
    missed = report.points_missed
    if missed:
        sys.stdout.write(f"not reached: {', '.join(missed)}\n")
    for fault in report.faults:
        sys.stdout.write(f"FAULT {fault}\n")
    if given.keep:
        Path(given.keep).write_text(_page(report, text, given.nodes))
    sys.exit(1 if report.faults or missed else 0)


def _progress(wanted: int) -> Callable[[int, int], None]:
    def tell(kills: int, messages: int) -> None:
        sys.stderr.write(f"{kills:,} of {wanted:,} kills, {messages:,} messages\n")

    return tell


def _page(report: Report, text: str, nodes: int) -> str:
    command = f"make crash ARGS='{shlex.join(sys.argv[1:])}'"
    verdict = "\n".join(f"- FAULT {fault}" for fault in report.faults) or "Every guarantee held."
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return (
        f"# Crash laboratory, {today}\n\n`{command}` on {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}, journal in {report.store}, engines per lane: {nodes}.\n\n"
        f"{text}\n{verdict}\n\n{report.kills_table()}\n"
    )


if __name__ == "__main__":
    main()
