"""What the engine counts of its own work, since its start: counters and histograms, fed on the hot path, read by whoever shows them.

All of it lives on the event loop and costs an addition or two. Labels are names that the project declares (flows, systems, steps)
and a closed set of outcomes: nothing of a message ever is one.
"""

from __future__ import annotations

import bisect
import collections
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")

BUCKETS_PER_DOUBLING = 2  # so that a quantile is told to within a fifth
_SHORTEST_S, _LONGEST_S = 0.0001, 3600.0
BOUNDS_S: tuple[float, ...] = tuple(
    _SHORTEST_S * 2 ** (at / BUCKETS_PER_DOUBLING)
    for at in range(math.ceil(math.log2(_LONGEST_S / _SHORTEST_S) * BUCKETS_PER_DOUBLING) + 1)
)
"""Upper bounds of the buckets, in seconds; the last bucket, beyond them all, has none."""
STEPS_MAX = 1_000  # per flow; a path beyond is counted under OTHER: a project's flows declare far fewer
OTHER = "(other)"
_INDEX = re.compile(r"\[[^]]*\]")


def without_indexes(path: str) -> str:
    """Of a step, as its flow declares it: ``split[3]/call`` is ``split[]/call``."""
    return _INDEX.sub("[]", path) if "[" in path else path


class HistogramView(msgspec.Struct, frozen=True):
    """Times in seconds. ``buckets``: how many were in each, by number of the bucket (see BOUNDS_S); empty ones are left out."""

    count: int
    sum_s: float
    buckets: dict[int, int]

    def quantile(self, share: float) -> float | None:
        """Seconds under which this share (0 to 1) of all were, within the width of a bucket; None when there were none."""
        if not self.count:
            return None
        wanted, seen = share * self.count, 0
        for at, count in sorted(self.buckets.items()):
            if seen + count >= wanted:
                low = BOUNDS_S[at - 1] if at else 0.0
                high = BOUNDS_S[at] if at < len(BOUNDS_S) else low
                return low + (high - low) * max(0.0, wanted - seen) / count
            seen += count
        return BOUNDS_S[-1]


class Histogram:
    """How long something took, in buckets that grow by a constant factor."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def view(self) -> HistogramView:
        buckets = {at: count for at, count in enumerate(self.counts) if count}
        return HistogramView(sum(buckets.values()), self.sum_s, buckets)


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """Of one flow since the start. ``accepted`` messages; ``attempts`` by what came of them (done, dead, waiting, held, ready);
    ``duration``: from acceptance to done or dead, waits included; ``steps``: one try of each effect, by its path."""

    accepted: int
    attempts: dict[str, int]
    duration: HistogramView
    steps: dict[str, HistogramView]


class SystemView(msgspec.Struct, frozen=True, kw_only=True):
    """Of one system since the start: requests to it by outcome, and how long they took."""

    requests: dict[str, int]
    duration: HistogramView


class MetricsView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as a value that can be sent and added up. ``refused``: webhooks not taken, by system and status."""

    flows: dict[str, FlowView]
    systems: dict[str, SystemView]
    refused: dict[str, dict[str, int]]
    commit: HistogramView
    operations: int
    changes_retained_bytes: dict[
        str, int
    ] = {}  # log that databases keep for streams of changes, or that is not read, by system
    changes_behind_s: dict[str, float] = {}  # since the commit of the last change read, 0 when there is nothing more


class FlowMetrics:
    __slots__ = ("accepted", "attempts", "duration", "steps")

    def __init__(self) -> None:
        self.accepted = 0
        self.attempts: collections.Counter[str] = collections.Counter()
        self.duration = Histogram()
        self.steps: dict[str, Histogram] = {}

    def step(self, path: str) -> Histogram:
        """Of one effect; a path within a `split` counts for all its items."""
        found = self.steps.get(path)
        if found is None:
            name = without_indexes(path)
            found = self.steps.get(name)
            if found is None:
                name = name if len(self.steps) < STEPS_MAX else OTHER
                found = self.steps.setdefault(name, Histogram())
        return found

    def view(self) -> FlowView:
        return FlowView(
            accepted=self.accepted,
            attempts=dict(self.attempts),
            duration=self.duration.view(),
            steps={path: histogram.view() for path, histogram in self.steps.items()},
        )


