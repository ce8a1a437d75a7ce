"""Real servers for tests: PostgreSQL, MariaDB and NATS of the machine, each in a folder and on a port of its own.

Missing servers are installed with apt when the tests run as root; else the tests that need them are skipped, naming the package.
Every pytest process (xdist worker) has its own servers, started at first use and stopped at its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from accord.testing.ports import free_port

START_DEADLINE_S = 60.0


def wait_until(what: str, is_so: Callable[[], bool], deadline_s: float = START_DEADLINE_S) -> None:
    """Polls a condition of another process; fails loudly at the deadline."""
    end = time.monotonic() + deadline_s
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline_s} s")
        time.sleep(0.02)


def _find(name: str, *globs: str) -> str | None:
    found = shutil.which(name)
    if found:
        return found
    candidates = [path for glob in globs for path in sorted(Path("/").glob(glob), reverse=True)]
    return str(candidates[0]) if candidates else None


def _need(name: str, package: str, *globs: str) -> str:
    """The program, installed first if that is possible; else skips the test."""
    found = _find(name, *globs)
    if found:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"needs the package {package} (apt-get install {package})")
    with (Path(tempfile.gettempdir()) / "accord-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _find(name, *globs):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (
                ["apt-get", "update", "-q"],
                ["apt-get", "install", "-yq", "--no-install-recommends", package],
            ):
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    pytest.skip(f"needs the package {package}, which could not be installed: {done.stderr[-300:]}")
    found = _find(name, *globs)
    if not found:
        pytest.skip(f"needs the package {package}")
    return found


class Server:
    """A server process. ``stop`` ends it well, ``kill`` at once (SIGKILL); ``start`` brings it up again."""

    scheme = ""
    database = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.is_prepared = False  # for whoever uses it: the tables are there
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)

    @property
    def url(self) -> str:
        return f"{self.scheme}://accord@127.0.0.1:{self.port}/{self.database}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_up(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return self.answers()
        return False

    def answers(self) -> bool:
        raise NotImplementedError

    def _as_user(self) -> dict[str, object]:
        """As an unprivileged user, with temporary files of its own: two MariaDB servers fall over each other's in /tmp."""
        environment: dict[str, object] = {"env": {**os.environ, "TMPDIR": str(self.folder)}}
        if not self.user:
            return environment
        return {**environment, "user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as_user())  # type: ignore[call-overload]
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-500:]} {done.stderr[-500:]}"

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder, **self._as_user())  # type: ignore[call-overload]
        process = self.process
        assert process is not None

        def is_up() -> bool:
            assert process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            return self.is_up()

        wait_until(f"{self.scheme} starts", is_up)

    def stop(self) -> None:
        self._end(signal.SIGINT if self.scheme == "postgresql" else signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)
        self.process = None


class PostgresServer(Server):
    scheme = "postgresql"
    database = "postgres"

    def __init__(
        self,
        folder: Path,
        initdb: str,
        *,
        is_synced: bool = False,
        wal_level: str = "logical",
        made_with: Sequence[str] = (),
    ) -> None:
        """``made_with``: further options of initdb."""
        super().__init__(folder)
        self.wal_level = wal_level
        self.is_synced = is_synced
        self.bin = Path(initdb).resolve().parent
        arguments = ["-D", str(folder / "data"), "-U", "accord", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        self.run([str(self.bin / "initdb"), *arguments, *made_with])

    def command(self) -> list[str]:
        options: dict[str, object] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self.folder),
            "wal_level": self.wal_level,
        }
        if not self.is_synced:
            options["fsync"] = "off"  # a killed process loses nothing of it, only a killed machine would
        return [
            str(self.bin / "postgres"),
            "-D",
            str(self.folder / "data"),
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
        ]

    def answers(self) -> bool:
        ready = [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, capture_output=True).returncode == 0

    def kill(self) -> None:
        """The whole server dies at once; its children notice and end."""
        super().kill()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)


