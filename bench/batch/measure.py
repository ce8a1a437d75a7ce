"""Runs a command and says what it took: wall, CPU, peak resident memory of its process tree, CPU of the database server."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

SAMPLE_S = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; ``working_s`` is without the start of the process, by its own account. ``peak_mb``: all processes of the tree."""

    wall_s: float
    working_s: float
    cpu_s: float
    server_cpu_s: float
    peak_mb: float


class Failed(Exception):
    """A contender ended with an error, or its result is not what it should be."""


def tree(root: int) -> list[int]:
    """The process and its descendants that are alive."""
    found, open_ = [], [root]
    while open_:
        pid = open_.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                open_ += map(int, task.read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def resident_bytes(root: int) -> int:
    total = 0
    for pid in tree(root):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def peak_bytes(root: int) -> int:
    """Of the process itself, the most it ever had. (``ru_maxrss`` would count what its parent had when it started it.)"""
    try:
        status = Path(f"/proc/{root}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def server_cpu_s(root: int) -> float:
    """Of the server, its processes alive, and those that ended."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15] if pid == root else fields[11:13]))
    return ticks / TICKS


def measured(command: Sequence[str], server_pid: int, environment: dict[str, str] | None = None) -> Figures:
    """Raises Failed with what the command said when it does not end well. A last line of JSON with ``seconds`` gives ``working_s``."""
    before = server_cpu_s(server_pid)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(environment or {})})
        peak, has_ended = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not has_ended.wait(SAMPLE_S):
                peak = max(peak, resident_bytes(process.pid), peak_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        has_ended.set()
        watcher.join()
        out.seek(0)
        err.seek(0)
        said, complained = out.read().decode(), err.read().decode()
    if process.returncode:
        raise Failed(f"{' '.join(command[:4])}… ended with {process.returncode}: {(said + complained)[-1500:]}")
    return Figures(
        wall_s=wall_s,
        working_s=_working_s(said, wall_s),
        cpu_s=used.ru_utime + used.ru_stime,
        server_cpu_s=server_cpu_s(server_pid) - before,
        peak_mb=peak / 1e6,
    )


def _working_s(said: str, wall_s: float) -> float:
    for line in reversed(said.splitlines()):
        if line.startswith("{"):
            return float(json.loads(line).get("seconds", wall_s))
    return wall_s


def median(runs: Sequence[Figures]) -> Figures:
    """Of each figure by itself."""
    return Figures(**{n: statistics.median(getattr(run, n) for run in runs) for n in Figures.__struct_fields__})
