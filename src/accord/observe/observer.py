"""Where events go: a line on a stream (text or JSON) and a counter per name."""

from __future__ import annotations

import collections
import datetime as dt
import sys
from collections.abc import Callable
from typing import TextIO

import msgspec

from accord.observe.events import Event, Level
from accord.observe.metrics import Metrics
from accord.observe.tracing import Tracing

UNWRITTEN = "log.unwritten"  # the counter of events that could not be written


class Observer:
    """``emit`` writes events at or above ``level``; ``counters`` counts all of them and whatever ``count`` is told.
    ``metrics``: what the engine measures of its work."""

    def __init__(self, *, level: Level = Level.INFO, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.level = level
        self.counters: collections.Counter[str] = collections.Counter()
        self.metrics = Metrics()
        self.tracing: Tracing | None = None  # set while an engine runs that sends traces
        self.listeners: list[Callable[[Event], None]] = []
        self._as_json = as_json
        self._stream = stream

    def emit(self, event: Event) -> None:
        self.counters[event.name] += 1
        for listener in self.listeners:
            listener(event)
        if event.level < self.level:
            return
        try:
            print(self._line(event), file=self._stream or sys.stderr, flush=True)
        except (
            OSError
        ):  # the log's disk is full, or its reader has gone: what the engine does matters more than its log
            self.counters[UNWRITTEN] += 1

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] += by

    def _line(self, event: Event) -> str:
        fields = msgspec.structs.asdict(event)
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        if self._as_json:
            line = {"at": at, "level": event.level.name.lower(), "event": event.name, **fields}
            return msgspec.json.encode(line).decode()
        shown = " ".join(f"{key}={_text(value)}" for key, value in fields.items() if value not in ("", None))
        return f"{at} {event.level.name.lower():7} {event.name} {shown}"


def _text(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(text) if " " in text or "\n" in text else text