class MariaServer(Server):
    scheme = "mariadb"
    database = "accord"

    def __init__(self, folder: Path, mariadbd: str, options: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.mariadbd = mariadbd
        self.options = tuple(options)
        (folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS accord CHARACTER SET utf8mb4;"
            "CREATE USER IF NOT EXISTS accord@'127.0.0.1' IDENTIFIED BY '';"
            "GRANT ALL ON *.* TO accord@'127.0.0.1' WITH GRANT OPTION;".replace(";", ";\n")
        )
        install = _find("mariadb-install-db", "usr/bin/mysql_install_db")
        assert install, "mariadb-install-db is part of mariadb-server"
        self.run([install, "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"])

    def command(self) -> list[str]:
        return [
            self.mariadbd,
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'm.sock'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=2",  # a killed process loses nothing of it, only a killed machine would
            "--innodb-flush-method=nosync",
            f"--init-file={self.folder / 'init.sql'}",
            f"--pid-file={self.folder / 'm.pid'}",
            *self.options,
        ]

    def answers(self) -> bool:
        import pymysql

        try:
            pymysql.connect(
                host="127.0.0.1", port=self.port, user="accord", database="accord", connect_timeout=2
            ).close()
        except pymysql.err.OperationalError:
            return False
        return True


class NatsServer(Server):
    """One of a cluster's servers: ``routes`` are the cluster ports of all."""

    scheme = "nats"

    def __init__(self, folder: Path, program: str, name: str, cluster_port: int, routes: Sequence[int]) -> None:
        super().__init__(folder)
        self.program = program
        self.name = name
        self.cluster_port = cluster_port
        self.monitor_port = free_port()
        lines = [
            f"server_name: {name}",
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitor_port}"',
            f'jetstream {{ store_dir: "{folder / "data"}", max_mem: 64MB, max_file: 4GB }}',
        ]
        if len(routes) > 1:
            urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            lines.append(
                f'cluster {{ name: tests, listen: "127.0.0.1:{cluster_port}", no_advertise: true, routes: [{urls}] }}'
            )
        (folder / "nats.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [self.program, "-c", str(self.folder / "nats.conf")]

    def answers(self) -> bool:
        return True

    def monitor(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/{path}", timeout=5) as answer:
            return json.loads(answer.read())


class NatsCluster:
    """Servers that elect their leaders themselves."""

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        self.servers = list(servers)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            if server.process is None:
                server.start()
        wait_until("the NATS servers agree on a leader", self.has_leader)

    def has_leader(self) -> bool:
        if len(self.servers) == 1:
            return True
        with contextlib.suppress(OSError, ValueError):
            meta = [server.monitor("jsz").get("meta_cluster") or {} for server in self.servers if server.process]
            return all(one.get("leader") and one.get("cluster_size") == len(self.servers) for one in meta)
        return False

    def leader_of(self, stream: str) -> NatsServer | None:
        """The server that leads a stream just now."""
        for server in self.servers:
            if server.process is None:
                continue
            with contextlib.suppress(OSError, ValueError):
                accounts = server.monitor("jsz?streams=true&leader-only=false").get("account_details") or []
                for found in (one for account in accounts for one in account.get("stream_detail") or []):
                    leader = (found.get("cluster") or {}).get("leader", server.name)
                    if found["name"] == stream and leader:
                        return next(one for one in self.servers if one.name == leader)
        return None

    def stop(self) -> None:
        for server in self.servers:
            server.kill()  # what tests leave behind is not needed


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A short path other users may enter (a socket's path is at most 107 bytes long)."""
    with tempfile.TemporaryDirectory(prefix="accord-db-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def need_nats() -> str:
    """The server's program, or the test is skipped."""
    return _need("nats-server", "nats-server", "usr/sbin/nats-server")


def need_chromium() -> str:
    """The browser's program, or the test is skipped."""
    return _need("chromium", "chromium", "usr/bin/chromium")


def need_postgres() -> str:
    """Where its `initdb` is; skips the test when there is no PostgreSQL."""
    return _need("initdb", "postgresql", "usr/lib/postgresql/*/bin/initdb")


@contextlib.contextmanager
def running_postgres(*, is_synced: bool = False, wal_level: str = "logical") -> Iterator[PostgresServer]:
    """``is_synced``: with fsync, as a real one has it; for measuring."""
    initdb = need_postgres()
    with server_folder() as folder:
        server = PostgresServer(folder, initdb, is_synced=is_synced, wal_level=wal_level)
        server.start()
        try:
            yield server
        finally:
            server.stop()


BINLOG = ("--log-bin=binlog", "--server-id=1", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--sync-binlog=1")


@contextlib.contextmanager
def running_mariadb(options: Sequence[str] = ()) -> Iterator[MariaServer]:
    """``options``: further ones of the server; ``BINLOG`` for one whose changes can be read."""
    mariadbd = _need("mariadbd", "mariadb-server", "usr/sbin/mariadbd")
    with server_folder() as folder:
        server = MariaServer(folder, mariadbd, options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_nats(size: int = 3) -> Iterator[NatsCluster]:
    program = need_nats()
    ports = [free_port() for _ in range(size)]
    with server_folder() as folder:
        servers = []
        for number, port in enumerate(ports, start=1):
            own = folder / f"n{number}"
            own.mkdir()
            servers.append(NatsServer(own, program, f"n{number}", port, ports))
        cluster = NatsCluster(servers)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsCluster]:
    """A single one."""
    with running_nats(1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def nats_cluster() -> Iterator[NatsCluster]:
    """Three; whoever stops one starts it again."""
    with running_nats(3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    with running_mariadb() as server:
        yield server
