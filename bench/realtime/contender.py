"""What the bench needs of whoever does the work: start, stop, kill, and which processes to charge."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

from realtime.orders import SECRET
from realtime.processes import Child, free_port, wait_until

BENCH = Path(__file__).parent.parent
ROOT = BENCH.parent


class Contender:
    """One run of one contender in a folder of its own. ``servers`` are its database and broker: charged, not killed."""

    name = ""
    title = ""
    path = "/hooks/shop"
    quiet_s = 4.0  # after this long without an arrival nothing more is expected; longer than its longest retry
    ready_within_s = 30.0
    warm_s = 1.5

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self.target = target  # host:port
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.stack = contextlib.ExitStack()
        self.servers: dict[str, int] = {}
        self.children: list[Child] = []

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here; '' when it can."""
        return ""

    @classmethod
    def version(cls) -> str:
        return ""

    def prepare(self) -> None:
        """Once, before the first start."""

    def commands(self) -> list[list[str | Path]]:
        """The processes that do the work."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOOK_SECRET": SECRET, "PORT": str(self.port), "TARGET": f"http://{self.target}"}

    def start(self) -> None:
        """Returns when it is ready."""
        environment = self.environment()
        self.children = [
            Child(command, self.folder / f"process-{n}.log", environment, self.folder)
            for n, command in enumerate(self.commands())
        ]
        wait_until(f"{self.name} gets ready", self.is_ready, self.ready_within_s, self.children[0])

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL to the processes that do the work."""
        for child in self.children:
            child.kill()

    def close(self) -> None:
        for child in self.children:
            child.stop()
        self.stack.close()

    @property
    def parts(self) -> dict[str, list[int]]:
        """Process trees by what they are."""
        return {"process": [child.pid for child in self.children], **{n: [pid] for n, pid in self.servers.items()}}

    def postgresql(self) -> str:
        """The address of a PostgreSQL server of its own, with fsync on."""
        sys.path.insert(0, str(ROOT))
        from tests.servers import running_postgres

        server: Any = self.stack.enter_context(running_postgres(is_synced=True))
        self.servers["postgresql"] = server.process.pid
        return str(server.url)

    def nats(self, size: int) -> list[str]:
        """The addresses of JetStream servers of its own."""
        sys.path.insert(0, str(ROOT))
        from tests.servers import running_nats

        cluster: Any = self.stack.enter_context(running_nats(size))
        for server in cluster.servers:
            self.servers[server.name if size > 1 else "nats-server"] = server.process.pid
        return list(cluster.urls)


class Limit(Contender):
    name = "limit"
    title = "hand-written loop"

    def commands(self) -> list[list[str | Path]]:
        journal = self.folder / "limit.db"
        return [[sys.executable, BENCH / "realtime/limit.py", str(self.port), journal, self.target]]
