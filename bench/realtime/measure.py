"""What is measured of one contender, the same way for all."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from realtime.contender import Contender
from realtime.orders import FIRST
from realtime.processes import cpu_s, memory_mb

NUMBERS_EACH = 5_000_000
IDLE_AFTER_S = 1.0
SETTLE_WITHIN_S = 60.0
OUTSTANDING = 512  # orders accepted and not yet arrived, at most: what a real backlog would hide from the figures
OUTAGE_S = 3.0
RATE_MIN = 2.0
KILL_RATE_MAX, OUTAGE_RATE_MAX = 4_000.0, 1_000.0


class Run(msgspec.Struct, kw_only=True):
    """One run. Rates in orders a second; ``cpu_ms``: CPU per order by part; ``driver_share``: of one core."""

    orders_per_s: float = 0.0
    half_rate: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_ms: dict[str, float] = {}
    idle_mb: float = 0.0
    peak_mb: float = 0.0
    ready_s: float = 0.0
    driver_share: float = 0.0
    lost: int = 0
    repeated: int = 0
    refused: int = 0
    kill: Fault | None = None
    outage: Fault | None = None


class Fault(msgspec.Struct):
    """Of ``accepted`` orders: never arrived; arrived again; of these with the Idempotency-Key that lets a target recognise them."""

    accepted: int
    lost: int
    repeated: int
    recognised: int
    last_s: float  # from the fault to the last arrival


class Driver:
    """The process that is load generator and target. Every one has numbers of its own: a journal knows those of an earlier run."""

    _started = itertools.count()

    def __init__(self) -> None:
        first = FIRST + next(Driver._started) * NUMBERS_EACH
        command = [sys.executable, str(Path(__file__).parent / "driver.py"), str(first)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.target = f"127.0.0.1:{int(self.process.stdout.readline())}"
        self._ids = 0
        self._early: dict[int, dict[str, Any]] = {}

    def tell(self, do: str, **more: Any) -> int:
        assert self.process.stdin is not None
        self._ids += 1
        self.process.stdin.write(json.dumps({"id": self._ids, "do": do, **more}) + "\n")
        self.process.stdin.flush()
        return self._ids

    def answer(self, number: int) -> dict[str, Any]:
        assert self.process.stdout is not None
        while number not in self._early:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the load generator ended")
            found = json.loads(line)
            self._early[found.pop("to")] = found
        answer = self._early.pop(number)
        if "error" in answer:
            raise RuntimeError(f"the load generator: {answer['error']}")
        return answer

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        return self.answer(self.tell(do, **more))

    def load(self, contender: Contender, seconds: float, **more: Any) -> dict[str, Any]:
        return self.answer(self.begin(contender, seconds, **more))

    def begin(self, contender: Contender, seconds: float, **more: Any) -> int:
        return self.tell("load", host=contender.host, path=contender.path, seconds=seconds, **more)

    def wait(self, contender: Contender, within_s: float = SETTLE_WITHIN_S) -> dict[str, Any]:
        found = self.ask("wait", within_s=within_s, quiet_s=contender.quiet_s)
        if found["faults"]:
            raise RuntimeError(f"{contender.name} does other work: {'; '.join(found['faults'])}")
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Peak:
    """The largest memory of the contender's processes while it is open, looked at twice a second."""

    def __init__(self, roots: Callable[[], Iterator[int]]) -> None:
        self.mb = 0.0
        self._roots = roots
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self.mb = max(self.mb, memory_mb(self._roots()))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def roots_of(contender: Contender) -> Iterator[int]:
    for pids in contender.parts.values():
        yield from pids


def cpu_by_part(contender: Contender) -> dict[str, float]:
    return {name: cpu_s(pids) for name, pids in contender.parts.items()}


def begin(contender: Contender) -> float:
    """Prepares and starts; seconds from start to ready."""
    contender.prepare()
    started = time.monotonic()
    contender.start()
    return time.monotonic() - started


def measure(contender: Contender, driver: Driver, seconds: float, *, with_faults: bool) -> Run:
    run = Run(ready_s=begin(contender))
    time.sleep(IDLE_AFTER_S)
    run.idle_mb = memory_mb(roots_of(contender))
    warm(contender, driver)
    sustained(contender, driver, seconds, run)
    half_rate(contender, driver, seconds, run)
    if with_faults:
        run.kill = killed(contender, driver, min(run.half_rate, KILL_RATE_MAX))
        run.outage = outage(contender, driver, min(run.half_rate, OUTAGE_RATE_MAX))
    return run


def warm(contender: Contender, driver: Driver) -> None:
    driver.load(contender, contender.warm_s, outstanding=OUTSTANDING)
    found = driver.wait(contender)
    if not found["arrived"]:
        refused = f"{found['refused']} refused, the last with {found['last_refusal']}"
        raise RuntimeError(f"{contender.name}: nothing of {found['sent']} orders arrived ({refused})")


def half_rate(contender: Contender, driver: Driver, seconds: float, run: Run) -> None:
    """Latency at half of the rate just measured, sent evenly."""
    run.half_rate = max(RATE_MIN, run.orders_per_s / 2)
    driver.load(contender, seconds, rate=run.half_rate, outstanding=100_000)
    half = driver.wait(contender)
    run.p50_ms, run.p99_ms = half["p50_ms"], half["p99_ms"]
    run.lost += half["lost"]
    run.repeated += half["repeated"]


def sustained(contender: Contender, driver: Driver, seconds: float, run: Run) -> None:
    """As fast as it goes with a bounded backlog. Orders count when they arrive within the time."""
    before = cpu_by_part(contender)
    with Peak(lambda: roots_of(contender)) as peak:
        load = driver.load(contender, seconds, outstanding=OUTSTANDING)
    total = driver.wait(contender)
    after = cpu_by_part(contender)
    run.orders_per_s = load["arrived"] / load["took_s"]
    run.driver_share = load["driver_cpu_s"] / load["took_s"]
    run.cpu_ms = {name: (after[name] - before[name]) * 1000 / max(1, total["arrived"]) for name in after}
    run.peak_mb = peak.mb
    run.lost, run.repeated, run.refused = total["lost"], total["repeated"], total["refused"]


def killed(contender: Contender, driver: Driver, rate: float) -> Fault:
    """SIGKILL two seconds into six of load, started again at once."""
    load = driver.begin(contender, 6, rate=rate, outstanding=100_000)
    time.sleep(2)
    at = time.monotonic()
    contender.kill()
    contender.start()
    driver.answer(load)
    return _fault(driver, contender, at)


def outage(contender: Contender, driver: Driver, rate: float) -> Fault:
    """The target refuses connections for three of six seconds."""
    load = driver.begin(contender, 6, rate=rate, outstanding=100_000)
    time.sleep(1)
    at = time.monotonic()
    driver.ask("down")
    time.sleep(OUTAGE_S)
    driver.ask("up")
    driver.answer(load)
    return _fault(driver, contender, at)


def _fault(driver: Driver, contender: Contender, at: float) -> Fault:
    found = driver.wait(contender, 120)
    return Fault(
        found["accepted"], found["lost"], found["repeated"], found["recognised"], found.get("last_arrival_s", at) - at
    )
