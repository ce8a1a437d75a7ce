"""Processes the bench started: a group of their own each, their CPU time and memory, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process in a session of its own, so that a kill reaches whatever it started and nothing else."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=out, stderr=out, env=env, cwd=cwd, start_new_session=True
            )
        self.pid = self.process.pid
        self.log = log

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to its group, and to what it started that left the group."""
        below = tree([self.pid]) if self.is_running() else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, within_s: float = 30) -> None:
        if self.is_running():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(within_s)
        self.kill()


def wait_until(what: str, is_so: Callable[[], bool], within_s: float, child: Child | None = None) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        if child is not None and not child.is_running():
            raise RuntimeError(f"{what}: ended: {child.log.read_text(errors='replace')[-1500:]}")
        if time.monotonic() > deadline:
            tail = child.log.read_text(errors="replace")[-1500:] if child is not None else ""
            raise RuntimeError(f"{what}: not within {within_s} s. {tail}")
        time.sleep(0.02)


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all below them."""
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{pid}/task").iterdir():
                todo += [int(child) for child in (path / "children").read_text().split()]
            found.append(pid)
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """User and system time of the trees, children that have ended included."""
    total = 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS_PER_S


def memory_mb(roots: Iterable[int]) -> float:
    """Proportional set size of the trees: what is shared counts once."""
    total = 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
