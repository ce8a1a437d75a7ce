"""The monitor beside an engine at full rate, on a journal of many messages: how long pages take, and what looking costs.

Orders flow as fast as they go, in pairs of blocks: without anybody, and with three who look: one has the map open with its stream of live
figures, one loads another page every ``--pause`` seconds, one searches all messages for a key that is in none every ``--search`` seconds,
which reads the whole table. Printed: the median and the slowest of each page's times while the engine runs at full rate; how long the
engine's loop took to answer a request that does nothing; for each pair what looking added to the engine's CPU per order, their median and
quartiles; and what the same three cost while nothing flows. Throughput follows that; those who look are not counted, but take from the same
cores. The journal holds ``--settled`` messages more, made like those of ``bench_big.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from bench_big import BASE, multiply, started
from realtime.contender import Contender
from realtime.measure import OUTSTANDING, Run, cpu_by_part, sustained, warm

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


SEARCH = "messages of a key"
REST_S = 30.0


class Watchers:
    """Three who look, until the block's end. ``times``: milliseconds by page."""

    def __init__(self, host: str, pause_s: float, search_s: float) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in PAGES}
        self.events = 0
        self._host = host
        self._end = threading.Event()
        self._stream = http.client.HTTPConnection(host, timeout=60)
        reloaded = [name for name in PAGES if name != SEARCH]
        self._threads = [
            threading.Thread(target=self._load, args=(reloaded, pause_s)),
            threading.Thread(target=self._load, args=([SEARCH], search_s)),
        ]
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Watchers:
        for thread in (*self._threads, self._listener):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _load(self, pages: Sequence[str], pause_s: float) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        for name in itertools.cycle(pages):
            if self._end.wait(pause_s):
                break
            self.times[name].append(took_ms(connection, PAGES[name]))
        connection.close()

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        self.times["map"].append(took_ms(connection, PAGES["map"]))
        self._stream.request("GET", "/monitor/events")
        answer = self._stream.getresponse()
        while not self._end.is_set():
            line = answer.readline()
            self.events += line.startswith(b"data:")


class Pulse:
    """Asks for nothing, ten times a second, in both blocks: what the engine's loop does meanwhile, its answer waits for."""

    def __init__(self, host: str) -> None:
        self.times: list[float] = []
        self._host = host
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        while not self._end.wait(0.1):
            self.times.append(took_ms(connection, "/healthz"))
        connection.close()


def took_ms(connection: http.client.HTTPConnection, path: str) -> float:
    before = time.monotonic()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    return (time.monotonic() - before) * 1000


class Found(msgspec.Struct):
    """Of all blocks of one kind."""

    runs: list[Run] = []
    pulse_ms: list[float] = []

    def cpu_ms(self) -> list[float]:
        return [sum(run.cpu_ms.values()) for run in self.runs]


def looked_at(folder: Path, count: int, args: argparse.Namespace) -> str:
    journal = folder / "big.db"
    with started(journal) as (contender, driver, _):
        driver.load(contender, 600, count=BASE, outstanding=OUTSTANDING)
        driver.wait(contender)
    if count > BASE:
        multiply(journal, count)
    alone, looked = Found(), Found()
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    events = 0
    with started(journal) as (contender, driver, ready_s):
        warm(contender, driver)
        connection = http.client.HTTPConnection(contender.host, timeout=60)
        for path in PAGES.values():  # what is made once for the first page is no cost of looking
            took_ms(connection, path)
        for pair in range(args.pairs):
            for found in (alone, looked) if pair % 2 == 0 else (looked, alone):
                run = Run(ready_s=ready_s)
                with Pulse(contender.host) as pulse, contextlib.ExitStack() as stack:
                    if found is looked:
                        watchers = stack.enter_context(Watchers(contender.host, args.pause, args.search))
                    sustained(contender, driver, args.seconds, run)
                if found is looked:
                    events += watchers.events
                    for page, taken in watchers.times.items():
                        times[page] += taken
                found.runs.append(run)
                found.pulse_ms += pulse.times
        added = _at_rest(contender, args)
    _print_pages(times, count)
    return _compared(alone, looked) + f" at_rest_percent_of_a_core={added:.2f} messages={count} events={events}"


def _at_rest(contender: Contender, args: argparse.Namespace) -> float:
    """What the same three cost while no orders flow, in percent of a core: without the noise of the orders, and without what they and
    the pages cost each other."""
    shares = []
    for is_watched in (False, True):
        before, began_s = cpu_by_part(contender), time.monotonic()
        with Watchers(contender.host, args.pause, args.search) if is_watched else contextlib.nullcontext():
            time.sleep(REST_S)
        cpu_s = sum(cpu_by_part(contender).values()) - sum(before.values())
        shares.append(100 * cpu_s / (time.monotonic() - began_s))
    return shares[1] - shares[0]


def _print_pages(times: Mapping[str, Sequence[float]], count: int) -> None:
    print(f"\n| page, {count:,} messages in the journal | median ms | slowest ms | times |\n|---|--:|--:|--:|")
    for page, taken in times.items():
        if taken:
            print(f"| {page} | {statistics.median(taken):.0f} | {max(taken):.0f} | {len(taken)} |")


def _compared(alone: Found, looked: Found) -> str:
    print("\n| | orders/s | CPU ms an order | the loop answers in, ms: median, 99 %, slowest |\n|---|--:|--:|--:|")
    for name, found in (("nobody looks", alone), ("three look", looked)):
        rates = statistics.median(run.orders_per_s for run in found.runs)
        cpu = statistics.median(found.cpu_ms())
        pulses = sorted(found.pulse_ms)
        waits = f"{statistics.median(pulses):.1f}, {pulses[int(len(pulses) * 0.99)]:.1f}, {pulses[-1]:.1f}"
        print(f"| {name} | {rates:,.0f} | {cpu:.3f} | {waits} |")
    added = [100 * (with_ / without - 1) for without, with_ in zip(alone.cpu_ms(), looked.cpu_ms(), strict=True)]
    print(f"\nCPU added in each pair, percent: {', '.join(f'{one:+.1f}' for one in added)}")
    spread = statistics.quantiles(added, n=4) if len(added) > 1 else [added[0]] * 3
    lost = sum(run.lost for run in (*alone.runs, *looked.runs))
    return (
        f"cpu_cost_percent={spread[1]:+.1f} quartiles={spread[0]:+.1f}..{spread[2]:+.1f} pairs={len(added)} lost={lost}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settled", type=int, default=1_000_000, help="messages in the journal (2.6 KB each on disk)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load in each run (default 10)")
    parser.add_argument("--pairs", type=int, default=7, help="of blocks without and with those who look (default 7)")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two pages (default 2)")
    parser.add_argument("--search", type=float, default=5.0, help="seconds between two searches (default 5)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    with tempfile.TemporaryDirectory(prefix="accord-monitor-", dir=args.folder) as folder:
        print(looked_at(Path(folder), args.settled, args), flush=True)


if __name__ == "__main__":
    main()
