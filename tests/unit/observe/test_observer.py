"""The observer: what cannot be logged is counted and stops nothing."""

from __future__ import annotations

import io

from accord.observe import Observer
from accord.observe.events import SystemWell


class _FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_takes_nothing_stops_nothing() -> None:
    observer = Observer(stream=_FullDisk())
    observer.emit(SystemWell(system="shop"))
    assert observer.counters["system.well"] == 1
    assert observer.counters["log.unwritten"] == 1


def test_a_line_is_written_and_counted() -> None:
    stream = io.StringIO()
    observer = Observer(stream=stream)
    observer.emit(SystemWell(system="shop"))
    assert "info    system.well system=shop" in stream.getvalue()
    assert observer.counters["log.unwritten"] == 0
