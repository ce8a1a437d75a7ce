"""A journal in JetStream under load: servers killed and cut off, the engine killed and its machine lost, a standby taking over.
Nothing lost, nothing twice, in order."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import NatsCluster, running_nats

from accord.testing.proxy import Proxy, Toxics
from faults.test_postgresql_journal import FILES, LOG, Senders, assert_once_and_in_order, wait_progress
from journeys.live import PROJECT, Live

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("load")]
STREAM = "desk"


def files(servers: tuple[str, ...], books: Path) -> dict[str, str]:
    store = f"store: {{kind: jetstream, servers: [{', '.join(map(repr, servers))}], stream: {STREAM}}}, "
    return {
        **FILES,
        "accord.yaml": PROJECT.replace("secrets:", store + "secrets:"),
        "systems/books.yaml": FILES["systems/books.yaml"].replace("sqlite:///books.db", f"sqlite:///{books}"),
    }


def assert_all_well(live: Live, senders: Senders, books: Path) -> None:
    counts = live.wait_settled(within_s=120)
    assert counts["dead"] == 0
    assert counts["done"] == sum(senders.accepted.values())
    assert_once_and_in_order(live, senders.accepted)
    verified = live.run("journal", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_loss_of_servers_and_of_the_machine_loses_and_repeats_nothing(tmp_path: Path) -> None:
    books = tmp_path / "books.db"
    with running_nats() as cluster, Live(tmp_path, files(cluster.urls, books), databases={"books.db": LOG}) as live:
        with Senders(live) as senders:
            wait_progress(senders, 50)
            for number in range(2):  # one after another, the leader first
                server = cluster.leader_of(STREAM) if number == 0 else cluster.servers[2]
                assert server is not None
                server.kill()
                wait_progress(senders, 30)  # two of three go on
                server.start()
                cluster.start()
            for server in cluster.servers:
                server.kill()
            # Who was waiting for an answer goes on waiting; who comes then is refused.
            live.wait(
                lambda: senders.refusals > 0 or live.log.rfind("journal.away") > live.log.rfind("journal.back"),
                "refused, or known to be away, while no server is there",
            )
            cluster.start()
            wait_progress(senders, 30)
            live.restart()
            wait_progress(senders, 30)
            live.kill()
            shutil.rmtree(tmp_path / ".accord")  # the machine is gone; another one begins with nothing
            live.start()
            wait_progress(senders, 30)
        assert_all_well(live, senders, books)


@contextlib.contextmanager
def proxies(cluster: NatsCluster) -> Iterator[list[Proxy]]:
    """One before each server, on a loop of their own."""
    found: list[Proxy] = []
    ready, done = threading.Event(), threading.Event()

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for server in cluster.servers:
                found.append(await stack.enter_async_context(Proxy("127.0.0.1", server.port)))
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(10)
        yield found
    finally:
        done.set()
        thread.join()


def test_an_engine_cut_off_commits_nothing_and_its_standby_takes_over(tmp_path: Path) -> None:
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    books = second_folder / "books.db"
    with running_nats() as cluster, proxies(cluster) as between:
        cut_off = tuple(f"nats://127.0.0.1:{proxy.port}" for proxy in between)
        second = Live(second_folder, files(cluster.urls, books), databases={"books.db": LOG})
        with Live(first_folder, files(cut_off, books)) as first:
            with Senders(first) as senders:
                wait_progress(senders, 50)
                first.timeout_s = 3.0
                second.launch()
                second.wait(lambda: "journal.stands-by" in second.log, "stands by")
                assert second.request("GET", "/healthz") == (200, b'{"status":"alive"}')
                assert second.request("GET", "/readyz")[0] == 503
                assert second.request("POST", "/hooks/desk", b"{}")[0] == 503
                wait_progress(senders, 30)
                for proxy in between:
                    proxy.toxics = Toxics(half_open=True)
                started = time.monotonic()
                senders.live = second  # a load balancer would see that the first is not ready
                second.wait(lambda: second.request("GET", "/readyz")[0] == 200, "taken over")
                assert time.monotonic() - started < 20  # seconds; ten of them are what the guide says
                wait_progress(senders, 30)
                for proxy in between:
                    proxy.toxics = Toxics()
                assert first.process is not None
                assert first.process.wait(60) != 0
                assert "journal.lost" in first.log
                first.process = None
            with second:
                assert_all_well(second, senders, books)
