"""``make crash-bulk``: kills loads, compares, prints the table. Exit code 1 when a row or reject was not as it should be."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import platform
import shlex
import sys
import tempfile
from pathlib import Path

from accord.testing.bulk_crash.laboratory import Report, run_laboratory
from accord.testing.bulk_crash.loads import Plan
from accord.testing.bulk_crash.mariadb import MariadbServer
from accord.testing.bulk_crash.targets import TARGETS, targets_of
from accord.testing.crash.postgresql import PostgresqlGround


def main() -> None:
    parser = argparse.ArgumentParser(prog="accord.testing.bulk_crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="at random moments, of each target over its modes")
    parser.add_argument("--targets", default=",".join(TARGETS), help="some of them, with commas")
    parser.add_argument("--rows", type=int, default=4000, help="of a load")
    parser.add_argument("--lanes", type=int, default=2, help="targets at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="of a target, then its loads end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FILE", help="write the table as Markdown")
    given = parser.parse_args()
    names = given.targets.split(",")
    if unknown := set(names).difference(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    plan = Plan(kills=given.kills, rows=given.rows, seed=given.seed, seconds_max=given.minutes * 60)
    with tempfile.TemporaryDirectory(prefix="accord-crash-") as folder:
        report = asyncio.run(_run(Path(folder), plan, names, given.lanes))
    text = f"{report.table()}\n\n{report.summary()}\n"
    sys.stdout.write(text)
    for fault in report.faults:
        sys.stdout.write(f"FAULT {fault}\n")
    if given.keep:
        Path(given.keep).write_text(_page(report, text))
    sys.exit(1 if report.faults else 0)


async def _run(folder: Path, plan: Plan, names: list[str], lanes: int) -> Report:
    async with contextlib.AsyncExitStack() as stack:
        postgresql = mariadb = ""
        if "postgresql" in names:
            ground = PostgresqlGround()
            await stack.enter_async_context(ground)
            postgresql = ground.url.replace("postgresql://", "postgresql+psycopg://")
        if "mariadb" in names:
            mariadb = (await stack.enter_async_context(MariadbServer())).url
        return await run_laboratory(folder, plan, targets_of(names, postgresql, mariadb), lanes)


def _page(report: Report, text: str) -> str:
    command = f"make crash-bulk ARGS='{shlex.join(sys.argv[1:])}'"
    verdict = "\n".join(f"- FAULT {fault}" for fault in report.faults) or "Every row and every reject was there once."
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return (
        f"# Crash laboratory of bulk loads, {today}\n\n`{command}` on {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}. Half of the loads read a table, half CSV files; 1 % of the rows is bad.\n\n{text}\n{verdict}\n\n"
        f"{report.points_table()}\n"
    )


if __name__ == "__main__":
    main()
