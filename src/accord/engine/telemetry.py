"""Traces by OpenTelemetry: a span for each attempt at a message, one below it for each try of an effect, sent by OTLP in batches.

The trace is the one the webhook's ``traceparent`` named, else the message's own id; so all attempts, also after a restart or on another
engine, are one trace. Sampling is by trace id: all engines choose the same traces.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from accord.observe import Observer
from accord.observe.events import TelemetryNotSent
from accord.observe.metrics import without_indexes
from accord.observe.tracing import TRACEPARENT, Ended
from accord.settings.telemetry import TelemetrySpec

SEND_S = 5.0  # for a batch, and so about the longest a stop waits for it
SPANS_WAITING_MAX = 4_096  # more are dropped: a collector that is away must cost no memory
TELL_EVERY_S = 60.0
_HEX_DIGITS = 32


class _Ids(RandomIdGenerator):
    """``next_trace_id`` is that of the next span without a parent; 0: by chance."""

    next_trace_id = 0

    def generate_trace_id(self) -> int:
        chosen, self.next_trace_id = self.next_trace_id, 0
        return chosen or super().generate_trace_id()


class Telemetry:
    """Implements ``accord.observe.tracing.Tracing``. Make it in the process and loop that use it: it has a thread that sends."""

    def __init__(self, spec: TelemetrySpec, project: str, observer: Observer) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "accord", "service.namespace": project}),
            sampler=TraceIdRatioBased(spec.sample),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(
            endpoint=f"{spec.otlp.rstrip('/')}/v1/traces",
            headers={name: secret.reveal() for name, secret in spec.headers.items()},
            timeout=SEND_S,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=SPANS_WAITING_MAX))
        self._tracer = self._provider.get_tracer("accord")
        self._teller = _Teller(observer)
        logging.getLogger("opentelemetry").addHandler(self._teller)

    @contextmanager
    def message(self, flow: str, message_id: str, trace_id: str, parent_span_id: str) -> Iterator[Ended]:
        context = self._context(trace_id, parent_span_id)
        attributes = {"accord.flow": flow, "accord.message.id": message_id}
        kind = trace.SpanKind.CONSUMER
        with self._tracer.start_as_current_span(
            flow, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield lambda outcome: span.set_attribute("accord.outcome", outcome)

    @contextmanager
    def effect(self, step: str, system: str) -> Iterator[Ended]:
        attributes = {"accord.step": without_indexes(step), "accord.system": system}
        kind = trace.SpanKind.CLIENT
        with self._tracer.start_as_current_span(
            attributes["accord.step"], None, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            known = span.get_span_context()
            header = f"00-{known.trace_id:032x}-{known.span_id:016x}-{int(known.trace_flags):02x}"
            token = TRACEPARENT.set(header)
            try:
                yield lambda outcome: span.set_attribute("accord.outcome", outcome)
            finally:
                TRACEPARENT.reset(token)

    def close(self) -> None:
        self._provider.shutdown()
        logging.getLogger("opentelemetry").removeHandler(self._teller)

    def _context(self, trace_id: str, parent_span_id: str) -> Context:
        number = _number(trace_id)
        parent = _number(parent_span_id)
        if number and parent:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            known = trace.SpanContext(number, parent, is_remote=True, trace_flags=flags)
            return trace.set_span_in_context(trace.NonRecordingSpan(known), Context())
        self._ids.next_trace_id = number if len(trace_id) == _HEX_DIGITS else 0
        return Context()


class _Teller(logging.Handler):
    """What the library has to say of sending, as an event of ours, now and then; it logs from its own thread."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._told_at_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._told_at_s < TELL_EVERY_S or self._loop.is_closed():
            return
        self._told_at_s = time.monotonic()
        # Not its text: that may hold the address, and what the collector answered.
        event = TelemetryNotSent(part=record.name.rpartition(".")[2])
        self._loop.call_soon_threadsafe(self._observer.emit, event)


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
