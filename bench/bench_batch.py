"""Bulk flows beside the same work by hand and beside other tools, with millions of records: ``make bench-batch``.

    python bench/bench_batch.py [--only S1,S3] [--rows 1000000] [--runs 3] [--peers] [--memory] [--idle] [--keep FILE]

Accord and the hand-written script (`bench/batch/ideal.py`) check the contract, map 12 fields and keep the rejects (1 % of the rows);
after every run the target's count and sums and the number of rejects must be what the generator says. Peers do what each can express
(`bench/peers_batch/`): dlt maps rows in Python; its Arrow forms and Sling move rows as they are. None of them keeps rejects; upserts, two
tables out of one record and APIs are not asked of them, nor Parquet of Sling, which fetches a program for it. Rows a second are of the
whole process, start included. S6 is the mapping alone, rows a second of CPU.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).parent
sys.path.insert(0, str(BENCH.parent))
sys.path.insert(0, str(BENCH))

from batch import peers  # noqa: E402
from batch.measure import Failed, Figures, measured, median  # noqa: E402
from batch.scenarios import (  # noqa: E402
    SCENARIOS,
    Place,
    Scenario,
    accord_command,
    make_project,
    prepared,
    run_accord,
    run_ideal,
)
from tests.servers import PostgresServer, running_postgres  # noqa: E402

HEAD = (
    "| scenario | contender | rows/s | wall s | without start s | CPU s | server's CPU s | peak MB |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|"
)


def row_of(place: Place, name: str, figures: Figures) -> str:
    return (
        f"| {place.scenario.name} | {name} | {place.rows / figures.wall_s:,.0f} | {figures.wall_s:.2f} "
        f"| {figures.working_s:.2f} | {figures.cpu_s:.2f} | {figures.server_cpu_s:.2f} | {figures.peak_mb:.0f} |"
    )


def run_peers(place: Place, runs: int, python: Path | None) -> tuple[str, list[str]]:
    """The fastest peer as ``name:rows/s``, and rows of the table; one that fails is told with its reason."""
    best, rows = ("none", 0.0), []
    for what in peers.VARIANTS.get(place.scenario.name, ()) if python else ():
        assert python is not None
        try:
            figures = median([peers.run(place, what, python) for _ in range(runs)])
        except Failed as error:
            print(f"{place.scenario.name} {peers.TOLD[what]}: {error}", file=sys.stderr, flush=True)
            rows.append(f"| {place.scenario.name} | {peers.TOLD[what]} | failed | | | | | |")
            continue
        rows.append(row_of(place, peers.TOLD[what], figures))
        best = max(best, (peers.TOLD[what], place.rows / figures.wall_s), key=lambda one: one[1])
    return (f"{best[0]}:{best[1]:.0f}" if best[1] else "none"), rows


def run_scenario(place: Place, runs: int, python: Path | None) -> tuple[str, list[str]]:
    """The line of a scenario, and its rows of the table."""
    pairs = [
        (run_accord(place), run_ideal(place)) for _ in range(runs)
    ]  # by turns: the machine's other work meets both
    accord, ideal = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    best, told = run_peers(place, runs, python)
    line = (
        f"{place.scenario.name} accord={place.rows / accord.wall_s:.0f} ideal={place.rows / ideal.wall_s:.0f} "
        f"ratio={ideal.wall_s / accord.wall_s:.2f} best_peer={best} peak_mb={accord.peak_mb:.0f}"
    )
    return line, [row_of(place, "Accord", accord), row_of(place, "by hand", ideal), *told]


def run_columns() -> str:
    done = subprocess.run([sys.executable, BENCH / "bench_columns.py"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run_memory(server: PostgresServer, rows: int) -> list[str]:
    """Peak resident memory with so many rows, and with a tenth of them."""
    peaks = {}
    for count in (rows // 10, rows):
        with tempfile.TemporaryDirectory() as folder, _prepared(SCENARIOS[0], count, folder, server) as place:
            peaks[count] = run_accord(place).peak_mb
    few, many = peaks
    return [f"memory peak_mb={peaks[few]:.0f} of {few} rows, {peaks[many]:.0f} of {many} rows: "
            f"x{peaks[many] / peaks[few]:.2f}"]  # fmt: skip


def run_idle(server: PostgresServer, runs: int) -> list[str]:
    """A run that finds no row."""
    with tempfile.TemporaryDirectory() as folder, _prepared(SCENARIOS[0], 1, folder, server) as place:
        (Path(folder) / "orders.csv").unlink()
        empty = median([_idle(place) for _ in range(runs)])
    return [f"idle wall_s={empty.wall_s:.2f} cpu_s={empty.cpu_s:.2f} peak_mb={empty.peak_mb:.0f}"]


def _idle(place: Place) -> Figures:
    place.clear()
    return measured(accord_command(make_project(place)), place.server_pid)


def _prepared(scenario: Scenario, rows: int, folder: str, server: PostgresServer):  # type: ignore[no-untyped-def]
    assert server.process is not None
    return prepared(scenario, rows, Path(folder), server.url, server.process.pid)


def _peers(folder: Path) -> Path | None:
    try:
        return peers.install(folder)
    except Failed as error:
        print(error, file=sys.stderr, flush=True)
        return None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="S1,S2,S3,S4,S5,S6")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of S1; S4 has half, S5 a fifth as many")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians are printed")
    parser.add_argument(
        "--peers", action="store_true", help="install other tools from PyPI into a venv of their own, and run them"
    )
    parser.add_argument(
        "--memory", action="store_true", help="peak of S1 with --rows and a tenth of them, nothing else"
    )
    parser.add_argument("--idle", action="store_true", help="a run that finds nothing to do, nothing else")
    parser.add_argument("--keep", type=Path, help="write the table to this file")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    lines: list[str] = []
    table: list[str] = []
    failed = False
    with running_postgres(is_synced=True) as server, tempfile.TemporaryDirectory() as venv:
        python = _peers(Path(venv)) if given.peers else None
        if given.memory:
            lines += run_memory(server, given.rows)
            print(lines[-1], flush=True)
        if given.idle:
            lines += run_idle(server, given.runs)
            print(lines[-1], flush=True)
        wanted = [] if given.memory or given.idle else given.only.split(",")
        for scenario in (one for one in SCENARIOS if one.name in wanted):
            with tempfile.TemporaryDirectory() as folder, _prepared(scenario, given.rows, folder, server) as place:
                try:
                    line, rows = run_scenario(place, given.runs, python)
                except Failed as error:
                    line, rows, failed = f"{scenario.name} failed: {error}", [], True
                print(line, flush=True)
                lines.append(line)
                table += rows
    if "S6" in wanted:
        lines.append(run_columns())
        print(lines[-1], flush=True)
    if given.keep:
        given.keep.write_text(kept(lines, table))
    sys.exit(1 if failed else 0)


def kept(lines: list[str], table: list[str]) -> str:
    command = 'make bench-batch ARGS="' + " ".join(sys.argv[1:]) + '"'
    about = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    return "\n".join(["# Batch bench", "", f"`{command}` · {about}", "", "```", *lines, "```", "", HEAD, *table, ""])


if __name__ == "__main__":
    main()
