"""An engine's place in the laboratory: its address and its lives, one after another."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from accord.observe.crash_points import VARIABLE
from accord.testing.crash.lives import Life, Nursery
from accord.testing.crash.sender import Poster

READY_WITHIN_S = 60.0


class Node:
    """``life`` is None before the first one."""

    def __init__(self, folder: Path, number: int, port: int, environment: Mapping[str, str]) -> None:
        self.address = ("127.0.0.1", port)
        self.life: Life | None = None
        self._folder = folder
        self._log = folder / f"accord{number}.log"
        self._environment = {**environment, "ACCORD_ADDRESS": f"127.0.0.1:{port}"}
        self._nursery = Nursery()

    async def __aenter__(self) -> Node:
        await self._nursery.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._nursery.__aexit__(*exception)

    @property
    def is_alive(self) -> bool:
        return self.life is not None and self.life.code is None

    async def start(self, crash: str = "") -> Life:
        """``crash``: the point at which it kills itself, as the engine's variable has it."""
        environment = {**self._environment, VARIABLE: crash}
        self.life = await self._nursery.start(["up", "-p", str(self._folder)], environment, self._log)
        return self.life

    async def wait_ready(self) -> float:
        """Until it answers, or has ended; seconds it took."""
        started = time.monotonic()
        poster = Poster(self.address)
        while self.is_alive:
            if time.monotonic() > started + READY_WITHIN_S:
                raise RuntimeError(f"the engine did not get ready:\n{self.log_tail()}")
            with contextlib.suppress(OSError, EOFError):
                if (await poster.ask("GET", "/readyz"))[0] == 200:
                    break
            await asyncio.sleep(0.01)
        poster.close()
        return time.monotonic() - started

    async def kill(self) -> int | None:
        """Its exit code: another than of SIGKILL when it had ended before."""
        if self.life is None:
            return None
        self.life.signal(signal.SIGKILL)
        return await self.life.wait()

    async def stop(self) -> None:
        """As an operator does. Raises RuntimeError when it does not end well."""
        assert self.life is not None
        self.life.signal(signal.SIGTERM)
        if await self.life.wait(READY_WITHIN_S) != 0:
            raise RuntimeError(f"the engine did not end well:\n{self.log_tail()}")

    def log_tail(self) -> str:
        return self._log.read_text()[-3000:]
