"""Whether the condition of an alert holds. Texts hold declared names and numbers only: nothing of a message.

A figure that cannot be had now (the journal is away) is None: then nothing is said either way.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from accord.engine.alerts.arrivals import Arrivals
from accord.engine.alerts.hours import within_hours
from accord.engine.alerts.state import Finding, Memory, Sample
from accord.engine.ends import done_paths, targets_of
from accord.flow.flow import Flow
from accord.journal.operations import MessageRow
from accord.observe.metrics import MetricsView
from accord.settings.alert_spec import AlertSpec
from accord.settings.durations import format_duration

LOOKED_AT_MAX = 200  # messages of each state, the oldest: an alert says "at least" beyond
UNFINISHED = ("ready", "waiting", "held", "dead")
SAMPLES_MAX = 2_000


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One look. ``status``, ``metrics``, ``ages`` are the control's; ``messages(flow, state, limit)`` reads the oldest of a state."""

    now: dt.datetime
    status: Mapping[str, Any]
    metrics: MetricsView
    ages: Mapping[str, float]
    messages: Callable[[str, str, int], Awaitable[Sequence[MessageRow]]]


class Conditions:
    """``samples`` of error rates live in memory: after a restart their time begins anew."""

    def __init__(self, flows: Mapping[str, Flow], zone: str, memory: Memory, arrivals: Arrivals) -> None:
        self._flows = flows
        self._zone = zone
        self._memory = memory
        self._arrivals = arrivals
        self._samples: dict[str, deque[Sample]] = {}

    def learn(self, figures: Figures, specs: Sequence[AlertSpec]) -> None:
        """What has to be remembered from look to look. Once for each."""
        for flow in {spec.flow for spec in specs if spec.when == "silence"}:
            self._hear(flow, figures)
        longest = max((spec.within for spec in specs if spec.when == "error_rate" and spec.within), default=None)
        if longest is not None:
            for name in self._flows:
                self._sample(name, figures, longest)

    async def find(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        match spec.when:
            case "dead_letters":
                return self._dead_letters(spec, figures)
            case "error_rate":
                return self._error_rate(spec)
            case "oldest_waiting":
                return self._oldest_waiting(spec, figures)
            case "breaker_open":
                return self._breaker_open(spec, figures)
            case "silence":
                return self._silence(spec, figures)
            case "quality":
                return self._quality(spec, figures)
            case "missing":
                return await self._missing(spec, figures)

    def _dead_letters(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        return [
            Finding(one["name"], f"{_counted(one['dead'], 'dead letter')} in flow {one['name']}")
            for one in figures.status["flows"]
            if _is_meant(spec.flow, one["name"]) and one["dead"] > spec.above
        ]

    def _error_rate(self, spec: AlertSpec) -> list[Finding]:
        assert spec.within is not None
        found = []
        for name, samples in self._samples.items():
            newest = samples[-1]
            oldest = next(one for one in samples if one.at >= newest.at - spec.within)
            done, dead = newest.done - oldest.done, newest.dead - oldest.dead
            if _is_meant(spec.flow, name) and dead and done + dead >= spec.at_least:
                percent = 100 * dead / (done + dead)
                if percent > spec.above:
                    text = f"{percent:.1f} % of {done + dead} messages of flow {name} are dead, within {_shown(spec.within)}"
                    found.append(Finding(name, text))
        return found

    def _oldest_waiting(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        assert spec.within is not None
        return [
            Finding(name, f"a message of flow {name} has been open for {_shown(dt.timedelta(seconds=int(age)))}")
            for name, age in figures.ages.items()
            if _is_meant(spec.flow, name) and age > spec.within.total_seconds()
        ]

    def _breaker_open(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        return [
            Finding(one["name"], f"system {one['name']} fails and is not used; {_counted(one['held'], 'message')} held")
            for one in figures.status["systems"]
            if _is_meant(spec.system, one["name"]) and not one["is_well"]
        ]

    def _quality(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        return [
            Finding(
                one["flow"],
                f"the data of the last run of {one['flow']} differs in {_counted(len(one['run']['quality']), 'point')}",
            )
            for one in figures.status["bulk"]
            if _is_meant(spec.flow, one["flow"]) and one["run"] and one["run"]["quality"]
        ]

    def _silence(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        assert spec.within is not None
        heard = self._memory.heard[spec.flow][0]
        if within_hours(heard, figures.now, spec, self._zone) < spec.within:
            return []
        hours = f" in the hours {spec.hours}" if spec.hours else ""
        text = (
            f"no message of flow {spec.flow} for {_shown(spec.within)}{hours}; the last came {heard:%Y-%m-%d %H:%M} UTC"
        )
        return [Finding(spec.flow, text)]

    async def _missing(self, spec: AlertSpec, figures: Figures) -> list[Finding]:
        assert spec.within is not None
        if all(effect.target != spec.reaches for effect in self._flows[spec.flow].effects):
            return _missing_words(spec, *await self._arrivals.missing(spec, figures.now))
        before = figures.now - spec.within
        missing = 0
        is_more = False
        for state in UNFINISHED:  # what is done has reached it, or need not
            rows = await figures.messages(spec.flow, state, LOOKED_AT_MAX)
            late = [row for row in rows if row.message.time <= before]
            missing += sum(not self._has_reached(row, spec) for row in late)
            is_more = is_more or len(late) == LOOKED_AT_MAX
        return _missing_words(spec, missing, is_more)

    def _has_reached(self, row: MessageRow, spec: AlertSpec) -> bool:
        reached = targets_of(done_paths(row.results), self._flows[spec.flow].effects).values()
        return any(target.partition(" ")[0] == spec.reaches for target in reached)

    def _hear(self, flow: str, figures: Figures) -> None:
        view = figures.metrics.flows.get(flow)
        count = view.accepted if view is not None else 0
        known = self._memory.heard.get(flow)
        if known is None:
            self._memory.heard[flow] = (figures.now, count)
        elif count != known[1]:  # fewer: an engine has begun to count anew, and what it counted has come since
            self._memory.heard[flow] = (figures.now if count else known[0], count)

    def _sample(self, name: str, figures: Figures, longest: dt.timedelta) -> None:
        view = figures.metrics.flows.get(name)
        attempts = view.attempts if view is not None else {}
        sample = Sample(figures.now, attempts.get("done", 0), attempts.get("dead", 0))
        samples = self._samples.setdefault(name, deque(maxlen=SAMPLES_MAX))
        if samples and (sample.done < samples[-1].done or sample.dead < samples[-1].dead):
            samples.clear()  # an engine has begun to count anew
        samples.append(sample)
        while samples[0].at < figures.now - longest:
            samples.popleft()


def _missing_words(spec: AlertSpec, missing: int, is_more: bool) -> list[Finding]:
    assert spec.within is not None
    least = "at least " if is_more else ""
    what = (
        f"{least}{_counted(missing, 'message')} of flow {spec.flow} not in {spec.reaches} after {_shown(spec.within)}"
    )
    return [Finding(spec.flow, what)] if missing else []


def _is_meant(named: str, name: str) -> bool:
    return named in ("", name)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(time: dt.timedelta) -> str:
    return format_duration(time)
