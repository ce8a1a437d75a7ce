"""A MariaDB server of the laboratory's own."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from accord.testing.ports import free_port

START_WITHIN_S = 60.0
_USER = "CREATE USER IF NOT EXISTS accord@'127.0.0.1' IDENTIFIED BY '';\nGRANT ALL ON *.* TO accord@'127.0.0.1';\n"


class MariadbServer:
    """Use as an async context manager. Raises RuntimeError when there is no MariaDB on this machine."""

    def __init__(self) -> None:
        self._program, self._install = (
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            shutil.which("mariadb-install-db"),
        )
        if not Path(self._program).exists() or self._install is None:
            raise RuntimeError("no MariaDB server found: install the package `mariadb-server`")
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mariadb+pymysql://accord@127.0.0.1:{self._port}/mysql?charset=utf8mb4"

    async def __aenter__(self) -> MariadbServer:
        self._folder = Path(tempfile.mkdtemp(prefix="accord-maria-"))
        (self._folder / "init.sql").write_text(_USER)
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        data = f"--datadir={self._folder}/data"
        made = self._spawn(str(self._install), "--no-defaults", data, "--auth-root-authentication-method=normal")
        if await asyncio.to_thread(made.wait):
            raise RuntimeError(f"mariadb-install-db failed: {self._said()}")
        self._process = self._spawn(
            *(self._program, "--no-defaults", data, f"--port={self._port}", "--bind-address=127.0.0.1"),
            *("--skip-name-resolve", f"--socket={self._folder}/m.sock", f"--pid-file={self._folder}/m.pid"),
            f"--init-file={self._folder}/init.sql",
        )
        async with asyncio.timeout(START_WITHIN_S):
            while not await asyncio.to_thread(self._answers):
                if self._process.poll() is not None:
                    raise RuntimeError(f"MariaDB ended: {self._said()}")
                await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            return False
        return True

    def _said(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-1000:]

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to be root
            user = pwd.getpwnam("nobody")
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **as_user)  # noqa: S603 (its own)
