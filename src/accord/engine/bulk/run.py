"""One run of a bulk flow: read → map → write → checkpoint, chunk by chunk, all at work at once.

What makes a run survive any end: its id is in the journal before the first chunk is written, and each chunk's number, rejects and
counts before that chunk is (``begun``); chunks are numbered, and a target knows which it has; behind a chunk that every target has, one
transaction of the journal holds its counts and the position after it. A run that was cut off first settles chunks that are in
all targets as they were given, and reads on behind them; one that is not is read again, and is another where its source has changed.

Trouble of a system (Retry, Reconnect) ends a *pass*: the next one begins at the checkpoint after a pause.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from accord.engine.accept import new_id
from accord.engine.bulk.begun import Ready
from accord.engine.bulk.book import Book
from accord.engine.bulk.feed import Feed
from accord.engine.bulk.mapping import Mapper
from accord.engine.bulk.notes import Notes
from accord.engine.bulk.overlap import BulkFault, Seen, since_of
from accord.engine.bulk.state import BulkState, RunRecord, WriteCounts, read_state, seen_cursor, typed
from accord.engine.bulk.targets import Targets
from accord.engine.bulk.way import Way
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.ends import backoff_s
from accord.engine.fair import lane_of
from accord.errors import AccordError, JournalError, JournalFull
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.read import StopAfter
from accord.journal.group import Journal
from accord.observe.crash_points import crash_point
from accord.record import Outcome, Reconnect, Reject, Retry
from accord.sdk.connector import Capabilities, ReadFailed

if TYPE_CHECKING:
    from accord.engine.bulk.spark.feed import SparkFeed


class Stopped(Exception):
    """The run ends here for now."""


class BulkRun:
    """``execute`` takes up the flow's open run, or begins a new one. ``is_patient``: waits for a system that is away as long as it takes;
    else as often as the flow's policy tries. ``tell`` hears of every change of ``record``."""

    def __init__(
        self,
        flow: BulkFlow,
        ports: Mapping[str, Port],
        can: Mapping[str, Capabilities],
        journal: Journal,
        clock: Clock,
        *,
        is_patient: bool = False,
        spark: SparkFeed | None = None,
        tell: Callable[[RunRecord], None] = lambda record: None,
    ) -> None:
        self._flow = flow
        self._ports = ports
        self._can = can[flow.source.name]
        self._journal = journal
        self._clock = clock
        self._is_patient = is_patient
        self._spark = spark
        self._tell = tell
        self._lane = lane_of(flow.name, flow.flow.priority, True)
        self._stop = asyncio.Event()
        self._is_stopped_for_good = True
        self._stop_after: StopAfter | None = None
        self._accepts_rejects = False
        self._first_reason = ""  # of attempts that failed one after another
        self._began_s = 0.0
        self._ahead_rows = self._ahead_rejected = 0
        self.record = RunRecord(id="", flow=flow.name, started=clock.now())

    def stop(self, *, for_good: bool = True) -> None:
        """At the next chunk. ``for_good`` False: the next engine takes it up by itself, else only when it is asked to."""
        self._is_stopped_for_good = for_good
        self._stop.set()

    async def execute(
        self, *, fresh: bool = False, accept: bool = False, when_empty: bool = True, asked: int = 0
    ) -> RunRecord:
        """The run as it ended or stopped. ``fresh``: an open run is given up first. ``accept``: goes on whatever the rejects.
        ``when_empty`` False: a run that finds nothing leaves no trace. Raises JournalError when even that could not be kept."""
        state = await read_state(self._journal, self._flow.name)
        state.asked = max(asked, state.asked)
        self._stop_after = None if accept else self._flow.spec.stop_after
        self._accepts_rejects = accept
        run = state.run
        if run is not None and run.is_open and fresh:
            await self._abandon(Book(self._journal, state, run, is_begun=True))
        if run is not None and run.is_open:
            run.state, run.code, run.error, run.ended, run.waiting_since = "running", "", "", None, None
            run.resumed += 1
            self._book = Book(self._journal, state, run, is_begun=True)
        else:
            self._book = Book(self._journal, state, self._new_run(state), is_begun=False)
        self.record = self._book.run
        self._began_s = self._clock.monotonic() - self.record.seconds
        self._notes = await Notes.of(self._flow, self.record, self._journal)
        try:
            await self._passes()
            if self._book.is_begun or when_empty:
                await self._end("done")
        except Stopped:
            await self._end("stopped" if self._is_stopped_for_good else "running")
        except AccordError as error:
            self.record.code = self.record.code or error.code
            self.record.error = str(error)
            await self._end("failed")
        return self.record

    def _new_run(self, state: BulkState) -> RunRecord:
        now, spec = self._clock.now(), self._flow.spec.read
        is_due = spec.full_every is not None and (state.whole is None or now - state.whole >= spec.full_every)
        is_whole = not spec.cursor or state.watermark is None or is_due
        source = self._flow.source
        since = None if is_whole else since_of(typed(state.watermark, source, spec.cursor), self._flow.overlap)
        only_changes = not self._can.bulk_read and not self._can.read
        return RunRecord(
            id=new_id(),
            flow=self._flow.name,
            started=now,
            is_whole=is_whole,
            since=msgspec.to_builtins(since),
            position=state.position if only_changes else None,
            expected=state.expected if is_whole else 0,
            writes=[
                WriteCounts(path=w.path, target=w.entity.name, mode=w.mode if is_whole else w.incremental_mode)
                for w in self._flow.writes
            ],
        )

    # passes

    async def _passes(self) -> None:
        failures = 0
        while True:
            before = self.record.chunk
            try:
                return await self._pass()
            except ReadFailed as failed:
                outcome: Outcome = failed.outcome
                if isinstance(outcome, Reject):
                    raise BulkFault(outcome.reason, mend=_mend(outcome), code=_code(failed)) from failed
            except JournalError as error:
                if not isinstance(error, JournalFull) and not self._is_patient:
                    raise
                outcome = Reconnect(str(error))
            except (Stopped, AccordError):
                raise
            except Exception as error:  # noqa: BLE001 (a connector's defect: it may go away with the next pass)
                outcome = Retry(f"a connector failed unexpectedly: {type(error).__name__}: {error}"[:500])
            failures = 1 if self.record.chunk > before else failures + 1
            await self._pause(outcome, failures)

    async def _pause(self, outcome: Outcome, failures: int) -> None:
        policy = self._flow.flow.policy
        reason = getattr(outcome, "reason", str(outcome))
        if failures == 1:
            self._first_reason = reason
        is_away = isinstance(outcome, Reconnect) and self._is_patient
        if failures >= policy.attempts and not is_away:
            first = f"; at first: {self._first_reason}" if self._first_reason != reason else ""
            why = "If a server ended, its own log says why (a full disk, for example). " * isinstance(
                outcome, Reconnect
            )
            mend = f"{why}When it is well again, `accord bulk resume` goes on behind the last chunk."
            raise BulkFault(f"Given up after {failures} attempts: {reason}{first}.", mend=mend)
        wait_s = max(getattr(outcome, "after_s", None) or 0.0, backoff_s(policy, failures, random.uniform(0.5, 1.0)))
        await self._sleep(wait_s, reason)

    async def _sleep(self, wait_s: float, reason: str) -> None:
        """Raises Stopped when the run is to stop meanwhile."""
        run = self.record
        run.waiting_since = run.waiting_since or self._clock.now()
        run.waiting = reason
        self._tell(run)
        sleep = asyncio.ensure_future(self._clock.sleep(wait_s))
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([sleep, stop], return_when=asyncio.FIRST_COMPLETED)
        for task in (sleep, stop):
            task.cancel()
        run.waiting = ""
        if self._stop.is_set():
            raise Stopped

    async def _pass(self) -> None:
        """From the checkpoint to the end. Raises ReadFailed, Stopped, BulkFault."""
        targets = Targets(self._flow, self._ports, self._lane, self._book)
        try:
            await self._carry(targets)
        finally:
            await targets.leave()

    async def _carry(self, targets: Targets) -> None:
        run, spec, source = self.record, self._flow.spec.read, self._flow.source
        kept = await self._journal.reads.cursor(seen_cursor(self._flow.name))
        seen = Seen(self._flow, typed(run.cursor, source, spec.cursor) if spec.cursor else None, kept, run.started)
        mapper = Mapper(self._flow, self._journal.reads.references, run.id, run.started)
        feed = Feed(self._flow, self._ports[source.system], self._can, self._lane, self._book, self._notes, self._sleep)

        async def settled() -> None:
            await feed.settle_files()
            self._tell(run)

        way = Way(self._flow, self._book, targets, self._notes, mapper, seen, seconds=self._seconds, settled=settled)
        if self._book.is_begun:
            await feed.settle_files()
            await targets.begin()
            await way.take_up()
        if not run.is_read_out:
            if self._flow.spec.engine == "spark" and self._spark is not None:
                chunks = feed.spread(self._spark, targets, mapper)
            else:
                chunks = feed.here(mapper, Seen(self._flow, seen.largest, seen.position(), run.started))
            await self._load(targets, way, chunks)
            run.is_read_out = True
        if targets.has_begun or targets.are_whole:
            await targets.begin()
            await self._finish(targets)

    async def _load(self, targets: Targets, way: Way, chunks: AsyncGenerator[Ready, None]) -> None:
        self._ahead_rows, self._ahead_rejected = self.record.rows, self.record.rejected
        try:
            while True:
                try:
                    ready = await self._next(chunks)
                except Exception:
                    await way.settle_all()  # what is on its way is kept, whatever the source holds at the next attempt
                    raise
                if ready is None:
                    break
                await targets.begin()
                await way.put(ready)
            await way.settle_all()
        finally:
            await way.cancel()
            await chunks.aclose()

    async def _next(self, chunks: AsyncGenerator[Ready, None]) -> Ready | None:
        """None at the end. Raises Stopped, ReadFailed, BulkFault."""
        ready = await anext(chunks, None)
        if ready is not None:
            if self._stop.is_set():
                raise Stopped
            await self._check_rejects(ready)
        return ready

    async def _check_rejects(self, ready: Ready) -> None:
        """Before the chunk is written: a load that goes wrong stops before it does harm."""
        self._ahead_rows += ready.mapped.rows
        self._ahead_rejected += len(ready.mapped.refused)
        stop = self._stop_after
        if stop is None or not stop.is_passed(self._ahead_rejected, self._ahead_rows):
            return
        await self._book.bury(ready.rejects)
        what = f"{self._ahead_rejected} of {self._ahead_rows} rows are rejects: more than {stop}."
        mend = "`accord rejects list` shows them. Mend the source and `accord bulk resume`, or resume with --accept-rejects."
        raise BulkFault(what, mend=mend, code="engine.bulk-rejects")

    async def _finish(self, targets: Targets) -> None:
        run = self.record
        if targets.are_whole and run.rejected and self._flow.spec.stop_after is None and not self._accepts_rejects:
            what = f"{run.rejected} rejected rows would be missing from the target, or be deleted there."
            mend = (
                "Mend them at the source and run again with --fresh; or resume with --accept-rejects;"
                " or say with `stop_after` how many are borne."
            )
            raise BulkFault(what, mend=mend, code="engine.bulk-incomplete")
        crash_point("bulk.before-finish")
        for counts, loaded in zip(run.writes, await targets.finish(), strict=True):
            counts.inserted, counts.updated = loaded.inserted, loaded.updated
            counts.unchanged, counts.deleted = loaded.unchanged, loaded.deleted
        crash_point("bulk.after-finish")

    # ends

    def _seconds(self) -> float:
        """At work so far."""
        return round(self._clock.monotonic() - self._began_s, 3)

    async def _end(self, state: Any) -> None:
        run, book = self.record, self._book
        run.state = state
        run.seconds = self._seconds()
        if state == "done":
            run.ended = self._clock.now()
            self._advance(book.state, run)
            await book.save([*await self._notes.ended(run, self._journal), await book.with_ended()])
        else:
            await book.save()
        self._tell(run)

    def _advance(self, state: BulkState, run: RunRecord) -> None:
        cursor = self._flow.spec.read.cursor
        if cursor:
            values = [typed(v, self._flow.source, cursor) for v in (state.watermark, run.cursor) if v is not None]
            state.watermark = msgspec.to_builtins(max(values, default=None))
        if run.is_whole:
            state.whole, state.expected = run.started, run.rows
        state.position = run.position

    async def _abandon(self, book: Book) -> None:
        targets = Targets(self._flow, self._ports, self._lane, book)
        try:
            await targets.abandon()
        finally:
            await targets.leave()
        book.run.state, book.run.ended = "abandoned", self._clock.now()
        book.state.begun = []
        await book.save([await book.with_ended()])


def _code(failed: ReadFailed) -> str:
    outcome = failed.outcome
    own = outcome.code if isinstance(outcome, Reject) else ""
    return own if own.startswith("engine.") else failed.code


def _mend(reject: Reject) -> str:
    return "Mend that, then `accord bulk resume` goes on behind the last chunk." if reject.reason else ""
