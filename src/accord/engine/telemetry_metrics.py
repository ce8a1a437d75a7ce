"""This engine's figures by OpenTelemetry: what ``observe.metrics`` has counted, sent by OTLP every now and then.

The histograms were kept already (decision 0181), so the SDK's data model and exporter are used, and its instruments are not. Figures
are sums since the start; the collector adds up engines, which are told apart by ``service.instance.id``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as data
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from accord.engine.clock import Clock
from accord.observe import Observer
from accord.observe.events import TelemetryNotSent
from accord.observe.metrics import BOUNDS_S, HistogramView, MetricsView
from accord.settings.telemetry import TelemetrySpec

SEND_S = 5.0
_CUMULATIVE = data.AggregationTemporality.CUMULATIVE


class MetricsSender:
    """``run`` works until cancelled. What cannot be sent is told and left: the next figures hold it as well."""

    def __init__(self, spec: TelemetrySpec, project: str, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._every_s = spec.metrics_every.total_seconds()
        self._started_ns = time.time_ns()
        instance = f"{socket.gethostname()}:{os.getpid()}"
        self._resource = Resource.create(
            {"service.name": "accord", "service.namespace": project, "service.instance.id": instance}
        )
        self._exporter = OTLPMetricExporter(
            endpoint=f"{spec.otlp.rstrip('/')}/v1/metrics",
            headers={name: secret.reveal() for name, secret in spec.headers.items()},
            timeout=SEND_S,
        )

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._every_s)
            found = self.data_of(self._observer.metrics.view())
            result = await asyncio.to_thread(self._exporter.export, found)
            if result is not data.MetricExportResult.SUCCESS:
                self._observer.emit(TelemetryNotSent(part="metrics"))

    def data_of(self, view: MetricsView) -> data.MetricsData:
        scope = data.ScopeMetrics(InstrumentationScope("accord"), list(self._metrics(view)), "")
        return data.MetricsData([data.ResourceMetrics(self._resource, [scope], "")])

    def _metrics(self, view: MetricsView) -> Iterator[data.Metric]:
        flows, systems = view.flows.items(), view.systems.items()
        yield self._sum("accord.messages.accepted", [({"flow": name}, flow.accepted) for name, flow in flows])
        attempts = [({"flow": n, "outcome": o}, count) for n, flow in flows for o, count in flow.attempts.items()]
        yield self._sum("accord.attempts", attempts)
        yield self._histogram("accord.message.duration", [({"flow": name}, flow.duration) for name, flow in flows])
        steps = [({"flow": name, "step": path}, one) for name, flow in flows for path, one in flow.steps.items()]
        yield self._histogram("accord.step.duration", steps)
        requests = [({"system": n, "outcome": o}, count) for n, one in systems for o, count in one.requests.items()]
        yield self._sum("accord.system.requests", requests)
        yield self._histogram("accord.system.request.duration", [({"system": n}, one.duration) for n, one in systems])
        refused = [
            ({"system": n, "status": s}, c) for n, by_status in view.refused.items() for s, c in by_status.items()
        ]
        yield self._sum("accord.webhooks.refused", refused)
        yield self._histogram("accord.journal.commit.duration", [({}, view.commit)])
        yield self._sum("accord.journal.operations", [({}, view.operations)])

    def _sum(self, name: str, points: Sequence[tuple[Mapping[str, str], int]]) -> data.Metric:
        now = time.time_ns()
        made = [data.NumberDataPoint(dict(labels), self._started_ns, now, count) for labels, count in points]
        return data.Metric(name, "", "1", data.Sum(made, _CUMULATIVE, is_monotonic=True))

    def _histogram(self, name: str, points: Sequence[tuple[Mapping[str, str], HistogramView]]) -> data.Metric:
        now = time.time_ns()
        made = [
            data.HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=self._started_ns,
                time_unix_nano=now,
                count=view.count,
                sum=view.sum_s,
                bucket_counts=[view.buckets.get(at, 0) for at in range(len(BOUNDS_S) + 1)],
                explicit_bounds=BOUNDS_S,
                min=0.0,
                max=max((BOUNDS_S[min(at, len(BOUNDS_S) - 1)] for at in view.buckets), default=0.0),
            )
            for labels, view in points
        ]
        return data.Metric(name, "", "s", data.Histogram(made, _CUMULATIVE))
