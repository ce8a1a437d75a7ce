"""HTTP clients and servers side by side: what decided for uvicorn and pyreqwest. usage: bench_http.py [--requests N]

Clients: POST of 1 KB to the sink (a process of its own), 64 at once. Servers: signed webhooks from the load generator, HMAC
verified, answered 200. Only what is installed is measured: pip install aiohttp wreq granian httpx adds the alternatives.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

HERE = Path(__file__).parent
AT_ONCE = 64
BODY = b'{"reference":"#1","text":"' + b"x" * 1000 + b'"}'
HEADERS = {"content-type": "application/json", "idempotency-key": "0" * 32}
Send = Callable[[], Awaitable[None]]


async def pyreqwest(url: str, work: Callable[[Send], Awaitable[None]]) -> None:
    from accord.engine.http import PooledHttpClient
    from accord.sdk.http import HttpRequest

    client = PooledHttpClient(connections_max=AT_ONCE)
    request = HttpRequest(method="POST", url=url, headers=HEADERS, body=BODY)

    async def send() -> None:
        assert (await client.send(request)).status == 201

    await work(send)
    await client.close()


async def aiohttp(url: str, work: Callable[[Send], Awaitable[None]]) -> None:
    import aiohttp as library

    async with library.ClientSession(connector=library.TCPConnector(limit=AT_ONCE)) as session:

        async def send() -> None:
            async with session.post(url, data=BODY, headers=HEADERS) as answer:
                await answer.read()
                assert answer.status == 201

        await work(send)


async def wreq(url: str, work: Callable[[Send], Awaitable[None]]) -> None:
    import wreq as library

    client = library.Client()

    async def send() -> None:
        answer = await client.post(url, body=BODY, headers=HEADERS)
        await answer.bytes()

    await work(send)


async def httpx(url: str, work: Callable[[Send], Awaitable[None]]) -> None:
    import httpx as library

    async with library.AsyncClient(limits=library.Limits(max_connections=AT_ONCE)) as client:

        async def send() -> None:
            assert (await client.post(url, content=BODY, headers=HEADERS)).status_code == 201

        await work(send)


CLIENTS = {"pyreqwest": pyreqwest, "wreq": wreq, "aiohttp": aiohttp, "httpx": httpx}

APP = """
import base64, hashlib, hmac
SECRET = b"bench-secret"

async def app(scope, receive, send):
    body = (await receive())["body"]
    given = dict(scope["headers"])[b"x-shopify-hmac-sha256"]
    ok = hmac.compare_digest(base64.b64encode(hmac.digest(SECRET, body, hashlib.sha256)), given)
    await send({"type": "http.response.start", "status": 200 if ok else 401, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
"""
UVICORN = (
    "import uvicorn; uvicorn.run(app, port=PORT, http='httptools', loop='uvloop', access_log=False, log_level='error',"
    " lifespan='off', proxy_headers=False)"
)
GRANIAN = (
    "from granian.server.embed import Server; import asyncio, uvloop;"
    " uvloop.run(Server(app, port=PORT, interface='asginl').serve())"
)
SERVERS = {"uvicorn": UVICORN, "granian": GRANIAN}


async def measure_client(run: Callable[..., Awaitable[None]], url: str, requests: int) -> tuple[float, float]:
    """(requests a second, CPU microseconds of this process per request)."""
    figures: list[float] = []

    async def work(send: Send) -> None:
        left = requests

        async def one() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await send()

        await send()
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        figures.append(requests / (time.perf_counter() - started))
        after = resource.getrusage(resource.RUSAGE_SELF)
        figures.append(((after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)) / requests * 1e6)

    await run(url, work)
    return figures[0], figures[1]


def measure_server(code: str, requests: int) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", APP + code.replace("PORT", str(port))])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.02)
        command = [
            sys.executable,
            HERE / "realtime/load.py",
            f"http://127.0.0.1:{port}/",
            "bench-secret",
            str(requests),
            "1",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times = [float(line.split()[1]) for line in done.stdout.splitlines()[:-1]]
        return len(times) / (max(times) - min(times))
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    sink = subprocess.Popen(
        [sys.executable, HERE / "realtime/sink.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sink.stdout is not None
    url = f"http://127.0.0.1:{int(sink.stdout.readline())}/x"
    print("clients: requests/s, CPU µs a request (medians of 3)")
    for name, run in CLIENTS.items():
        if importlib.util.find_spec(name) is None:
            print(f"  {name:10} not installed")
            continue
        count = args.requests // 10 if name == "httpx" else args.requests
        runs = [uvloop.run(measure_client(run, url, count)) for _ in range(3)]
        print(f"  {name:10} {statistics.median(r[0] for r in runs):9,.0f} {statistics.median(r[1] for r in runs):8.0f}")
    sink.communicate(input="")
    print("servers: accepted webhooks/s, load generator on the same cores (medians of 3)")
    for name, code in SERVERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"  {name:10} not installed")
            continue
        print(f"  {name:10} {statistics.median(measure_server(code, args.requests * 2) for _ in range(3)):9,.0f}")


if __name__ == "__main__":
    main()