class SystemMetrics:
    __slots__ = ("duration", "requests")

    def __init__(self) -> None:
        self.requests: collections.Counter[str] = collections.Counter()
        self.duration = Histogram()

    def view(self) -> SystemView:
        return SystemView(requests=dict(self.requests), duration=self.duration.view())


class CommitMetrics:
    """Of the journal's commits: how long each took, and how many operations they held together."""

    __slots__ = ("duration", "operations")

    def __init__(self) -> None:
        self.duration = Histogram()
        self.operations = 0


class Metrics:
    """One engine's. ``flow`` and ``system`` make what is asked for the first time: ask for declared names only."""

    def __init__(self) -> None:
        self._flows: dict[str, FlowMetrics] = {}
        self._systems: dict[str, SystemMetrics] = {}
        self.commits = CommitMetrics()
        self.refused: collections.Counter[tuple[str, int]] = collections.Counter()  # by system and status
        self.changes_retained_bytes: dict[str, int] = {}
        self.changes_behind_s: dict[str, float] = {}

    def flow(self, name: str) -> FlowMetrics:
        found = self._flows.get(name)
        if found is None:
            found = self._flows[name] = FlowMetrics()
        return found

    def system(self, name: str) -> SystemMetrics:
        found = self._systems.get(name)
        if found is None:
            found = self._systems[name] = SystemMetrics()
        return found

    def view(self) -> MetricsView:
        refused: dict[str, dict[str, int]] = {}
        for (system, status), count in self.refused.items():
            refused.setdefault(system, {})[str(status)] = count
        return MetricsView(
            flows={name: flow.view() for name, flow in self._flows.items()},
            systems={name: system.view() for name, system in self._systems.items()},
            refused=refused,
            commit=self.commits.duration.view(),
            operations=self.commits.operations,
            changes_retained_bytes=dict(self.changes_retained_bytes),
            changes_behind_s=dict(self.changes_behind_s),
        )


def added_up(views: Sequence[MetricsView]) -> MetricsView:
    """Several engines' as one. At least one."""
    flows = {
        name: FlowView(
            accepted=sum(one.accepted for one in found),
            attempts=_counts([one.attempts for one in found]),
            duration=_histogram([one.duration for one in found]),
            steps={path: _histogram(ones) for path, ones in _by_name([one.steps for one in found]).items()},
        )
        for name, found in _by_name([view.flows for view in views]).items()
    }
    systems = {
        name: SystemView(
            requests=_counts([one.requests for one in found]), duration=_histogram([one.duration for one in found])
        )
        for name, found in _by_name([view.systems for view in views]).items()
    }
    return MetricsView(
        flows=flows,
        systems=systems,
        refused={name: _counts(found) for name, found in _by_name([view.refused for view in views]).items()},
        commit=_histogram([view.commit for view in views]),
        operations=sum(view.operations for view in views),
        changes_retained_bytes=_counts([view.changes_retained_bytes for view in views]),
        changes_behind_s={name: max(found) for name, found in _by_name([v.changes_behind_s for v in views]).items()},
    )


def _by_name(views: Sequence[Mapping[str, T]]) -> dict[str, list[T]]:
    names = sorted({name for view in views for name in view})
    return {name: [view[name] for view in views if name in view] for name in names}


def _counts(found: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(ones) for name, ones in _by_name(found).items()}


def _histogram(found: Sequence[HistogramView]) -> HistogramView:
    buckets: collections.Counter[int] = collections.Counter()
    for one in found:
        buckets.update(one.buckets)
    return HistogramView(sum(one.count for one in found), sum(one.sum_s for one in found), dict(buckets))
