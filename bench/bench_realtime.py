"""End to end: signed 1.5 KB order webhook → committed → 12-field mapping with line items → HTTP POST → settled.

usage: bench_realtime.py [--orders N] [--runs N] [--shares] [--store sqlite|postgresql|both]
One `accord up` process, journal on this disk (SQLite, or a PostgreSQL server of its own with fsync on); the load generator and
the sink are processes of their own on the same machine. Prints the median of the runs: orders a second sustained end to end, and
latency from accepted to delivered at half that rate. ``--shares`` adds one more run under py-spy and prints where the process's
time goes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SECRET = "bench-secret"

POSTGRESQL = ", store: {kind: postgresql, url: '${secret:journal}'}"
PROJECT = {
    "accord.yaml": "name: bench\nenvironments: {default: {address: '${env:ACCORD_ADDRESS}', secrets: [environment]}}\n",
    "systems/shop.yaml": """
system: shop
connector: shopify
settings: {store: bench, address: "http://127.0.0.1:1", access_token: "${secret:token}", webhook_secret: "${secret:hook}"}
entities:
  orders:
    key: id
    fields:
      id: integer
      name: string
      email: {type: string?, format: email, personal: contact}
      created_at: datetime
      currency: {type: string, format: currency}
      total_price: {type: decimal, min: 0}
      subtotal_price: decimal
      total_tax: decimal
      financial_status: string?
      customer: {object: {id: integer, first_name: string?, last_name: string?}}
      shipping_address:
        object: {first_name: string?, last_name: string?, address1: string, city: string, zip: string?, country_code: string}
      line_items: {length_min: 1, list: {sku: string, title: string, quantity: {type: integer, min: 1}, price: decimal}}
""",
    "systems/target.yaml": """
system: target
connector: http
settings: {address: "${env:SINK}", idempotency_header: Idempotency-Key}
entities:
  shipments:
    key: reference
    write: {create: {path: /shipments}}
    fields:
      reference: string
      recipient: string
      street: string
      city: string
      postal_code: string?
      country: string
      email: string?
      currency: string
      total: decimal
      tax: decimal
      ship_by: date
      is_paid: boolean
      parcels: {list: {sku: string, pieces: integer, value: decimal}}
""",
    "mappings/order.yaml": """
mapping: order
from: shop.orders
to: target.shipments
fields:
  reference: name
  recipient: coalesce(shipping_address.first_name, "") + " " + coalesce(shipping_address.last_name, "")
  street: shipping_address.address1
  city: upper(shipping_address.city)
  postal_code: shipping_address.zip
  country: shipping_address.country_code
  email: email
  currency: currency
  total: total_price
  tax: total_tax
  ship_by: date(created_at) + days(2)
  is_paid: coalesce(financial_status == "paid", False)
  parcels: {each: line_items, fields: {sku: sku, pieces: quantity, value: price * quantity}}
""",
    "flows/order.yaml": """
flow: order
on: {webhook: shop.orders, topic: orders/create}
key: id
steps:
  - validate: shop.orders
  - write: target.shipments
    mapping: order
    link: false
