"""A journal of millions: what it costs to have one, and to have one waiting for a system that is down.

``--settled N``: orders flow on an empty journal and on one that holds N settled messages, in turn (throughput, latency, CPU, start to
ready, also after a kill; the file is out of the page cache at each start, and what the first seconds cost is told beside the rest). The
settled ones are what a real run left, multiplied in SQL in the store's own tables: about 2.3 KB each on disk, 23 GB for ten million;
removed at the end.
``--waiting N``: N orders (``--per-key`` of each key) are accepted while the target refuses connections; then a kill and a restart,
then the target comes back. Accept rate, resident memory over time, catch-up rate, and at the target: lost, twice, order per key.
0 leaves a part out. Each part prints a table and a last line with its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from realtime.accord import Accord
from realtime.machine import machine
from realtime.measure import OUTSTANDING, Driver, Run, begin, half_rate, roots_of, sustained, warm
from realtime.processes import memory_mb

Say = Callable[[str], None]
BASE = 20_000  # real orders that are multiplied
DISK_SPARE = 1.3
BYTES_EACH = 2_600


class Big(Accord):
    """On a journal that is kept between runs; nothing of it is pruned."""

    name = "accord-big"

    def __init__(self, folder: Path, target: str, journal: Path) -> None:
        super().__init__(folder, target)
        self.journal = journal
        self.store = f"store: {{path: '{journal}'}}\n    retention: {{age: 365d, size_max: 1000GB}}"


@contextlib.contextmanager
def started(journal: Path) -> Iterator[tuple[Big, Driver, float]]:
    """Accord on this journal, a driver, and the seconds from start to ready."""
    driver = Driver()
    try:
        with tempfile.TemporaryDirectory(prefix="accord-bench-") as folder:
            contender = Big(Path(folder), driver.target, journal)
            try:
                yield contender, driver, begin(contender)
            finally:
                contender.close()
    finally:
        driver.close()


def restarted_s(contender: Big) -> float:
    """Seconds from start to ready after a SIGKILL."""
    contender.kill()
    before = time.monotonic()
    contender.start()
    return time.monotonic() - before


# --- settled ---------------------------------------------------------------------------------------------------------


def multiply(journal: Path, count: int) -> None:
    """Makes ``count`` settled messages of those that are there: same sizes, ids and digests of their own."""
    db = sqlite3.connect(journal, isolation_level=None)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -2000000")
    (first,) = db.execute("SELECT max(seq) FROM messages").fetchone()
    assert db.execute("SELECT count(*) FROM messages WHERE state = 10").fetchone()[0] == first, (
        "the base run settled all"
    )
    made = {
        "id": "printf('%012x', 1700000000000 + seq + :offset) || lower(hex(randomblob(10)))",
        "digest": "randomblob(16)",
        "key": "key || '-' || :offset",
    }
    have = first
    while have < count:
        part = min(have, count - have, 1_000_000)
        for table in ("messages", "contents", "results", "marks"):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            values = [made.get(column, "seq + :offset" if column == "seq" else column) for column in columns]
            order = "seq" if table != "marks" else "1"  # by digest: no page of a large index is read twice
            db.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} WHERE seq <= :part"
                f" ORDER BY {order}",
                {"offset": have, "part": part},
            )
        have += part
    db.execute("UPDATE counters SET n = ? WHERE state = 10", (have,))
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def out_of_cache(journal: Path) -> None:
    """So that a start reads from disk, as after a boot."""
    descriptor = os.open(journal, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def measured(journal: Path, seconds: float) -> tuple[Run, float, float]:
    """One run, orders a second in the first seconds after its start, and the seconds to ready after a kill under load."""
    with started(journal) as (contender, driver, ready_s):
        run, first = Run(ready_s=ready_s), Run()
        warm(contender, driver)
        sustained(contender, driver, seconds, first)
        sustained(contender, driver, seconds, run)
        half_rate(contender, driver, seconds, run)
        load = driver.begin(contender, 2, outstanding=OUTSTANDING)
        time.sleep(1)
        again_s = restarted_s(contender)
        driver.answer(load)
        driver.wait(contender)
        return run, first.orders_per_s, again_s


def settled(folder: Path, count: int, seconds: float, runs: int, say: Say) -> str:
    big = folder / "big.db"
    with started(big) as (contender, driver, _):
        driver.load(contender, 600, count=BASE, outstanding=OUTSTANDING)
        driver.wait(contender)
    began = time.monotonic()
    multiply(big, count)
    size_gb = big.stat().st_size / 1e9
    print(f"{count:,} settled messages made in {time.monotonic() - began:.0f} s: {size_gb:.1f} GB", flush=True)
    found: dict[str, list[tuple[Run, float, float]]] = {"empty": [], f"{count:,} settled": []}
    for number in range(runs):
        for name, runs_of in found.items():
            journal = folder / f"empty-{number}.db" if name == "empty" else big
            if journal.exists():
                out_of_cache(journal)
            runs_of.append(measured(journal, seconds))
            run = runs_of[-1][0]
            print(
                f"run {number + 1}, {name}: {run.orders_per_s:,.0f} orders/s, ready in {run.ready_s:.2f} s", flush=True
            )
    say(
        f"| journal | orders/s (runs) | in the first {seconds:g} s | p50, p99 ms at half the rate | CPU ms an order"
        " | ready s, from disk | ready s after kill -9 |"
    )
    say("|---|--:|--:|--:|--:|--:|--:|")
    medians = []
    for name, of in found.items():
        fields = ("orders_per_s", "p50_ms", "p99_ms", "ready_s")
        rate, p50, p99, ready = (statistics.median(getattr(run, field) for run, *_ in of) for field in fields)
        cpu = statistics.median(sum(run.cpu_ms.values()) for run, *_ in of)
        first = statistics.median(rate for _, rate, _ in of)
        again = statistics.median(seconds for *_, seconds in of)
        rates = ", ".join(f"{run.orders_per_s:,.0f}" for run, *_ in of)
        say(
            f"| {name} | {rate:,.0f} ({rates}) | {first:,.0f} | {p50:.1f}, {p99:.1f} | {cpu:.3f} | {ready:.2f} | {again:.2f} |"
        )
        medians.append((rate, p99, cpu, max(ready, again)))
    (rate, p99, cpu, _), (big_rate, big_p99, big_cpu, big_ready) = medians
    lost = sum(run.lost for of in found.values() for run, *_ in of)
    return (
        f"settled={count} rate_share={big_rate / rate:.2f} cpu_share={big_cpu / cpu:.2f} p99_ms={big_p99:.2f}"
        f" p99_empty_ms={p99:.2f} ready_s={big_ready:.2f} size_gb={size_gb:.1f} lost={lost}"
    )


# --- waiting ---------------------------------------------------------------------------------------------------------


class Watch:
    """Rows of a table: seconds, orders so far, rate since the last row, memory."""

    def __init__(self, contender: Big, driver: Driver, rows: int, total: int, say: Say) -> None:
        self.contender, self.driver, self.step, self.say = contender, driver, total / rows, say
        self.peak_mb = 0.0

    def until(self, what: str, total: int, within_s: float) -> list[tuple[float, int]]:
        """Samples of (time, count of ``what``) until it is ``total`` or stands still for 60 s."""
        samples = [(time.monotonic(), 0)]
        shown = moved = samples[0]
        while samples[-1][1] < total and time.monotonic() < samples[0][0] + within_s:
            time.sleep(0.5)
            now = (time.monotonic(), int(self.driver.ask("state")[what]))
            mb = memory_mb(roots_of(self.contender))
            self.peak_mb = max(self.peak_mb, mb)
            if now[1] > moved[1]:
                moved = now
            elif now[0] > moved[0] + 60:
                break
            samples.append(now)
            if now[1] - shown[1] >= self.step or now[1] >= total:
                rate = (now[1] - shown[1]) / (now[0] - shown[0])
                self.say(f"| {now[0] - samples[0][0]:.0f} | {what} | {now[1]:,} | {rate:,.0f} | {mb:.0f} |")
                shown = now
        return samples


def rate_between(samples: list[tuple[float, int]], low: float, high: float) -> float:
    """Between these shares of the whole count."""
    total = samples[-1][1]
    inside = [sample for sample in samples if low * total <= sample[1] <= high * total]
    if len(inside) < 2:
        inside = [samples[0], samples[-1]]
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def waiting(folder: Path, count: int, seconds: float, per_key: int, say: Say) -> str:
    with started(folder / "waiting.db") as (contender, driver, _):
        run = Run()
        warm(contender, driver)
        sustained(contender, driver, seconds, run)
        normal = run.orders_per_s
        say(f"Normal: {normal:,.0f} orders/s accepted and delivered.\n")
        say("| s | | orders | a second | memory MB |\n|--:|---|--:|--:|--:|")
        watch = Watch(contender, driver, 10, count, say)
        driver.ask("down")
        load = driver.begin(contender, 3600, count=count, outstanding=2 * count, keys=max(1, count // per_key))
        accepted = watch.until("accepted", count, 3600)
        driver.answer(load)
        waiting_mb, accept_peak_mb = memory_mb(roots_of(contender)), watch.peak_mb
        ready_s = restarted_s(contender)
        driver.ask("up")
        arrived = watch.until("arrived", count, 3600)
        total = driver.wait(contender)
    first, last = rate_between(accepted, 0.0, 0.1), rate_between(accepted, 0.9, 1.0)
    catch_up = rate_between(arrived, 0.05, 0.95)
    say(
        f"\nAccepted {first:,.0f}/s in the first tenth, {last:,.0f}/s in the last; {waiting_mb:.0f} MB with all waiting;"
        f" ready {ready_s:.2f} s after kill -9; caught up at {catch_up:,.0f}/s; memory at most {accept_peak_mb:.0f} MB while"
        f" accepting, {watch.peak_mb:.0f} MB in all."
    )
    return (
        f"waiting={count} accept_share={rate_between(accepted, 0, 1) / normal:.2f} accept_last_tenth={last / normal:.2f}"
        f" memory_mb={watch.peak_mb:.0f} catch_up_share={catch_up / normal:.2f} ready_s={ready_s:.2f} lost={total['lost']}"
        f" twice={total['repeated'] - total['recognised']} recognised={total['recognised']} overtaken={total['overtaken']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settled", type=int, default=10_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--per-key", type=int, default=4, help="orders of one key among those that wait (default 4)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load in each phase of a run (default 8)")
    parser.add_argument("--runs", type=int, default=3, help="of each journal with --settled (default 3)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--keep", type=Path, help="write the tables as Markdown to this file")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    need = max(args.settled, args.waiting) * BYTES_EACH * DISK_SPARE
    if shutil.disk_usage(args.folder).free < need:
        raise SystemExit(
            f"{args.folder} has less than {need / 1e9:.0f} GB free; choose another --folder or smaller counts"
        )
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
    say(f"{now}, {machine()}. `python bench/bench_big.py --settled {args.settled} --waiting {args.waiting}`\n")
    for part, measure, more in (("settled", settled, args.runs), ("waiting", waiting, args.per_key)):
        count = getattr(args, part)
        if count:
            with tempfile.TemporaryDirectory(prefix="accord-big-", dir=args.folder) as folder:
                say(f"\n`{measure(Path(folder), count, args.seconds, more, say)}`\n")
    if args.keep:
        args.keep.parent.mkdir(parents=True, exist_ok=True)
        args.keep.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
