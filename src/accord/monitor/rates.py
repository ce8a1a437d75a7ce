"""Rates of the last moments, in memory: how many messages of each flow had settled, every few seconds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

import msgspec

from accord.engine.clock import Clock
from accord.engine.control import Control
from accord.errors import JournalError

SAMPLE_EVERY_S = 5.0
KEPT_S = 60.0
RATE_OVER_S = 30.0  # a rate is told over so long: shorter jumps about, longer hides a stop


class Sample(msgspec.Struct, frozen=True):
    """``settled``: flow → messages done and dead so far."""

    at_s: float
    settled: Mapping[str, int]


class Rates:
    def __init__(self, control: Control, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=int(KEPT_S / SAMPLE_EVERY_S))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.add(await self._control.settled())
            except JournalError:
                pass  # away for the moment: the picture has a gap
            await asyncio.sleep(SAMPLE_EVERY_S)

    def add(self, settled: Mapping[str, int]) -> None:
        self._samples.append(Sample(self._clock.monotonic(), settled))

    def rate_per_s(self, flow: str) -> float:
        """Messages settled a second, lately."""
        if not self._samples:
            return 0.0
        newest = self._samples[-1]
        oldest = next((one for one in self._samples if one.at_s >= newest.at_s - RATE_OVER_S), newest)
        return _rate(oldest, newest, flow)


def _rate(one: Sample, other: Sample, flow: str) -> float:
    seconds = other.at_s - one.at_s
    # What retention removes is not counted any more: that is no negative rate.
    moved = max(0, other.settled.get(flow, 0) - one.settled.get(flow, 0))
    return moved / seconds if seconds > 0 else 0.0
