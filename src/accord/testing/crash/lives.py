"""Engines as the laboratory sees them: started by the nursery, signalled, waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Life:
    """One engine, from its fork to its end."""

    def __init__(self, pid: int, end: asyncio.Task[int]) -> None:
        self.pid = pid
        self._end = end

    @property
    def code(self) -> int | None:
        """Negative for a signal; None while it lives."""
        return self._end.result() if self._end.done() else None

    async def wait(self, within_s: float | None = None) -> int | None:
        """Its exit code, or None when it lives on after ``within_s``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._end), within_s)
        return self.code

    def signal(self, number: signal.Signals) -> None:
        """Nothing when it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Use as an async context manager. One life at a time. ``loaded``: modules its engines need besides those of every engine."""

    def __init__(self, loaded: Sequence[str] = ()) -> None:
        self._loaded = loaded

    async def __aenter__(self) -> Nursery:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "accord.testing.crash.nursery", *self._loaded),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._life: Life | None = None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._life is not None:
            self._life.signal(signal.SIGKILL)
            await self._life.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def start(self, arguments: list[str], environment: dict[str, str], log: Path) -> Life:
        """A new engine; the one before must have ended."""
        assert self._process.stdin is not None
        assert self._life is None or self._life.code is not None, "one life at a time"
        order = msgspec.json.encode({"arguments": arguments, "environment": environment, "log": str(log)})
        self._process.stdin.write(order + b"\n")
        pid = await self._line()
        self._life = Life(pid, asyncio.create_task(self._line()))
        return self._life

    async def _line(self) -> int:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts engines has ended")
        return int(line)
