"""Virtual time for whole runs of asyncio, and a system whose capacity changes in it."""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """When nothing can run, time jumps to the next timer: minutes pass in milliseconds, the same way every time."""

    def __init__(self) -> None:
        self.at = 1_000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.at


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        super().__init__()

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is going to happen")
        if timeout > 0:
            self._loop.at += timeout
        return super().select(0)


def run_virtual(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class LoopClock:
    """The running loop's time as the engine's clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.monotonic(), dt.UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimulatedSystem:
    """Works on ``workers`` requests at once, ``service_s`` each, first come first served; over ``refuses_above`` it refuses."""

    def __init__(self, workers: int, service_s: float, refuses_above: int = 1_000_000) -> None:
        self.workers = workers
        self.service_s = service_s
        self.refuses_above = refuses_above
        self.present = 0
        self.served = 0
        self.refused = 0
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def answer(self, slower: float = 1.0) -> bool:
        """False: refused for overload, at once."""
        if self.present >= self.refuses_above:
            self.refused += 1
            return False
        self.present += 1
        if self._busy >= self.workers:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn  # the worker is handed over: nobody overtakes
        else:
            self._busy += 1
        await asyncio.sleep(self.service_s * slower)
        self._busy -= 1
        while self._waiting and self._busy < self.workers:
            self._busy += 1
            self._waiting.popleft().set_result(None)
        self.served += 1
        self.present -= 1
        return True
