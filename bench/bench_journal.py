"""The journal's figures: ``python bench/bench_journal.py [--held 1000000] [--settled 1000000] [--folder DIR]``.

Pairs/s: a message of 1.5 KB is accepted, then settled as done with three results and a cross-reference, through ``Journal``
on uvloop, in groups of 1, 10 and 100 concurrent orders. Medians of five runs; commit latency per commit.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from accord.journal.group import Journal
from accord.journal.operations import Accept, CrossReference, Operation, Settle, State, StepResult
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify
from accord.record import Message

BODY = b'{"id": 1001, "lines": "' + b"x" * 1500 + b'"}'
RUNS = 5
VALUE = b'["done", {"id": "8f0c2b", "status": "created"}]'


class Orders:
    def __init__(self) -> None:
        self.number = 0

    def accept(self, flow: str = "order-to-cash", key: str = "") -> Accept:
        self.number += 1
        n = self.number
        message = Message(
            id=f"{time.time_ns():x}{n:08x}", flow=flow, key=key or f"order-{n}", source="shop.orders", body=BODY,
            time=dt.datetime.now(dt.UTC), event_id=os.urandom(16).hex(), headers={"accord-topic": "orders/create"},
            trace_id=os.urandom(16).hex(),
        )  # fmt: skip
        return Accept((message,))


def settle(seq: int, state: State = State.DONE, held_by: str = "") -> Settle:
    if state is State.HELD:
        return Settle(seq=seq, state=state, held_by=held_by)
    return Settle(
        seq=seq,
        state=state,
        results=(StepResult("1.split[0].0.call", VALUE), StepResult("2.write", VALUE), StepResult("3.write", VALUE)),
        references=(CrossReference("shop.orders", str(seq), "shipping.shipments", f"s{seq}"),),
        attempts=1,
    )


async def one(journal: Journal, orders: Orders) -> None:
    accepted = await journal.submit(orders.accept())
    await journal.submit(settle(accepted.messages[0].seq))


async def run(journal: Journal, orders: Orders, group: int, pairs: int) -> tuple[float, float, float]:
    """(pairs per second, CPU microseconds per pair, milliseconds per commit)."""
    commits, wall, cpu = journal.commits, time.perf_counter(), time.thread_time()

    async def worker() -> None:
        for _ in range(pairs // group):
            await one(journal, orders)

    await asyncio.gather(*(worker() for _ in range(group)))
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    done = pairs // group * group
    return done / wall, cpu / done * 1e6, wall / (journal.commits - commits) * 1e3


async def measure(path: Path, title: str) -> None:
    journal = Journal(SqliteStore(path))
    journal.open()
    orders = Orders()
    orders.number = 10**9
    print(f"\n{title}: file {path.stat().st_size / 1e6:.0f} MB")
    for group, pairs in ((1, 1500), (10, 8000), (100, 20000)):
        runs = [await run(journal, orders, group, pairs) for _ in range(RUNS)]
        rate, cpu, commit = (statistics.median(r[i] for r in runs) for i in range(3))
        print(f"  group {group:>3}: {rate:>8,.0f} pairs/s   {cpu:>5.1f} us CPU/pair   {commit:>6.3f} ms/commit")
    await measure_reads(journal)
    await latencies(journal, orders)
    await journal.close()


async def latencies(journal: Journal, orders: Orders) -> None:
    """Accept-to-disk times of a steady 3,000 orders/s, so that a stalling checkpoint shows in the tail."""
    taken: list[float] = []

    async def timed() -> None:
        started = time.perf_counter()
        await one(journal, orders)
        taken.append(time.perf_counter() - started)

    tasks = []
    start = time.perf_counter()
    for n in range(12_000):
        delay = start + n / 3000 - time.perf_counter()
        if delay > 0.001:
            await asyncio.sleep(delay)
        tasks.append(asyncio.ensure_future(timed()))
    await asyncio.gather(*tasks)
    taken.sort()
    shown = "   ".join(
        f"{name} {taken[int(len(taken) * at)] * 1e3:.2f}"
        for name, at in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    )
    print(f"  3,000 pairs/s steady, ms per pair: {shown}   max {taken[-1] * 1e3:.2f}")


async def measure_reads(journal: Journal) -> None:
    store = journal.read
    reads = {
        "lease of none": lambda: store.lease("order-to-cash", 0, 100),
        "counts": store.counts,
        "next_of_key": lambda: store.next_of_key("order-to-cash", "order-77"),
        "held": store.held,
        "messages(held, 100)": lambda: store.messages(state="held", limit=100),
    }
    for name, read in reads.items():
        times = []
        for _ in range(50):
            started = time.perf_counter()
            read()
            times.append(time.perf_counter() - started)
        print(f"  {name:<20} {statistics.median(times) * 1e6:>8.1f} us")


def fill(path: Path, settled: int, held: int) -> None:
    """Straight through the store, in large groups; a tenth of the held ones queue as ready behind a held one of their key."""
    store = SqliteStore(path)
    store.open()
    orders = Orders()
    for count, state in ((settled, State.DONE), (held, State.HELD)):
        for start in range(0, count, 2000):
            keys = [f"k{n // 10}" if state is State.HELD else "" for n in range(start, start + 2000)]
            accepts: list[Operation] = [orders.accept(key=key) for key in keys]
            seqs = [a.messages[0].seq for a in store.commit(accepts)]
            kept = [s for n, s in enumerate(seqs) if state is State.DONE or n % 10 != 9]
            store.commit([settle(seq, state, "shipping") for seq in kept])
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--settled", type=int, default=0)
    parser.add_argument("--held", type=int, default=0)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        uvloop.run(measure(Path(folder) / "empty.db", "Empty journal"))
        if options.settled or options.held:
            path = Path(folder) / "full.db"
            fill(path, options.settled, options.held)
            uvloop.run(measure(path, f"{options.settled:,} settled and {options.held:,} held"))
            if options.verify:
                print(f"  violations: {verify(path)}")


if __name__ == "__main__":
    main()
