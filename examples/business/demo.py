"""Runs the business: stand-ins for five systems, Accord between them, orders at speed and then with faults, and a proof.

Usage: demo.py [--once] [--orders N] [--seed N]. Exit code 0 only when every system agrees.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from agreement import SHOWN_MAX, Agreement, agreement
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from stage import Stage

from accord.sandbox.launcher import Sandbox

WORK = Path(__file__).parent.parent.parent / ".demo"
AGREE_WITHIN_S = 180.0
FAULTS: list[tuple[float, str, dict[str, object], str]] = [
    # after seconds, system, fault, in words
    (0.0, "shop", {"duplicate_webhooks": True, "for_s": 30}, "the shop sends webhooks twice"),
    (0.0, "shop", {"reorder_webhooks": True, "for_s": 30}, "the shop sends webhooks out of order"),
    (0.5, "inventory", {"lose_answers": 0.2, "for_s": 12}, "inventory works, but a fifth of its answers are lost"),
    (1.5, "shipping", {"down": True, "for_s": 5}, "shipping is down for 5 s"),
    (3.0, "accounting", {"down": True, "for_s": 4}, "accounting's database is locked for 4 s"),
    (4.0, "mail", {"unavailable": True, "for_s": 4}, "mail is under maintenance for 4 s"),
    (7.0, "inventory", {"rate_limit_per_s": 200, "for_s": 4}, "inventory allows 200 requests a second"),
    (8.0, "shipping", {"lose_answers": 0.3, "for_s": 4}, "shipping works, but a third of its answers are lost"),
]
console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the tables")
    parser.add_argument("--orders", type=int, default=200, help="orders of each half (default 200)")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    settings = {"shipping": {"dispatch_after_s": 1.0, "deliver_after_s": 3.0}}
    with Stage(WORK, seed=args.seed, settings=settings) as stage:
        console.print(f"Five systems and Accord are up ({stage.address}).")
        is_fine = first_half(stage.sandbox, args.orders)
        is_fine = second_half(stage.sandbox, args.orders) and is_fine
        if not args.once:
            stay(stage)
    return 0 if is_fine else 1


def first_half(sandbox: Sandbox, orders: int) -> bool:
    console.rule(f"{orders} orders at speed")
    started = time.monotonic()
    sandbox.place_orders(orders)
    found = wait_for_agreement(sandbox, orders)
    seconds = time.monotonic() - started
    console.print(f"From the first order to the last mail: {seconds:.1f} s (parcels take 1 s to leave).")
    return show(found)


def second_half(sandbox: Sandbox, orders: int) -> bool:
    console.rule(f"{orders} orders while systems fail")
    started = time.monotonic()
    pending = list(FAULTS)
    placed = 0
    while placed < orders or pending:
        now = time.monotonic() - started
        while pending and pending[0][0] <= now:
            _, system, fault, words = pending.pop(0)
            sandbox.fault(system, **fault)
            console.print(f"  [yellow]{now:4.1f} s[/yellow] {words}")
        portion = min(max(1, orders // 55), orders - placed)
        if portion:
            sandbox.place_orders(portion)
            placed += portion
        time.sleep(0.2)
    found = wait_for_agreement(sandbox, orders)
    console.print(f"Everything caught up {time.monotonic() - started:.1f} s after the first order.")
    return show(found)


def wait_for_agreement(sandbox: Sandbox, orders: int) -> Agreement:
    """Until all agree, or something is wrong for good, or the time is over."""
    deadline = time.monotonic() + AGREE_WITHIN_S
    columns = (
        TextColumn("{task.description:26}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        found = agreement(sandbox)
        tasks = [progress.add_task(check.title, total=found.paid) for check in found.checks]
        while not found.is_reached and time.monotonic() < deadline:
            for task, check in zip(tasks, found.checks, strict=True):
                progress.update(task, completed=check.holds, total=found.paid)
            time.sleep(0.3)
            found = agreement(sandbox)
    return found


def show(found: Agreement) -> bool:
    table = Table("every paid order has", "agree", "missing", "wrong", title=f"{found.paid} paid orders in the shop")
    for check in found.checks:
        table.add_row(check.title, f"[green]{check.holds}[/green]", _names(check.missing), _names(check.wrong))
    console.print(table)
    for stranger in found.strangers[:SHOWN_MAX]:
        console.print(f"[red]without a paid order: {stranger}[/red]")
    verdict = (
        "[bold green]All systems agree.[/bold green]"
        if found.is_reached
        else "[bold red]The systems do not agree.[/bold red]"
    )
    console.print(verdict)
    return found.is_reached


def _names(names: list[str]) -> str:
    if not names:
        return "0"
    shown = ", ".join(names[:SHOWN_MAX]) + (" …" if len(names) > SHOWN_MAX else "")
    return f"[red]{len(names)}: {shown}[/red]"


def stay(stage: Stage) -> None:
    sandbox = stage.sandbox
    console.rule("Yours to play")
    console.print(f"Place an order:      {sandbox.address('shop')}/")
    console.print(f"Read the mail:       {sandbox.address('mail')}/")
    console.print(f"See the invoices:    {sandbox.address('accounting')}/")
    console.print(f"Look inside:         accord status --project {stage.project}")
    console.print(f"Break something:     accord sandbox fault shipping --down 30s --folder {sandbox.folder}")
    console.print("Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("ending")


if __name__ == "__main__":
    sys.exit(main())
