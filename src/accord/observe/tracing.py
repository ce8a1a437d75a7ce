"""Where spans of traces are opened, whoever keeps them; without telemetry nobody does.

Span attributes are names that the project declares, outcomes and ids: nothing of a record, nor its key.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol, TypeAlias

Ended: TypeAlias = Callable[[str], None]  # told what came of it

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""The W3C header for requests to systems that are sent now; '' for none."""


class Tracing(Protocol):
    def message(self, flow: str, message_id: str, trace_id: str, parent_span_id: str) -> AbstractContextManager[Ended]:
        """One attempt at a message. ``parent_span_id``: of who sent it, '' if it told none."""
        ...

    def effect(self, step: str, system: str) -> AbstractContextManager[Ended]:
        """One try of an effect, within a message's span; requests sent meanwhile carry it on."""
        ...

    def close(self) -> None:
        """Sends what is left, for a few seconds at most. Blocks."""
        ...
