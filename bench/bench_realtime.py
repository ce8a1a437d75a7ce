"""End to end, side by side: signed 1.5 KB order webhook → durable → 12-field mapping with line items → HTTP POST → settled.

Runs the hand-written loop that is the limit (``realtime/limit.py``), Accord on each of its stores, and with ``--peers`` what a
user would pick instead (``peers/``), in turn, each from an empty state; prints medians of the runs. What cannot run here is
named with the reason. All on the loopback of this machine; the load generator and the target are one process that shares its cores.
See bench/README.md. The last line printed is ``accord=<orders/s> limit=<orders/s> ratio=<accord/limit> p99_ms=<…>``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
import tempfile
from pathlib import Path

from realtime.accord import Accord, AccordJetstream, AccordJetstream3, AccordPostgresql, AccordWorkers
from realtime.contender import Contender, Limit
from realtime.machine import machine
from realtime.measure import OUTSTANDING, Driver, Run, measure
from realtime.peers import PEERS
from realtime.shares import shares
from realtime.table import HEADS, last_line, row

OWN: tuple[type[Contender], ...] = (Limit, Accord, AccordWorkers, AccordPostgresql, AccordJetstream, AccordJetstream3)


def contenders(only: str, with_peers: bool) -> tuple[list[type[Contender]], list[str]]:
    """Who runs, and a note on each who cannot. Peers are installed here."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [*OWN, *(PEERS if with_peers or names else ())]
    unknown = set(names) - {contender.name for contender in known}
    if unknown:
        raise SystemExit(f"--only: no {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in known)}")
    notes, runnable = [], []
    for contender in known:
        if names and contender.name not in names:
            continue
        why_not = contender.missing()
        if why_not:
            notes.append(f"not measured: {contender.name} ({why_not})")
            print(notes[-1], flush=True)
        else:
            runnable.append(contender)
    return runnable, notes


def run_one(contender_type: type[Contender], seconds: float, *, with_faults: bool) -> Run:
    driver = Driver()
    try:
        with tempfile.TemporaryDirectory(prefix="accord-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            contender = contender_type(Path(folder), driver.target)
            try:
                return measure(contender, driver, seconds, with_faults=with_faults)
            finally:
                contender.close()
    finally:
        driver.close()


def print_shares(contender_type: type[Contender], seconds: float) -> str:
    driver = Driver()
    try:
        with tempfile.TemporaryDirectory(prefix="accord-bench-", ignore_cleanup_errors=True) as folder:
            contender = contender_type(Path(folder), driver.target)
            try:
                return f"{contender.title}, where the process's time goes: {shares(contender, driver, seconds)}"
            finally:
                contender.close()
    finally:
        driver.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, comma between: accord,limit,accord-postgresql,node-red,…")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load in each phase of a run (default 8)")
    parser.add_argument("--runs", type=int, default=3, help="of each (default 3); medians are printed")
    parser.add_argument("--peers", action="store_true", help="also the peers, installed into bench/.peers first")
    parser.add_argument("--faults", action="store_true", help="kill -9 and a 3 s outage of the target in the first run")
    parser.add_argument("--shares", action="store_true", help="one more run of each Accord under py-spy")
    parser.add_argument("--keep", type=Path, help="write the table as Markdown to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    chosen, notes = contenders(args.only, args.peers)
    results: dict[str, list[Run]] = {}
    for number in range(args.runs):
        for contender in list(chosen):  # in turn, so that what else the machine does falls on all
            print(f"run {number + 1}: {contender.name}", end=" ", flush=True)
            try:
                run = run_one(contender, args.seconds, with_faults=args.faults and number == 0)
            except (RuntimeError, AssertionError) as error:
                notes.append(f"not measured: {contender.name} ({str(error)[:300]})")
                print(notes[-1], flush=True)
                chosen.remove(contender)
                results.pop(contender.name, None)
                continue
            results.setdefault(contender.name, []).append(run)
            print(f"{run.orders_per_s:,.0f} orders/s, p99 {run.p99_ms:.1f} ms", flush=True)
    text = [
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {machine()}. `python bench/bench_realtime.py {' '.join(sys.argv[1:])}`",
        f"At most {OUTSTANDING} orders outstanding, 64 connections in; medians of {args.runs} runs of {args.seconds:g} s.",
        "",
        *HEADS,
        *(row(contender, results[contender.name]) for contender in chosen),
        "",
        *notes,
    ]
    if args.shares:
        text += [print_shares(c, args.seconds) for c in chosen if issubclass(c, Accord) and not c.options]
    print("\n".join(text))
    if args.keep:
        args.keep.parent.mkdir(parents=True, exist_ok=True)
        args.keep.write_text("\n".join((*text, "", f"`{last_line(results)}`", "")))
    print(last_line(results))


if __name__ == "__main__":
    main()
