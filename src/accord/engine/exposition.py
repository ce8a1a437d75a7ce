"""``/metrics``: all figures of this engine, and of the others on its journal, in the text format of Prometheus 0.0.4.

Labels are names that the project declares and closed sets of words.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from accord.engine.answer import Answer, problem
from accord.engine.control import Control
from accord.observe.metrics import BOUNDS_S, BUCKETS_PER_DOUBLING, HistogramView, MetricsView
from accord.sdk.addresses import is_loopback
from accord.sdk.http import InboundRequest

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MetricsAccess: TypeAlias = Literal["guarded", "open", "off"]
STATES = ("ready", "waiting", "held", "done", "dead")
_SYSTEM_GAUGES = (
    ("up", "1 while the breaker is closed", lambda one: float(one["is_well"])),
    ("held_messages", "Messages that wait until the system is well", lambda one: one["held"]),
    ("requests_in_flight", "Requests under way", lambda one: one["in_flight"]),
    ("concurrency_limit", "Requests the system is given at once", lambda one: one["concurrency_limit"]),
)


class Exposition:
    """``is_local``: the engine listens on a loopback address; then 'guarded' asks for no token under the address's own names."""

    def __init__(self, control: Control, token: str, access: MetricsAccess, *, is_local: bool) -> None:
        self._control = control
        self._expected = f"Bearer {token}".encode()
        self._access = access
        self._is_local = is_local

    async def handle(self, request: InboundRequest) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return problem(405, "intake.method", "metrics are read with GET", ((b"allow", b"GET, HEAD"),))
        if self._access == "off":
            return problem(404, "intake.not-found", "this engine shows no metrics here")
        if not self._may_read(request.headers):
            return problem(401, "engine.token", "metrics need the token of this engine, or `metrics: open`")
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        body = exposition(await self._control.status(), await self._control.metrics(), await self._control.ages())
        return Answer(200, body, CONTENT_TYPE_PLAIN_0_0_4)

    def _may_read(self, headers: Mapping[str, str]) -> bool:
        if self._access == "open" or hmac.compare_digest(headers.get("authorization", "").encode(), self._expected):
            return True
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return self._is_local and is_loopback(name.strip("[]"))  # else a stranger's page may have been made to ask


def exposition(status: Mapping[str, Any], metrics: MetricsView, ages: Mapping[str, float]) -> bytes:
    """``status``: the control's. ``ages``: of the oldest open message, by flow."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Collector([*_of_flows(status, metrics, ages), *_of_systems(status, metrics), *_of_engine(status, metrics)])
    )
    return generate_latest(registry)


class _Collector:
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_flows(status: Mapping[str, Any], metrics: MetricsView, ages: Mapping[str, float]) -> Iterator[Metric]:
    accepted = _counter("accord_messages_accepted", "Messages accepted since the start", ["flow"])
    attempts = _counter("accord_attempts", "Attempts at messages, by what came of them", ["flow", "outcome"])
    duration = _histogram("accord_message_duration_seconds", "From acceptance to done or dead", ["flow"])
    steps = _histogram("accord_step_duration_seconds", "One try of an effect", ["flow", "step"])
    for name, flow in metrics.flows.items():
        accepted.add_metric([name], flow.accepted)
        for outcome, count in flow.attempts.items():
            attempts.add_metric([name, outcome], count)
        _add(duration, [name], flow.duration)
        for step, view in flow.steps.items():
            _add(steps, [name, step], view)
    messages = _gauge("accord_messages", "Messages in the journal", ["flow", "state"])
    age = _gauge("accord_oldest_open_message_seconds", "Age of the oldest open message; 0: none is open", ["flow"])
    doubt = _gauge("accord_messages_in_doubt", "Open and dead messages with this effect in doubt", ["flow", "step"])
    for one in status["flows"]:
        for step, count in one["in_doubt_steps"].items():
            doubt.add_metric([one["name"], step], count)
        for state in STATES:
            messages.add_metric([one["name"], state], one[state])
        age.add_metric([one["name"]], ages.get(one["name"], 0.0))
    yield from (accepted, attempts, duration, steps, messages, doubt, age)


def _of_systems(status: Mapping[str, Any], metrics: MetricsView) -> Iterator[Metric]:
    requests = _counter("accord_system_requests", "Requests to a system, by outcome", ["system", "outcome"])
    duration = _histogram("accord_system_request_duration_seconds", "One write, call or look-up", ["system"])
    for name, system in metrics.systems.items():
        for outcome, count in system.requests.items():
            requests.add_metric([name, outcome], count)
        _add(duration, [name], system.duration)
    refused = _counter("accord_webhooks_refused", "Webhooks not taken, by status of the answer", ["system", "status"])
    for name, counts in metrics.refused.items():
        for code, count in counts.items():
            refused.add_metric([name, code], count)
    yield from (requests, duration, refused)
    for name, words, value in _SYSTEM_GAUGES:
        gauge = _gauge(f"accord_system_{name}", words, ["system"])
        for one in status["systems"]:
            gauge.add_metric([one["name"]], value(one))
        yield gauge
    left = _gauge(
        "accord_system_budget_left", "What the system told it still takes in this window", ["system", "budget"]
    )
    for one in status["systems"]:
        for budget in one["budgets"]:
            left.add_metric([one["name"], budget["name"]], budget["left"])
    yield left
    retained = _gauge("accord_changes_retained_bytes", "Log a database keeps for a stream of changes", ["system"])
    for name, size_bytes in metrics.changes_retained_bytes.items():
        retained.add_metric([name], size_bytes)
    yield retained
    text = "Since the commit of the last change read, 0 when there is nothing more"
    behind = _gauge("accord_changes_behind_seconds", text, ["system"])
    for name, behind_s in metrics.changes_behind_s.items():
        behind.add_metric([name], behind_s)
    yield behind


def _of_engine(status: Mapping[str, Any], metrics: MetricsView) -> Iterator[Metric]:
    commit = _histogram("accord_journal_commit_duration_seconds", "One commit of a group of operations", [])
    _add(commit, [], metrics.commit)
    operations = _counter("accord_journal_operations", "Operations committed", [])
    operations.add_metric([], metrics.operations)
    size = _gauge("accord_journal_size_bytes", "What the journal takes on disk", [])
    size.add_metric([], status["journal_size_bytes"])
    events = _counter("accord_events", "Events of the log, written or not", ["event"])
    for name, count in status["counters"].items():
        events.add_metric([name], count)
    yield from (commit, operations, size, events)


def _add(family: Any, labels: list[str], view: HistogramView) -> None:
    """Every other bucket only: a factor of two tells a graph enough, at half the series."""
    buckets, total = [], 0
    for at, bound in enumerate(BOUNDS_S):
        total += view.buckets.get(at, 0)
        if at % BUCKETS_PER_DOUBLING == 0:
            buckets.append((f"{bound:.4g}", total))
    family.add_metric(labels, [*buckets, ("+Inf", view.count)], view.sum_s)


def _made(kind: str) -> Callable[[str, str, list[str]], Any]:
    def make(name: str, words: str, labels: list[str]) -> Any:
        from prometheus_client import metrics_core

        return getattr(metrics_core, kind)(name, words, labels=labels)

    return make


_counter, _gauge, _histogram = map(_made, ("CounterMetricFamily", "GaugeMetricFamily", "HistogramMetricFamily"))
