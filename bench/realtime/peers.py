"""What a user would pick instead, each as a competent user would write it (``bench/peers``), with the versions the registries serve."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from realtime import install
from realtime.contender import BENCH, Contender
from realtime.orders import SECRET
from realtime.processes import Child, free_port, wait_until


class PythonPeer(Contender):
    """Its code is ``folder_name`` in ``bench/peers``; ``package`` is whose version is told."""

    folder_name = ""
    package = ""

    @classmethod
    def missing(cls) -> str:
        return install.python()

    @classmethod
    def version(cls) -> str:
        return f"{cls.package} {install.version_of(cls.package)}"

    def environment(self) -> dict[str, str]:
        peers = BENCH / "peers"
        return {**super().environment(), "PYTHONPATH": f"{peers}:{peers / self.folder_name}", **self.addresses}

    def prepare(self) -> None:
        self.addresses: dict[str, str] = {}

    def uvicorn(self) -> list[str | Path]:
        options = ["--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        return [install.PEERS / "venv/bin/python", "-m", "uvicorn", "web:app", *options]


class Outbox(PythonPeer):
    name = "outbox"
    title = "FastAPI + asyncpg outbox, PostgreSQL"
    folder_name = "outbox"
    package = "fastapi"

    def prepare(self) -> None:
        self.addresses = {"DATABASE_URL": self.postgresql()}

    def commands(self) -> list[list[str | Path]]:
        relay = BENCH / "peers/outbox/relay.py"
        return [self.uvicorn(), [install.PEERS / "venv/bin/python", relay]]


class CeleryRedis(PythonPeer):
    name = "celery"
    title = "FastAPI + Celery, Redis appendfsync always"
    folder_name = "celery_redis"
    package = "celery"
    quiet_s = 22.0  # the tasks of a killed worker come back after 15 s

    @classmethod
    def missing(cls) -> str:
        return super().missing() if shutil.which("redis-server") else "needs the package redis-server (apt-get install)"

    def prepare(self) -> None:
        port = free_port()
        options = [
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]
        log = self.folder / "redis.log"
        server = Child(["redis-server", *options], log, super(PythonPeer, self).environment(), self.folder)
        self.stack.callback(server.stop)
        wait_until("redis-server starts", lambda: "Ready to accept" in log.read_text(), 20, server)
        self.servers["redis"] = server.pid
        self.addresses = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}

    def commands(self) -> list[list[str | Path]]:
        worker = ["worker", "--concurrency", "4", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        return [self.uvicorn(), [install.PEERS / "venv/bin/python", "-m", "celery", "-A", "tasks", *worker]]


class DbosSqlite(PythonPeer):
    name = "dbos-sqlite"
    title = "DBOS, SQLite"
    folder_name = "dbos_app"
    package = "dbos"
    quiet_s = 8.0

    def prepare(self) -> None:
        self.addresses = {"DATABASE_URL": f"sqlite:///{self.folder / 'dbos.sqlite'}"}

    def commands(self) -> list[list[str | Path]]:
        return [[install.PEERS / "venv/bin/python", BENCH / "peers/dbos_app/web.py"]]


class DbosPostgresql(DbosSqlite):
    name = "dbos-postgresql"
    title = "DBOS, PostgreSQL"

    def prepare(self) -> None:
        parsed = urllib.parse.urlsplit(self.postgresql())
        self.addresses = {"DATABASE_URL": parsed._replace(path="/dbos").geturl()}


class NodeRed(Contender):
    name = "node-red"
    title = "Node-RED (in memory)"

    @classmethod
    def missing(cls) -> str:
        return install.npm("node-red", "node-red@5")

    @classmethod
    def version(cls) -> str:
        return _npm_version("node-red")

    def prepare(self) -> None:
        here = BENCH / "peers/node-red"
        _run_node([here / "build.js", self.folder, f"http://{self.target}"])
        shutil.copy(here / "settings.js", self.folder)

    def commands(self) -> list[list[str | Path]]:
        red = install.PEERS / "node-red/node_modules/node-red/red.js"
        return [[install.node(), red, "--userDir", self.folder]]


class N8n(Contender):
    """On PostgreSQL: its SQLite driver needs a download that is not on npm."""

    name = "n8n"
    title = "n8n, PostgreSQL"
    path = "/webhook/shop"
    quiet_s = 12.0
    warm_s = 8.0
    ready_within_s = 180.0

    @classmethod
    def missing(cls) -> str:
        # Without install scripts: some of its parts fetch binaries from elsewhere, none of which this work needs.
        return install.npm("n8n", "n8n@2.40", "--ignore-scripts")

    @classmethod
    def version(cls) -> str:
        return _npm_version("n8n")

    def prepare(self) -> None:
        self.database = urllib.parse.urlsplit(self.postgresql())
        _run_node([BENCH / "peers/n8n/build.js", self.folder, f"http://{self.target}", SECRET])
        for arguments in (
            ["import:workflow", "--input", self.folder / "workflow.json"],
            ["publish:workflow", "--id=orders"],
        ):
            _run_node([self._n8n, *arguments], self.environment())

    @property
    def _n8n(self) -> Path:
        return install.PEERS / "n8n/node_modules/n8n/bin/n8n"

    def commands(self) -> list[list[str | Path]]:
        return [[install.node(), self._n8n, "start"]]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "PATH": install.node_environment()["PATH"],
            "N8N_PORT": str(self.port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_RUNNERS_BROKER_PORT": str(free_port()),
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "N8N_DISABLED_MODULES": "mcp-registry",
            "NODE_FUNCTION_ALLOW_BUILTIN": "crypto",
            "DB_TYPE": "postgresdb",
            "DB_POSTGRESDB_HOST": "127.0.0.1",
            "DB_POSTGRESDB_PORT": str(self.database.port),
            "DB_POSTGRESDB_USER": "accord",
            "DB_POSTGRESDB_PASSWORD": "x",
            "DB_POSTGRESDB_DATABASE": self.database.path.strip("/"),
        }

    def is_ready(self) -> bool:
        """When its webhook is there; the empty order it is asked with fails its signature."""
        request = urllib.request.Request(f"http://{self.host}{self.path}", b"{}", {"content-type": "application/json"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            return b"Workflow was started" in answer.read()  # before that it says 200 to everything
        return False


def _npm_version(name: str) -> str:
    file = install.PEERS / name / "node_modules" / name / "package.json"
    return str(json.loads(file.read_text())["version"])


def _run_node(arguments: list[str | Path], env: dict[str, str] | None = None) -> None:
    command = [str(install.node()), *(str(part) for part in arguments)]
    done = subprocess.run(command, env=env or install.node_environment(), capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise RuntimeError(f"{command[1]}: {done.stdout[-300:]} {done.stderr[-500:]}")


PEERS: tuple[type[Contender], ...] = (NodeRed, N8n, Outbox, CeleryRedis, DbosSqlite, DbosPostgresql)