""",
}


class Bench:
    def __init__(self, folder: Path, journal_url: str = "") -> None:
        self.folder = folder
        for name, text in PROJECT.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("[environment]", "[environment]" + POSTGRESQL) if journal_url else text)
        self.sink = subprocess.Popen(
            [sys.executable, HERE / "realtime/sink.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.sink.stdout is not None
        sink_port = int(self.sink.stdout.readline())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.environment = {
            **os.environ,
            "ACCORD_ADDRESS": self.address,
            "SINK": f"http://127.0.0.1:{sink_port}",
            "ACCORD_SECRET_TOKEN": "t",
            "ACCORD_SECRET_HOOK": SECRET,
            "ACCORD_SECRET_JOURNAL": journal_url,
        }
        started = time.monotonic()
        command = [sys.executable, "-m", "accord.cli.main", "up", "--project", str(folder)]
        self.accord = subprocess.Popen(command, env=self.environment)
        self.wait_ready()
        self.ready_s = time.monotonic() - started
        self.idle_mb = resident_mb(self.accord.pid)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.accord.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise SystemExit("accord did not get ready")

    def load(self, count: int, first: int, rate: float = 0.0) -> tuple[dict[int, float], int]:
        command = [
            sys.executable,
            HERE / "realtime/load.py",
            f"http://{self.address}/hooks/shop",
            SECRET,
            str(count),
            str(first),
        ]
        done = subprocess.run([*command, "--rate", str(rate)], capture_output=True, text=True, check=True)
        *lines, refused = done.stdout.splitlines()
        return dict(_pair(line) for line in lines), int(refused.split()[1])

    def finish(self) -> tuple[dict[int, float], int]:
        """Drains, stops, and returns when each order arrived at the sink, and how many arrived twice."""
        self.accord.send_signal(signal.SIGTERM)
        self.accord.wait(120)
        out, _ = self.sink.communicate(input="")
        *lines, repeats = out.splitlines()
        return dict(_pair(line) for line in lines), int(repeats.split()[1])


def _pair(line: str) -> tuple[int, float]:
    number, at = line.split()
    return int(number), float(at)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def wait_settled(bench: Bench) -> None:
    """Until the engine has nothing open."""
    import json

    state = json.loads((bench.folder / ".accord/engine.json").read_text())
    request = urllib.request.Request(
        state["address"] + "/api/status", headers={"authorization": "Bearer " + state["token"]}
    )
    while True:
        with urllib.request.urlopen(request, timeout=10) as answer:
            flow = json.load(answer)["flows"][0]
        if not (flow["ready"] or flow["waiting"] or flow["held"]):
            return
        time.sleep(0.1)


@contextlib.contextmanager
def journal_url(store: str) -> Iterator[str]:
    """'' for SQLite; else that of an empty PostgreSQL server that ends with the run."""
    if store == "sqlite":
        yield ""
        return
    sys.path.insert(0, str(HERE.parent))
    from tests.servers import running_postgres

    with running_postgres(is_synced=True) as server:
        yield server.url


def run(orders: int, profile: str, store: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as folder, journal_url(store) as url:
        bench = Bench(Path(folder), url)
        bench.load(2_000, 1)
        wait_settled(bench)
        profiler = start_profiler(bench, profile) if profile else None
        sent, refused = bench.load(orders, 1_000_000)
        wait_settled(bench)
        if profiler:
            profiler.send_signal(signal.SIGINT)
            profiler.wait()
            bench.finish()
            return {}
        cpu_s = cpu_seconds(bench.accord.pid)
        peak_mb = resident_mb(bench.accord.pid)
        half = max(200.0, bench_rate(bench, orders) / 2)
        paced, _ = bench.load(int(half * 5), 2_000_000, half)
        wait_settled(bench)
        arrived, repeats = bench.finish()
    in_run = [at for number, at in arrived.items() if 1_000_000 <= number < 2_000_000]
    latency_ms = sorted((arrived[n] - at) * 1000 for n, at in paced.items() if n in arrived)
    return {
        "orders_per_s": len(in_run) / (max(in_run) - min(sent.values())),
        "accepted_per_s": len(sent) / (max(sent.values()) - min(sent.values())),
        "half_rate": half,
        "p50_ms": latency_ms[len(latency_ms) // 2],
        "p99_ms": latency_ms[int(len(latency_ms) * 0.99)],
        "refused": refused,
        "lost": orders - len(in_run),
        "twice": repeats,
        "cpu_ms_per_order": cpu_s / (orders + 2_000) * 1000,
        "idle_mb": bench.idle_mb,
        "peak_mb": peak_mb,
        "ready_s": bench.ready_s,
    }


def bench_rate(bench: Bench, orders: int) -> float:
    """Throughput measured just now, from the journal's own count over a short burst."""
    started = time.time()
    bench.load(orders // 4, 3_000_000)
    wait_settled(bench)
    return orders / 4 / (time.time() - started)


def start_profiler(bench: Bench, profile: str) -> subprocess.Popen[bytes]:
    command = ["py-spy", "record", "-r", "250", "-d", "120", "-f", "raw", "-o", profile, "-p", str(bench.accord.pid)]
    profiler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)  # py-spy says nothing when it is ready; what it misses is only the first orders
    return profiler


STATIONS = (  # the innermost frame that matches decides; in this order
    ("map", ("accord/mapping/mapping.py", "<mapping")),
    ("decode", ("accord/mapping/contract.py", "accord/mapping/", "<contract")),
    ("journal", ("accord/journal/",)),
    ("HTTP out", ("accord/engine/http.py", "accord/connectors/http/", "accord/engine/delivery.py")),
    ("flow", ("accord/flow/", "accord/engine/run.py", "accord/engine/dispatch.py")),
    (
        "HTTP in",
        ("uvicorn/", "accord/engine/intake.py", "accord/engine/accept.py", "accord/connectors/shopify/", "accord/sdk/"),
    ),
)


def shares(orders: int, store: str) -> None:
    """Prints the share of each station in the samples of the main thread that were not idle."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as profile:
        run(orders, profile.name, store)
        counts: dict[str, int] = {}
        for line in Path(profile.name).read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if "_bootstrap" not in stack and "up.py" in stack:
                name = station_of(stack.split(";"))
                counts[name] = counts.get(name, 0) + int(count)
    total = sum(counts.values())
    print(
        "share of the process's time: "
        + ", ".join(f"{n} {100 * c / total:.0f} %" for n, c in sorted(counts.items(), key=lambda p: -p[1]))
    )


def station_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        path = frame.partition("(")[2]
        for name, marks in STATIONS:
            if any(mark in path or path.startswith(mark.removeprefix("accord/")) for mark in marks):
                return name
    return "event loop"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shares", action="store_true")
    parser.add_argument("--store", choices=("sqlite", "postgresql", "both"), default="sqlite")
    args = parser.parse_args()
    stores = ["sqlite", "postgresql"] if args.store == "both" else [args.store]
    found: dict[str, list[dict[str, float]]] = {store: [] for store in stores}
    for _ in range(args.runs):
        for store in stores:  # in turn, so that what else the machine does falls on both
            found[store].append(run(args.orders, "", store))
    for store, results in found.items():
        print(f"journal: {store}")
        for name in results[0]:
            values = [result[name] for result in results]
            print(f"{name:18} {statistics.median(values):10.2f}   runs: {', '.join(f'{v:.2f}' for v in values)}")
    for store in stores if args.shares else ():
        shares(args.orders, store)


if __name__ == "__main__":
    main()
