"""Where the process's time goes: samples of its main thread under load (py-spy), by station."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from pathlib import Path

from realtime.contender import Contender
from realtime.measure import OUTSTANDING, Driver, begin

STATIONS = (  # the innermost frame that matches decides; in this order
    ("map", ("accord/mapping/mapping.py", "<mapping")),
    ("decode", ("accord/mapping/contract.py", "accord/mapping/", "<contract")),
    ("journal", ("accord/journal/", "psycopg/", "psycopg_binary", "nats/")),
    (
        "HTTP out",
        (
            "accord/engine/http.py",
            "accord/engine/plain_http.py",
            "accord/connectors/http/",
            "accord/engine/delivery.py",
            "accord/engine/gate.py",
            "accord/engine/limiter.py",
            "accord/engine/fair.py",
        ),
    ),
    ("flow", ("accord/flow/", "accord/engine/run.py", "accord/engine/dispatch.py", "accord/engine/ends.py")),
    (
        "HTTP in",
        (
            "accord/engine/intake",
            "accord/engine/admission.py",
            "accord/engine/server.py",
            "accord/engine/web_connection.py",
            "accord/engine/pressure.py",
            "accord/engine/accept.py",
            "accord/connectors/shopify/",
            "accord/sdk/",
        ),
    ),
)  # fmt: skip


def shares(contender: Contender, driver: Driver, seconds: float) -> str:
    """One line; of the samples that were not idle."""
    begin(contender)
    driver.load(contender, contender.warm_s, outstanding=OUTSTANDING)
    driver.wait(contender)
    with tempfile.NamedTemporaryFile(suffix=".txt") as profile:
        command = ["py-spy", "record", "-r", "250", "-d", "120", "-f", "raw", "-o", profile.name, "-p"]
        profiler = subprocess.Popen(
            [*command, str(contender.children[0].pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(1.5)  # py-spy says nothing when it is ready; what it misses is only the first orders
        driver.load(contender, seconds, outstanding=OUTSTANDING)
        profiler.send_signal(signal.SIGINT)
        profiler.wait(30)
        counts: dict[str, int] = {}
        for line in Path(profile.name).read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if "_bootstrap" not in stack and "up.py" in stack:
                name = station_of(stack.split(";"))
                counts[name] = counts.get(name, 0) + int(count)
    total = max(1, sum(counts.values()))
    return ", ".join(f"{n} {100 * c / total:.0f} %" for n, c in sorted(counts.items(), key=lambda p: -p[1]))


def station_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        path = frame.partition("(")[2]
        for name, marks in STATIONS:
            if any(mark in path or path.startswith(mark.removeprefix("accord/")) for mark in marks):
                return name
    return "event loop"
