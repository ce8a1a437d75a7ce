"""Runs the business: stand-ins for eight systems, Accord between them, four scenes, and a proof.

Orders flow from the shop to warehouse, carrier, books and mail, at speed and then while systems fail. Deals won in the CRM become
customers, invoices and follow-ups. Tickets at the helpdesk show what the other systems know of who asks.
At the end the nightly loads run, and a warehouse holds what shop, CRM and books hold.

Usage: demo.py [--once] [--orders N] [--seed N]. Exit code 0 only when every system agrees.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agreement import SHOWN_MAX, Agreement, agreement
from nightly import FILE, FLOWS, compare, run_nightly
from people import ask_for_help, deals_agreement, rename_an_account, tickets_agreement, win_deals
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
    parser.add_argument("--deals", type=int, default=50, help="deals won in the CRM (default 50)")
    parser.add_argument("--tickets", type=int, default=20, help="tickets at the helpdesk (default 20)")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    settings = {"shipping": {"dispatch_after_s": 1.0, "deliver_after_s": 3.0}}
    with Stage(WORK, seed=args.seed, settings=settings) as stage:
        console.print(f"Eight systems and Accord are up ({stage.address}).")
        is_fine = first_half(stage.sandbox, args.orders)
        is_fine = second_half(stage.sandbox, args.orders) and is_fine
        is_fine = won_deals(stage.sandbox, args.deals, args.seed) and is_fine
        is_fine = support_knows(stage.sandbox, args.tickets) and is_fine
        is_fine = nightly(stage) and is_fine
        if not args.once:
            stay(stage)
    return 0 if is_fine else 1


def first_half(sandbox: Sandbox, orders: int) -> bool:
    console.rule(f"{orders} orders at speed")
    started = time.monotonic()
    sandbox.place_orders(orders)
    found = wait_for_agreement(lambda: agreement(sandbox))
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
    found = wait_for_agreement(lambda: agreement(sandbox))
    console.print(f"Everything caught up {time.monotonic() - started:.1f} s after the first order.")
    return show(found)


def won_deals(sandbox: Sandbox, deals: int, seed: int) -> bool:
    console.rule(f"{deals} deals are won while the CRM and marketing fail")
    started = time.monotonic()
    win_deals(sandbox, deals, seed)
    sandbox.fault("marketing", lose_answers=0.3, for_s=5)
    sandbox.fault("crm", unavailable=True, for_s=3)
    console.print(
        "  [yellow]the CRM is under maintenance for 3 s; a third of marketing's answers are lost for 5 s[/yellow]"
    )
    wait_for_agreement(lambda: deals_agreement(sandbox))
    rename_an_account(sandbox, "Renamed & Sons")
    console.print(f"  [yellow]{time.monotonic() - started:4.1f} s[/yellow] an account is renamed in the CRM")
    found = wait_for_agreement(lambda: deals_agreement(sandbox))
    return show(found, "every won deal has", f"{found.paid} won deals in the CRM")


def support_knows(sandbox: Sandbox, tickets: int) -> bool:
    console.rule(f"{tickets} customers ask where their order is")
    ask_for_help(sandbox, tickets)
    found = wait_for_agreement(lambda: tickets_agreement(sandbox))
    return show(found, "every ticket has", f"{found.paid} tickets at the helpdesk")


def nightly(stage: Stage) -> bool:
    console.rule("It is 2 o'clock at night: everything into the warehouse")
    for flow, run in zip(FLOWS, run_nightly(stage), strict=True):
        console.print(
            f"  {flow}: {run['rows']} read, {run['passed']} passed, {run['rejected']} rejected, {run['seconds']:.1f} s"
        )
    table = Table("table", "rows there", "in the warehouse", "worth there", "in the warehouse", title="The warehouse")
    found = compare(stage.sandbox, stage.project / FILE)
    for one in found:
        there, here = one.of_systems, one.of_warehouse
        style = "green" if one.is_equal else "red"
        worth = ["" if tally.total is None else f"{tally.total:,.2f}" for tally in (there, here)]
        table.add_row(one.table, str(there.rows), f"[{style}]{here.rows}[/]", worth[0], f"[{style}]{worth[1]}[/]")
    console.print(table)
    is_equal = all(one.is_equal for one in found)
    verdict = "[bold green]The warehouse agrees." if is_equal else "[bold red]The warehouse does not agree."
    console.print(verdict)
    return is_equal


def wait_for_agreement(look: Callable[[], Agreement]) -> Agreement:
    """Until all agree, or something is wrong for good, or the time is over."""
    deadline = time.monotonic() + AGREE_WITHIN_S
    columns = (
        TextColumn("{task.description:26}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        found = look()
        tasks = [progress.add_task(check.title, total=found.paid) for check in found.checks]
        while not found.is_reached and time.monotonic() < deadline:
            for task, check in zip(tasks, found.checks, strict=True):
                progress.update(task, completed=check.holds, total=found.paid)
            time.sleep(0.3)
            found = look()
    return found


def show(found: Agreement, what: str = "every paid order has", title: str = "") -> bool:
    table = Table(what, "agree", "missing", "wrong", title=title or f"{found.paid} paid orders in the shop")
    for check in found.checks:
        table.add_row(check.title, f"[green]{check.holds}[/green]", _names(check.missing), _names(check.wrong))
    console.print(table)
    for stranger in found.strangers[:SHOWN_MAX]:
        console.print(f"[red]out of nothing: {stranger}[/red]")
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
    console.print(f"Watch:               {stage.address}/")
    console.print(f"Place an order:      {sandbox.address('shop')}/")
    console.print(f"Read the mail:       {sandbox.address('mail')}/")
    console.print(f"Ask for help:        POST {sandbox.address('helpdesk')}/tickets")
    console.print(f"See the invoices:    {sandbox.address('accounting')}/")
    console.print(f"Ask the warehouse:   {stage.project / FILE} (DuckDB)")
    console.print(f"Look inside:         accord status --project {stage.project}")
    console.print(f"Break something:     accord sandbox fault shipping --down 30s --folder {sandbox.folder}")
    console.print("Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("ending")


if __name__ == "__main__":
    sys.exit(main())
