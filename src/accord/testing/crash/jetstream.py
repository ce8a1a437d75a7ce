"""Three NATS servers of the laboratory's own, which are killed under its engines (one, the leader, all); and the engine's machine is
lost with all that was on it."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from accord.journal.stores.jetstream_entries import POSITION_CURSOR
from accord.journal.stores.jetstream_log import PURGES_SINCE, LogSettings, version_numbers
from accord.journal.stores.jetstream_verify import verify_log
from accord.journal.stores.sqlite_replica import SqliteReplica
from accord.journal.stores.sqlite_verify import verify as verify_file
from accord.observe.crash_points import POINTS
from accord.testing.crash.grounds import MESSAGE_POINTS, Ground
from accord.testing.ports import free_port

ONE, LEADER, ALL, MACHINE = "(a server killed)", "(leading server killed)", "(all servers killed)", "(machine lost)"
STREAM = "crash"
SNAPSHOT_POINTS = tuple(point for point in POINTS if point.startswith("snapshot."))
SNAPSHOT_ENTRIES = 100  # so that one is made in most of the engine's lives
SIZE = 3
START_WITHIN_S = 60.0
AWAY_S = 1.0  # how long one of three is away


class JetStreamGround:
    """Raises RuntimeError when there is no NATS server on this machine."""

    blows: tuple[str, ...] = (ONE, LEADER, ALL, MACHINE)
    losses: tuple[str, ...] = (MACHINE,)

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("nats-server") or ("/usr/sbin/nats-server" if _is_there() else "")
        if not self._program:
            raise RuntimeError("no NATS server found: install the package `nats-server`")
        told = subprocess.run([self._program, "-v"], capture_output=True, text=True, check=True).stdout  # noqa: S603
        version = told.rpartition("v")[2].strip()
        self.name = f"NATS JetStream {version}"
        trims = version_numbers(version) >= PURGES_SINCE  # beside older servers an engine makes no snapshots
        self.points = (*MESSAGE_POINTS, *(SNAPSHOT_POINTS if trims else ()))
        self._journal = folder / ".accord" / "journal.db"
        self._ports = [(free_port(), free_port(), free_port()) for _ in range(SIZE)]
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        self._chance = random.Random(1)

    @property
    def store(self) -> str:
        return f"store: {{kind: jetstream, servers: {list(self._urls)}, stream: {STREAM}, snapshot_entries: {SNAPSHOT_ENTRIES}}}, "

    @property
    def environment(self) -> dict[str, str]:
        return {}

    @property
    def _urls(self) -> tuple[str, ...]:
        return tuple(f"nats://127.0.0.1:{client}" for client, _, _ in self._ports)

    async def __aenter__(self) -> Ground:
        self._folder = Path(tempfile.mkdtemp(prefix="accord-nats-"))
        routes = ", ".join(f'"nats://127.0.0.1:{route}"' for _, route, _ in self._ports)
        for number, (client, route, monitor) in enumerate(self._ports):
            lines = (
                f"server_name: n{number}",
                f'listen: "127.0.0.1:{client}"',
                f'http: "127.0.0.1:{monitor}"',
                f'jetstream {{ store_dir: "{self._folder}/n{number}" }}',
                f'cluster {{ name: crash, listen: "127.0.0.1:{route}", no_advertise: true, routes: [{routes}] }}',
            )
            (self._folder / f"n{number}.conf").write_text("\n".join(lines) + "\n")
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(self._kill(number) for number in list(self._servers)))
        shutil.rmtree(self._folder, ignore_errors=True)

    async def downgrade(self) -> None:
        from accord.testing.crash.downgrade import downgrade

        if self._journal.exists():
            await asyncio.to_thread(downgrade, self._journal)

    async def strike(self, blow: str) -> None:
        if blow == MACHINE:
            shutil.rmtree(self._journal.parent, ignore_errors=True)
            return
        if blow == ALL:
            struck = list(range(SIZE))
        else:
            leader = await asyncio.to_thread(self._leader) if blow == LEADER else None
            struck = [self._chance.randrange(SIZE) if leader is None else leader]
        await asyncio.gather(*(self._kill(number) for number in struck))
        if blow != ALL:
            await asyncio.sleep(AWAY_S)
        await self._start()

    def violations(self) -> list[str]:
        settings = LogSettings(servers=self._urls, stream=STREAM, replicas=SIZE)
        return verify_file(self._journal) + verify_log(settings, SqliteReplica(self._journal).cursor(POSITION_CURSOR))

    async def _start(self) -> None:
        for number in range(SIZE):
            if number not in self._servers:
                with (self._folder / "log").open("ab") as log:
                    command = [self._program, "-c", f"{self._folder}/n{number}.conf"]
                    self._servers[number] = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603, ASYNC220 (its own)
        async with asyncio.timeout(START_WITHIN_S):
            while not await asyncio.to_thread(self._agree):  # noqa: ASYNC110 (other processes)
                await asyncio.sleep(0.05)

    async def _kill(self, number: int) -> None:
        process = self._servers.pop(number)
        process.kill()
        await asyncio.to_thread(process.wait)

    def _agree(self) -> bool:
        """All servers are there and know who leads."""
        metas = [self._ask(number, "jsz").get("meta_cluster") or {} for number in range(SIZE)]
        return all(meta.get("leader") and meta.get("cluster_size") == SIZE for meta in metas)

    def _leader(self) -> int | None:
        """Of the log's stream, if one is known just now."""
        accounts = self._ask(0, "jsz?streams=true").get("account_details") or []
        for stream in (one for account in accounts for one in account.get("stream_detail") or []):
            if stream["name"] == STREAM and (leader := (stream.get("cluster") or {}).get("leader")):
                return int(leader.removeprefix("n"))
        return None

    def _ask(self, number: int, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[number][2]}/{path}", timeout=2) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except (urllib.error.URLError, OSError):
            return {}


def _is_there() -> bool:
    return Path("/usr/sbin/nats-server").exists()
