"""The bulk flows of an engine: what was asked of them, which runs are under way here, and what the journal knows of all.

Asking goes through the journal, so that it may be done at any engine (or by a command while none runs); the one engine that runs bulk
flows looks there every ``LOOK_S``, and at once when it was asked itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from accord.engine.bulk.quality import PROFILES_KEPT, read_profiles
from accord.engine.bulk.state import (
    Asked,
    RunRecord,
    asked_cursor,
    cursor_of,
    read_asked,
    read_runs,
    read_state,
)
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.pauses import Pauses
from accord.engine.sources import Times
from accord.errors import AccordError, did_you_mean
from accord.flow.bulk.compile import BulkFlow
from accord.flow.trigger import ScheduleTrigger
from accord.journal.group import Journal
from accord.journal.operations import SaveCursors
from accord.observe import Observer
from accord.observe.events import BulkQuality, BulkRunEnded, BulkRunStopped, BulkSourceChanged
from accord.record import Cursor
from accord.sdk.connector import Capabilities

if TYPE_CHECKING:
    from accord.engine.bulk.run import BulkRun
    from accord.engine.bulk.spark.feed import SparkFeed

LOOK_S = 1.0  # how late an engine hears what another process was asked
DRAIN_S = 10.0  # of a run when the engine stops: its chunks under way are finished


class BulkDesk:
    """``ports`` and ``can`` may be filled later: they are needed for running only. ``spark``: for flows that run there."""

    def __init__(
        self,
        flows: Mapping[str, BulkFlow],
        ports: Mapping[str, Port],
        can: Mapping[str, Capabilities],
        journal: Journal,
        pauses: Pauses,
        clock: Clock,
        observer: Observer,
        spark: SparkFeed | None = None,
    ) -> None:
        self.flows = flows
        self._ports = ports
        self._can = can
        self._journal = journal
        self._pauses = pauses
        self._clock = clock
        self._observer = observer
        self._spark = spark
        self._running: dict[str, BulkRun] = {}
        self._asked: dict[str, asyncio.Event] = {name: asyncio.Event() for name in flows}

    # what can be asked at any engine

    async def ask(
        self, flow: str, word: Literal["run", "stop"], *, fresh: bool = False, accept: bool = False
    ) -> dict[str, Any]:
        """The flow as it was before. Raises AccordError for an unknown flow, or when there is nothing to stop."""
        view = await self.view(flow)
        is_running = bool(view["run"]) and view["run"]["state"] == "running"
        if word == "stop" and not is_running:
            raise BulkAskFault(f"No run of '{flow}' is under way.", mend="`accord bulk list` shows runs.")
        if word == "run" and is_running:
            mend = "`accord bulk show` tells how far it is; `accord bulk stop` ends it at the next chunk."
            raise BulkAskFault(f"A run of '{flow}' is under way.", mend=mend)
        await self._journal.submit(SaveCursors((await self._next_asked(flow, word, fresh=fresh, accept=accept),)))
        self._asked[flow].set()
        return view

    async def _next_asked(
        self, flow: str, word: Literal["run", "stop"], *, fresh: bool = False, accept: bool = False
    ) -> Cursor:
        before = await read_asked(self._journal, flow)
        asked = Asked(number=before.number + 1 if before else 1, word=word, fresh=fresh, accept=accept)
        return cursor_of(asked_cursor(flow), asked)

    async def ask_at(self, flow: str, cursor: Cursor) -> None:
        """A run, by the clock, in the transaction that moves the schedule's cursor. One that is under way goes on instead."""
        await self._journal.submit(SaveCursors((await self._next_asked(flow, "run"), cursor)))
        self._asked[flow].set()

    async def view(self, flow: str) -> dict[str, Any]:
        """``run``: the present or last one, as far as it is here and now; ``asked``: whether it is to be started."""
        self._check(flow)
        state = await read_state(self._journal, flow)
        running = self._running.get(flow)
        run = running.record if running is not None and running.record.id else state.run
        asked = await read_asked(self._journal, flow)
        bulk = self.flows[flow]
        due = [trigger.after(self._clock.now()) for trigger in bulk.spec.schedules]
        return {
            "flow": flow,
            "source": bulk.source.name,
            "targets": [write.entity.name for write in bulk.writes],
            "run": run_view(run),
            "is_asked": asked is not None and asked.number > state.asked and asked.word == "run",
            "next": min(due, default=None),
        }

    async def views(self) -> list[dict[str, Any]]:
        return [await self.view(flow) for flow in self.flows]

    async def runs(self, flow: str) -> list[dict[str, Any]]:
        """The open run and those that have ended, the newest first."""
        self._check(flow)
        present = (await self.view(flow))["run"]
        ended = [run_view(run) for run in await read_runs(self._journal, flow)]
        known = {run["id"] for run in ended if run}
        return [run for run in ([] if present is None or present["id"] in known else [present]) + ended if run]

    async def profile(self, flow: str, run: str = "") -> dict[str, Any]:
        """Of an ended run, or of the newest; with the ids of all whose profiles are kept."""
        self._check(flow)
        kept = await read_profiles(self._journal, flow)
        found = next((one for one in kept if run in ("", one.run)), None)
        if found is None:
            which = f"run '{run}'" if run else "run that has ended"
            mend = f"The last {PROFILES_KEPT} runs have one; `accord bulk show` lists runs."
            raise BulkAskFault(f"There is no profile of a {which} of '{flow}'.", mend=mend)
        shown: dict[str, Any] = msgspec.to_builtins(found, builtin_types=(dt.datetime,))
        return {**shown, "runs": [one.run for one in kept]}

    def _check(self, flow: str) -> None:
        if flow not in self.flows:
            raise BulkAskFault(f"There is no bulk flow '{flow}'.", mend=did_you_mean(flow, self.flows))

    # running

    async def run_here(
        self,
        flow: str,
        *,
        fresh: bool = False,
        accept: bool = False,
        is_patient: bool = False,
        when_empty: bool = True,
        asked: int = 0,
    ) -> RunRecord:
        """Runs it in this process, to its end or until ``stop_here``. ``asked``: up to this number, what was asked is answered by it."""
        from accord.engine.bulk.run import BulkRun  # Polars is needed by who runs bulk flows only

        self._check(flow)
        run = BulkRun(
            self.flows[flow],
            self._ports,
            self._can,
            self._journal,
            self._clock,
            is_patient=is_patient,
            spark=self._spark,
        )
        self._running[flow] = run
        try:
            record = await run.execute(fresh=fresh, accept=accept, when_empty=when_empty, asked=asked)
        finally:
            del self._running[flow]
        self._tell(record)
        return record

    def present(self, flow: str) -> RunRecord | None:
        """The run under way in this process."""
        run = self._running.get(flow)
        return run.record if run is not None else None

    def stop_here(self, flow: str, *, for_good: bool = True) -> None:
        """``for_good`` False: the next engine takes it up by itself."""
        run = self._running.get(flow)
        if run is not None:
            run.stop(for_good=for_good)

    def _tell(self, run: RunRecord) -> None:
        if run.changes and run.state in ("done", "failed"):
            self._observer.emit(BulkSourceChanged(flow=run.flow, run=run.id, changes=len(run.changes)))
        if run.state == "done" and (run.rows or run.resumed):
            self._observer.emit(
                BulkRunEnded(flow=run.flow, run=run.id, rows=run.rows, rejected=run.rejected, seconds=run.seconds)
            )
            if run.quality:
                self._observer.emit(BulkQuality(flow=run.flow, run=run.id, findings=len(run.quality)))
        elif run.state in ("stopped", "failed"):
            self._observer.emit(BulkRunStopped(flow=run.flow, run=run.id, rows=run.rows, reason=run.error or "stopped"))

    async def keep(self, flow: str) -> None:
        """Runs the flow whenever it is asked for, when files may have come, and takes up what was cut off. Until cancelled; then the
        chunks under way are finished."""
        bulk = self.flows[flow]
        state = await read_state(self._journal, flow)
        is_due = state.run is not None and state.run.state == "running"
        looked_s = float("-inf")
        while True:
            asked = await read_asked(self._journal, flow)
            state = await read_state(self._journal, flow)
            is_asked = asked is not None and asked.number > state.asked and asked.word == "run"
            has_files = bulk.spec.files is not None and self._clock.monotonic() >= looked_s + bulk.spec.files.every_s
            is_open = state.run is not None and state.run.is_open
            if flow in self._pauses.flows:
                pass
            elif is_due or is_asked:
                is_due = await self._run(flow, asked if is_asked else None)
            elif has_files and not is_open:
                looked_s = self._clock.monotonic()
                await self._run(flow, None, when_empty=False)
            await self._wait(flow, LOOK_S)

    async def _wait(self, flow: str, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked[flow].wait(), seconds)
        self._asked[flow].clear()

    async def _wait_for(self, task: asyncio.Future[RunRecord], flow: str) -> None:
        """Until it is done, or it is time to look what was asked."""
        look = asyncio.ensure_future(self._wait(flow, LOOK_S))
        try:
            both: list[asyncio.Future[Any]] = [task, look]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            look.cancel()

    async def _run(self, flow: str, asked: Asked | None, *, when_empty: bool = True) -> bool:
        """True when it was paused and is to go on later."""
        fresh, accept = (asked.fresh, asked.accept) if asked else (False, False)
        newest = await read_asked(self._journal, flow)
        run_asked = newest.number if newest else 0
        work = self.run_here(flow, fresh=fresh, accept=accept, is_patient=True, when_empty=when_empty, asked=run_asked)
        task = asyncio.ensure_future(work)
        is_paused = False
        try:
            while not task.done():
                await self._wait_for(task, flow)
                later = await read_asked(self._journal, flow)
                if later is not None and later.number > run_asked and later.word == "stop":
                    self.stop_here(flow)
                if flow in self._pauses.flows and not is_paused:
                    is_paused = True
                    self.stop_here(flow, for_good=False)
        except asyncio.CancelledError:
            self.stop_here(flow, for_good=False)
            await asyncio.wait([task], timeout=DRAIN_S)
            raise
        finally:
            if not task.done():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        record = await task
        return is_paused and record.state == "running"


class BulkAskFault(AccordError):
    """What was asked of a bulk flow cannot be done."""

    code = "engine.bulk-asked"


class BulkSchedule(Times):
    """Asks for a run at its times; of several missed ones only the last."""

    def __init__(self, flow: str, trigger: ScheduleTrigger, desk: BulkDesk, journal: Journal, clock: Clock) -> None:
        super().__init__(f"bulk:{flow}:schedule:{trigger.cron or trigger.every_s}", trigger, journal, clock)
        self._flow = flow
        self._desk = desk

    async def start_at(self, due: dt.datetime, cursor: Cursor) -> None:
        await self._desk.ask_at(self._flow, cursor)


def run_view(run: RunRecord | None) -> dict[str, Any] | None:
    """With rows a second and what does not add up."""
    if run is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(run, builtin_types=(dt.datetime,))
    shown.pop("position")
    shown["rows_per_s"] = round(run.rows / run.seconds) if run.seconds else 0
    shown["differences"] = run.differences() if run.state == "done" else []
    return shown
