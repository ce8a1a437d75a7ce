"""A PostgreSQL server of the laboratory's own, which is stopped and killed under its engines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from accord.journal.stores.postgresql_verify import verify
from accord.testing.crash.grounds import MESSAGE_POINTS, Ground
from accord.testing.ports import free_port

STOPPED, KILLED = "(database stopped)", "(database killed)"
SCHEMA = "crash"
START_WITHIN_S = 60.0

# Layout 2 back to layout 1 (`postgresql_schema`): one owner, one counter of each kind.
_DOWNGRADE = """
    INSERT INTO owners SELECT 'engine', last_opening, 0, 0, '', last_seq FROM numbers
        ON CONFLICT (name) DO UPDATE SET token = excluded.token, last_seq = excluded.last_seq;
    CREATE TEMP TABLE summed AS SELECT flow, state, held_by, sum(n) AS n FROM counters GROUP BY 1, 2, 3;
    DELETE FROM counters;
    ALTER TABLE counters DROP CONSTRAINT counters_pkey, DROP COLUMN slot, ADD PRIMARY KEY (flow, state, held_by);
    INSERT INTO counters SELECT flow, state, held_by, n FROM summed;
    DROP TABLE members, beats, parts, numbers;
    DELETE FROM version WHERE version = 2
"""


class PostgresqlGround:
    """With ``fsync``, as a real one has it. Raises RuntimeError when there is no PostgreSQL on this machine."""

    points = tuple(point for point in MESSAGE_POINTS if not point.startswith("checkpoint."))
    blows: tuple[str, ...] = (STOPPED, KILLED)
    losses: tuple[str, ...] = ()
    store = f'store: {{kind: postgresql, url: "${{secret:journal}}", schema: {SCHEMA}}}, '

    def __init__(self) -> None:
        found = shutil.which("postgres") or max(
            map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), default=""
        )
        if not found:
            raise RuntimeError(
                "no PostgreSQL server found: install the package `postgresql`, or put its `bin` into PATH"
            )
        self._bin = Path(found).resolve().parent
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
        self.name = told.strip().removeprefix("postgres (").replace(")", "", 1)
        self._port = free_port()
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # the server refuses to be root
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://accord@127.0.0.1:{self._port}/postgres"

    @property
    def environment(self) -> dict[str, str]:
        return {"ACCORD_SECRET_JOURNAL": self.url}

    async def __aenter__(self) -> Ground:
        self._folder = Path(tempfile.mkdtemp(prefix="accord-pg-"))
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        await self._run(
            "initdb", "-D", f"{self._folder}/data", "-U", "accord", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"
        )
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def downgrade(self) -> None:
        await asyncio.to_thread(self._downgrade)

    def _downgrade(self) -> None:
        with psycopg.connect(self.url) as db:
            db.execute("SELECT set_config('search_path', %s, false)", (SCHEMA,))
            if db.execute("SELECT to_regclass('members')").fetchone() != (None,):
                db.execute(_DOWNGRADE)

    async def strike(self, blow: str) -> None:
        await self._end(signal.SIGKILL if blow == KILLED else signal.SIGINT)
        await self._start()

    def violations(self) -> list[str]:
        return verify(self.url, SCHEMA)

    async def _start(self) -> None:
        options = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": self._folder}
        self._process = self._spawn(
            "postgres",
            *("-D", f"{self._folder}/data"),
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
        )
        async with asyncio.timeout(START_WITHIN_S):
            while not await asyncio.to_thread(self._answers):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        await asyncio.to_thread(process.wait)
        if how == signal.SIGKILL:  # its children notice and end; a new one is not to wait for the file
            with contextlib.suppress(FileNotFoundError):
                (self._folder / "data" / "postmaster.pid").unlink()

    async def _run(self, *command: str) -> None:
        if await asyncio.to_thread(self._spawn(*command).wait):
            raise RuntimeError(f"{command[0]} failed: {(self._folder / 'log').read_text()[-1000:]}")

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(self._bin / program), *arguments]
        with (self._folder / "log").open("ab") as log:
            if self._user is None:
                return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)  # noqa: S603 (its own)
            user, group = self._user.pw_uid, self._user.pw_gid
            return subprocess.Popen(  # noqa: S603 (its own)
                command, stdout=log, stderr=log, cwd=self._folder, user=user, group=group, extra_groups=[]
            )
