"""The stage of the business: stand-ins for its systems and Accord between them, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from accord.sandbox.launcher import Sandbox

HERE = Path(__file__).parent
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 60.0
ASSISTANT_TOKEN = "token-of-the-assistant"  # of a chat agent that is played by whoever sends its webhooks
TOPICS = {"shop": 3, "shipping": 1, "helpdesk": 1}  # that the flows listen to


class Stage:
    """Use as a context manager: on entry everything is up, subscribed and ready; on exit everything has ended.

    ``work`` is wiped first; it then holds the stand-ins' state, a copy of the project with its journal, and Accord's log.
    """

    def __init__(
        self,
        work: Path,
        *,
        seed: int = 7,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        project: Path = HERE,
    ) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.project = work / "project"
        shutil.copytree(project, self.project, ignore=shutil.ignore_patterns("*.py", "__pycache__", ".accord"))
        self.log = work / "accord.log"
        self.sandbox = Sandbox(work / "sandbox", seed=seed, settings=settings or {})
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.accord: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        try:
            self.sandbox.start().wait_ready()
            self.start_accord()
            self.wait_until(self.is_subscribed, "shop, carrier and helpdesk know where to send webhooks")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.stop_accord()
        finally:
            self.sandbox.stop()

    def environment(self) -> dict[str, str]:
        """The variables a project's ``${env:…}`` and ``${secret:…}`` need."""
        own = {
            "ACCORD_ADDRESS": f"127.0.0.1:{self.port}",
            "ACCORD_PUBLIC_ADDRESS": self.address,
            "ACCORD_SECRET_ASSISTANT_TOKEN": ASSISTANT_TOKEN,
        }
        return {**os.environ, **self.sandbox.environment(), **own}

    def start_accord(self) -> float:
        """`accord up`, until ready. Returns the seconds it took."""
        started = time.monotonic()
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "accord.cli.main", "up", "--project", str(self.project)]
            self.accord = subprocess.Popen(command, env=self.environment(), stderr=log)
        self.wait_until(self.is_ready, "Accord is ready")
        return time.monotonic() - started

    def stop_accord(self) -> None:
        """SIGTERM: it drains and ends."""
        if self.accord is not None and self.accord.poll() is None:
            self.accord.send_signal(signal.SIGTERM)
            self.accord.wait(STOP_WITHIN_S)

    def kill_accord(self) -> None:
        """SIGKILL: gone at once."""
        assert self.accord is not None
        self.accord.kill()
        self.accord.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line on this project."""
        command = [sys.executable, "-m", "accord.cli.main", *arguments, "--project", str(self.project)]
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120, check=False)

    def is_subscribed(self) -> bool:
        return all(self.sandbox.counts(name)["hooks"] == topics for name, topics in TOPICS.items())

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.address + "/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_until(self, holds: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S) -> None:
        """Raises RuntimeError with the end of Accord's log when it takes longer or Accord has ended."""
        deadline = time.monotonic() + within_s
        while not holds():
            has_ended = self.accord is not None and self.accord.poll() is not None
            if has_ended or time.monotonic() > deadline:
                tail = self.log.read_text()[-4000:] if self.log.exists() else ""
                raise RuntimeError(f"It did not come true that {what}. Accord's log ends:\n{tail}")
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
