"""What lets messages begin without a request from outside: readers of entities, of files and of changes, and schedules."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from accord.engine.accept import Acceptor
from accord.engine.changes import ChangeReader
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.sources import Reader, Schedule
from accord.flow.flow import Flow
from accord.flow.trigger import ChangesTrigger, FilesTrigger, PollTrigger, ScheduleTrigger
from accord.journal.group import Journal
from accord.observe import Observer

Work: TypeAlias = "Callable[[], Coroutine[Any, Any, None]]"


class Beginnings:
    """``ports``: of the systems that are connected."""

    def __init__(
        self, ports: Mapping[str, Port], acceptor: Acceptor, journal: Journal, clock: Clock, observer: Observer
    ) -> None:
        self._ports = ports
        self._acceptor = acceptor
        self._journal = journal
        self._clock = clock
        self._observer = observer

    def of_flows(self, flows: Iterable[Flow]) -> Iterator[tuple[str, Work]]:
        """Each with the name by which its cursor is kept."""
        files: dict[str, list[tuple[Flow, FilesTrigger]]] = {}
        changes: dict[str, dict[str, list[tuple[Flow, ChangesTrigger]]]] = {}
        for flow in flows:
            for trigger in flow.triggers:
                match trigger:
                    case ChangesTrigger():
                        system = changes.setdefault(trigger.entity.partition(".")[0], {})
                        system.setdefault(trigger.entity, []).append((flow, trigger))
                    case FilesTrigger():
                        files.setdefault(trigger.entity, []).append((flow, trigger))
                    case PollTrigger():
                        yield self._reader([flow], trigger)
                    case ScheduleTrigger():
                        schedule = Schedule(flow, trigger, self._acceptor, self._journal, self._clock)
                        yield schedule.name, schedule.run
        for found in files.values():  # one reader for all: a file is moved when it has been read
            often = min((trigger for _, trigger in found), key=lambda trigger: trigger.every_s)
            yield self._reader([flow for flow, _ in found], often)
        for name, wanted in changes.items():
            reader = ChangeReader(wanted, self._ports[name], self._acceptor, self._journal, self._clock, self._observer)
            yield reader.name, reader.run

    def _reader(self, flows: list[Flow], trigger: PollTrigger | FilesTrigger) -> tuple[str, Work]:
        port = self._ports[trigger.entity.partition(".")[0]]
        reader = Reader(flows, trigger, port, self._acceptor, self._journal, self._clock, self._observer)
        return reader.name, reader.run
