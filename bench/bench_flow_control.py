"""Which way of finding a system's concurrency: `python bench/bench_flow_control.py [--real]`.

Limiters against systems whose capacity changes, in virtual time (the same figures every time), or with ``--real`` against an HTTP server
on loopback. Per phase: served, in percent of what the system could; median latency, in multiples of its own without a queue; refusals.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from accord.engine.clock import SystemClock
from accord.engine.fair import lane_of
from accord.engine.gate import Gate
from accord.engine.http import PooledHttpClient
from accord.engine.limiter import FixedLimit, GradientLimit, Limiter
from accord.observe import Observer
from accord.record import Done, Outcome, Retry
from accord.sdk.connector import RateLimit
from accord.sdk.http import HttpRequest, HttpResponse, InboundRequest
from accord.testing.http_server import serve
from unit.engine.virtual import LoopClock, SimulatedSystem, run_virtual

LIMIT_MAX = 64
CALLERS = 150


class Aimd(FixedLimit):
    """One more per window that is good, 0.6 of it per overload. ``slow_s``: a window with a slower median is overload too."""

    def __init__(self, limit_max: int, slow_s: float = math.inf) -> None:
        super().__init__(2)
        self.limit_max = limit_max
        self.slow_s = slow_s
        self.samples: list[float] = []
        self.changed_at_s = -math.inf

    def answered(self, began_s: float, now_s: float, in_flight: int) -> None:
        if began_s < self.changed_at_s:
            return
        self.samples.append(now_s - began_s)
        if len(self.samples) < max(5, self.limit // 2):
            return
        median_s = sorted(self.samples)[len(self.samples) // 2]
        self.samples.clear()
        if median_s > self.slow_s:
            self.overloaded(now_s, now_s)
        elif in_flight * 2 >= self.limit:
            self.limit = min(self.limit_max, self.limit + 1)

    def overloaded(self, began_s: float, now_s: float) -> None:
        if began_s >= self.changed_at_s:
            self.limit = max(1, int(self.limit * 0.6))
            self.changed_at_s = now_s
            self.samples.clear()


LIMITERS: dict[str, Callable[[], Limiter]] = {
    "fixed 64": lambda: FixedLimit(LIMIT_MAX),
    "AIMD, refusals only": lambda: Aimd(LIMIT_MAX),
    "AIMD, 250 ms is slow": lambda: Aimd(LIMIT_MAX, 0.25),
    "gradient": lambda: GradientLimit(LIMIT_MAX),
}

# name, then phases: workers, service (s), refuses above; every 40th request takes twenty times as long where `outliers`
SCENES: list[tuple[str, list[tuple[int, float, int]], bool]] = [
    ("capacity 32 → 4 → 32", [(32, 0.1, 10**6), (4, 0.1, 10**6), (32, 0.1, 10**6)], False),
    ("becomes slow by itself", [(1000, 0.05, 10**6), (1000, 0.4, 10**6)], False),
    ("refuses above 10, then not", [(1000, 0.1, 10), (1000, 0.1, 10**6)], False),
    ("slow, few workers", [(5, 1.0, 10**6)], False),
    ("outliers", [(24, 0.05, 10**6)], True),
]
PHASE_S = 30.0


async def load(
    gate: Gate, answer: Callable[[int], Awaitable[Outcome]], for_s: float, took: list[float], overload: list[int]
) -> None:
    ends = gate.now_s() + for_s
    lane = lane_of("f", "normal", False)
    count = 0

    async def caller() -> None:
        nonlocal count
        while gate.now_s() < ends:
            if not gate.enter_now() and not await gate.enter(lane):
                await asyncio.sleep(0.05)
                continue
            began_s = gate.now_s()
            count += 1
            outcome = await answer(count)
            gate.leave(outcome, began_s)
            if gate.now_s() > ends:
                return
            if isinstance(outcome, Done):
                took.append(gate.now_s() - began_s)
            else:
                overload.append(1)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def simulate(make: Callable[[], Limiter], phases: list[tuple[int, float, int]], *, outliers: bool) -> list[str]:
    async def run() -> list[str]:
        gate = Gate("s", RateLimit(concurrent=LIMIT_MAX), LoopClock(), Observer(stream=io.StringIO()))
        gate.limiter = make()
        system = SimulatedSystem(1, 1.0)
        cells = []
        for workers, service_s, above in phases:
            system.workers, system.service_s, system.refuses_above = workers, service_s, above

            async def answer(number: int) -> Outcome:
                is_outlier = outliers and number % 40 == 0
                done = await system.answer(20.0 if is_outlier else 1.0)
                return Done() if done else Retry("busy", after_s=0.05, throttled=True)

            took: list[float] = []
            overload: list[int] = []
            await load(gate, answer, PHASE_S, took, overload)
            mean_s = service_s * (1 + 19 / 40) if outliers else service_s
            could = min(workers, LIMIT_MAX, above) / mean_s * PHASE_S
            median_s = sorted(took)[len(took) // 2]
            cells.append(f"{100 * len(took) / could:3.0f} % {median_s / service_s:4.1f}× {len(overload):4d}")
        return cells

    return run_virtual(run)


def real(make: Callable[[], Limiter]) -> list[str]:
    async def run() -> list[str]:
        slots = asyncio.Semaphore(0)
        service_s = 0.05

        async def api(request: InboundRequest) -> HttpResponse:
            async with slots:
                await asyncio.sleep(service_s)
            return HttpResponse(status=200)

        gate = Gate("s", RateLimit(concurrent=LIMIT_MAX), SystemClock(), Observer(stream=io.StringIO()))
        gate.limiter = make()
        cells = []
        async with serve(api) as server:
            client = PooledHttpClient(connections_max=LIMIT_MAX)
            request = HttpRequest(method="POST", url=server.address, body=b"{}")

            async def answer(_: int) -> Outcome:
                await client.send(request)
                return Done()

            workers = 0
            for wanted in (16, 4, 16):
                while workers < wanted:
                    slots.release()
                    workers += 1
                while workers > wanted:
                    await slots.acquire()
                    workers -= 1
                took: list[float] = []
                await load(gate, answer, 6.0, took, [])
                median_s = sorted(took)[len(took) // 2]
                could = wanted / service_s * 6.0
                cells.append(f"{100 * len(took) / could:3.0f} % {median_s / service_s:4.1f}× {0:4d}")
            await client.close()
        return cells

    return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="an HTTP server on loopback: 16, 4, 16 workers of 50 ms")
    if parser.parse_args().real:
        for name, make in LIMITERS.items():
            print(f"{name:24}", " | ".join(real(make)))
        return
    for scene, phases, outliers in SCENES:
        print(f"\n{scene}")
        for name, make in LIMITERS.items():
            print(f"  {name:24}", " | ".join(simulate(make, phases, outliers=outliers)))


if __name__ == "__main__":
    main()
