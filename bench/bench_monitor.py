"""The monitor beside an engine at full rate, on a journal of many messages: how long pages take, and what looking costs.

Orders flow as fast as they go, in turn without and with somebody who looks: one page after another, ``--pause`` seconds between, with
the stream of live figures open, as a browser does. Printed: the median and the slowest of each page's times while the engine runs at full
rate, and the engine's CPU per order without and with. Throughput follows that; the watcher itself is not counted, but takes from the
same cores.
The journal holds ``--settled`` messages more, made like those of ``bench_big.py``.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_big import BASE, multiply, started
from realtime.measure import OUTSTANDING, Run, sustained, warm

PAGES = {
    "map": "/",
    "flow": "/monitor/flows/order",
    "flow, 24 hours": "/monitor/flows/order?since=24h",
    "system": "/monitor/systems/target",
    "messages": "/monitor/messages",
    "messages of a flow and state": "/monitor/messages?flow=order&state=done",
    "messages of a key": "/monitor/messages?key=none",
    "one message": "/monitor/messages/1000",
    "dead letters": "/monitor/dead",
    "audit trail": "/monitor/audit",
}


class Watcher:
    """Somebody who looks, until the block's end. ``times``: milliseconds by page."""

    def __init__(self, host: str, pause_s: float) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in PAGES}
        self.events = 0
        self._host = host
        self._pause_s = pause_s
        self._end = threading.Event()
        self._stream = http.client.HTTPConnection(host, timeout=60)
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._listen, daemon=True)]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._threads[0].join()

    def _look(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        while not self._end.is_set():
            for name, path in PAGES.items():
                before = time.monotonic()
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
                self.times[name].append((time.monotonic() - before) * 1000)
                if self._end.wait(self._pause_s):
                    break
        connection.close()

    def _listen(self) -> None:
        self._stream.request("GET", "/monitor/events")
        answer = self._stream.getresponse()
        while not self._end.is_set():
            line = answer.readline()
            self.events += line.startswith(b"data:")


def looked_at(folder: Path, count: int, seconds: float, runs: int, pause_s: float) -> str:
    journal = folder / "big.db"
    with started(journal) as (contender, driver, _):
        driver.load(contender, 600, count=BASE, outstanding=OUTSTANDING)
        driver.wait(contender)
    if count > BASE:
        multiply(journal, count)
    found: dict[str, list[Run]] = {"nobody looks": [], "somebody looks": []}
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    events = 0
    with started(journal) as (contender, driver, ready_s):
        warm(contender, driver)
        for _ in range(runs):
            for name, runs_of in found.items():
                run = Run(ready_s=ready_s)
                if name == "nobody looks":
                    sustained(contender, driver, seconds, run)
                else:
                    with Watcher(contender.host, pause_s) as watcher:
                        sustained(contender, driver, seconds, run)
                    events += watcher.events
                    for page, taken in watcher.times.items():
                        times[page] += taken
                runs_of.append(run)
    print(f"\n| page, {count:,} messages in the journal | median ms | slowest ms | times |\n|---|--:|--:|--:|")
    for page, taken in times.items():
        if taken:
            print(f"| {page} | {statistics.median(taken):.0f} | {max(taken):.0f} | {len(taken)} |")
    print("\n| | orders/s (runs) | CPU ms an order (runs) |\n|---|--:|--:|")
    medians = []
    for name, of in found.items():
        rates, cpus = [run.orders_per_s for run in of], [sum(run.cpu_ms.values()) for run in of]
        medians.append(statistics.median(cpus))
        shown = ", ".join(f"{cpu:.3f}" for cpu in cpus)
        print(
            f"| {name} | {statistics.median(rates):,.0f} ({', '.join(f'{r:,.0f}' for r in rates)}) | {medians[-1]:.3f} ({shown}) |"
        )
    slowest = max(statistics.median(taken) for taken in times.values() if taken)
    lost = sum(run.lost for of in found.values() for run in of)
    return (
        f"messages={count} page_ms_median_max={slowest:.0f} cpu_cost={medians[1] / medians[0] - 1:+.1%}"
        f" events={events} lost={lost}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settled", type=int, default=1_000_000, help="messages in the journal (2.6 KB each on disk)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load in each run (default 10)")
    parser.add_argument("--runs", type=int, default=3, help="without and with somebody who looks (default 3)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two pages (default 1)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    with tempfile.TemporaryDirectory(prefix="accord-monitor-", dir=args.folder) as folder:
        print(looked_at(Path(folder), args.settled, args.seconds, args.runs, args.pause), flush=True)


if __name__ == "__main__":
    main()
