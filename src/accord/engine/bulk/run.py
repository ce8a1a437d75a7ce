"""One run of a bulk flow: read → map → write → checkpoint, chunk by chunk, all at work at once.

What makes a run survive any end: its id is in the journal before the first chunk is written, and each chunk's number, rejects and
counts before that chunk is (``begun``); chunks are numbered, and a target knows which it has; behind a chunk that every target has, one
transaction of the journal holds its counts and the position after it. A run that was cut off first settles chunks that are in
all targets as they were given, and reads on behind them; one that is not is read again, and is another where its source has changed.

Trouble of a system (Retry, Reconnect) ends a *pass*: the next one begins at the checkpoint after a pause.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from accord.engine.accept import new_id
from accord.engine.bulk.begun import REWRITTEN, begun_of, content, count, taken_sums
from accord.engine.bulk.mapping import Mapped, Mapper
from accord.engine.bulk.notes import Notes
from accord.engine.bulk.overlap import BulkFault, Seen, since_of
from accord.engine.bulk.reading import Read, ahead, chunks_of, closing, with_nulls
from accord.engine.bulk.rejects import refused_rows, rejects_of_steps, rejects_of_targets
from accord.engine.bulk.state import (
    RUNS_KEPT,
    Begun,
    BulkState,
    RunRecord,
    WriteCounts,
    cursor_of,
    read_runs,
    read_state,
    runs_cursor,
    seen_cursor,
    state_cursor,
    typed,
)
from accord.engine.bulk.writing import in_gate, load_of
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.ends import backoff_s
from accord.engine.fair import lane_of
from accord.errors import AccordError, JournalError, JournalFull
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.read import StopAfter
from accord.journal.group import Journal
from accord.journal.operations import Bury, Rejected, SaveCursors
from accord.observe.crash_points import crash_point
from accord.record import Cursor, Entity, Outcome, Reconnect, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead, Chunk, Load, Loaded, LoadMode, LoadSpec, Written
from accord.sdk.connector import Capabilities, ReadFailed
from accord.sdk.spread import SpreadSource

if TYPE_CHECKING:
    from accord.engine.bulk.spark.feed import SparkFeed

UnderWay: TypeAlias = "tuple[Mapped, Begun, asyncio.Task[list[Written]]]"
AHEAD = 2  # chunks that are read or wait for the mapping, and as many mapped: more only take memory
BURIED_AT_ONCE = 1_000  # rejects of one commit
WHOLE = (LoadMode.REPLACE, LoadMode.DELETE_MISSING)


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
        self._state = BulkState()
        self._stop_after: StopAfter | None = None
        self._accepts_rejects = False
        self._is_begun = False
        self._waited_for = ""
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
        self._state = await read_state(self._journal, self._flow.name)
        self._state.asked = max(asked, self._state.asked)
        self._stop_after = None if accept else self._flow.spec.stop_after
        self._accepts_rejects = accept
        run = self._state.run
        if run is not None and run.is_open and fresh:
            await self._abandon(run)
            run = None
        if run is not None and run.is_open:
            self.record = run
            run.state, run.code, run.error, run.ended, run.waiting_since = "running", "", "", None, None
            run.resumed += 1
            self._is_begun = True
        else:
            self.record = self._new_run()
        self._began_s = self._clock.monotonic() - self.record.seconds
        self._notes = await Notes.of(self._flow, self.record, self._journal)
        try:
            await self._passes()
            if self._is_begun or when_empty:
                await self._end("done")
        except Stopped:
            await self._end("stopped" if self._is_stopped_for_good else "running")
        except AccordError as error:
            self.record.code = self.record.code or error.code
            self.record.error = str(error)
            await self._end("failed")
        return self.record

    def _new_run(self) -> RunRecord:
        now, spec, state = self._clock.now(), self._flow.spec.read, self._state
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
        if run.waiting_since is None or reason != self._waited_for:
            run.waiting_since, self._waited_for = self._clock.now(), reason
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
        loads = [self._load(index) for index in range(len(self._flow.writes))]
        try:
            await self._carry(loads)
        finally:
            for load in loads:
                await load.leave()

    async def _carry(self, loads: list[Load]) -> None:
        run, spec = self.record, self._flow.spec.read
        kept = await self._journal.reads.cursor(seen_cursor(self._flow.name))
        known_largest = typed(run.cursor, self._flow.source, spec.cursor) if spec.cursor else None
        seen = Seen(self._flow, known_largest, kept, run.started)
        has_begun = False
        if self._is_begun:
            await self._settle_files()
            await self._begin(loads)
            has_begun = True
            while await self._take_up(loads, seen):
                pass
        if not run.is_read_out:
            self._ahead_rows, self._ahead_rejected = run.rows, run.rejected
            mapper = Mapper(self._flow, self._journal.reads.references, run.id, run.started)
            under_way: deque[UnderWay] = deque()
            at_once = min(load.at_once for load in loads)
            if self._flow.spec.engine == "spark" and self._spark is not None:
                chunks = ahead(self._from_spark(self._spark), AHEAD)
            else:
                known = Seen(self._flow, seen.largest, seen.position(), run.started)
                chunks = ahead(self._mapped(mapper, ahead(self._read(), AHEAD), known), AHEAD)
            try:
                while True:
                    try:
                        mapped = await self._next(mapper, chunks, run.chunk + len(under_way))
                    except Exception:
                        while (
                            under_way
                        ):  # what was on its way before is kept, whatever the source holds at the next attempt
                            await self._settle(mapper, under_way, seen)
                        raise
                    if mapped is None:
                        break
                    if not has_begun:
                        await self._begin(loads)
                        has_begun = True
                    begun = await self._note(loads, mapper, mapped, len(under_way), seen)
                    under_way.append((mapped, begun, asyncio.create_task(self._write(loads, begun, mapped))))
                    if len(under_way) >= at_once:
                        await self._settle(mapper, under_way, seen)
                while under_way:
                    await self._settle(mapper, under_way, seen)
            finally:
                for _, _, task in under_way:
                    task.cancel()
                await asyncio.gather(*(task for _, _, task in under_way), return_exceptions=True)
                await chunks.aclose()
            run.is_read_out = True
        if has_begun or any(LoadMode(one.mode) in WHOLE for one in run.writes):
            if not has_begun:
                await self._begin(loads)
            await self._finish(loads)

    def _load(self, index: int) -> Load:
        write, run = self._flow.writes[index], self.record
        spec = LoadSpec(
            id=f"{run.id}-{index}",
            mode=LoadMode(run.writes[index].mode),
            key=write.entity.key,
            fields=tuple(write.entity.fields),
            deleted_share_max=write.deleted_share_max,
            started=run.started.isoformat(),
        )
        return load_of(write, self._port(index), spec)

    def _port(self, index: int) -> Port:
        return self._ports[self._flow.writes[index].entity.system]

    async def _begin(self, loads: list[Load]) -> None:
        """The run is in the journal before a target hears of it."""
        if not self._is_begun:
            await self._save()
            self._is_begun = True
        for index, load in enumerate(loads):
            await in_gate(self._port(index), self._lane, load.begin)

    async def _read(self) -> AsyncIterator[Read]:
        run = self.record
        source, nulls = await self._as_it_is_now()
        request = self._request(source)
        port = self._ports[source.system]
        chunks = chunks_of(port.connection, source, self._can, request, run.rows + 1)
        end = object()
        has_given = False
        async with closing(chunks):
            while True:
                read = await in_gate(port, self._lane, lambda: anext(chunks, end))
                if read is end:
                    return
                if read.batch.after_s:
                    await self._wait_for_source(read.batch, is_first=not has_given)
                    continue
                has_given = True
                if read.rows or self._is_begun:
                    yield with_nulls(read, self._flow.source, nulls)
                    continue
                run.settling += read.ended  # files without rows
                await self._settle_files()

    async def _wait_for_source(self, batch: Batch, *, is_first: bool) -> None:
        """It makes ready elsewhere what it was asked for. Where, is kept: a run that is cut off asks there again. Behind rows that are
        still on their way to the targets it is not."""
        if is_first and batch.position != self.record.position:
            self.record.position = batch.position
            await self._save()
            self._is_begun = True
        await self._sleep(batch.after_s, f"{self._flow.source.name} is being made ready by its system")

    def _request(self, source: Entity) -> BulkRead:
        run, spec = self.record, self._flow.spec.read
        return BulkRead(
            position=run.position,
            rows=spec.chunk,
            cursor=spec.cursor,
            since=typed(run.since, source, spec.cursor) if spec.cursor else None,
            as_written=self._flow.as_written(),
            partitions=spec.partitions,
        )

    async def _from_spark(self, spark: SparkFeed) -> AsyncIterator[Mapped]:
        """The same chunks, read and mapped by the processes of a cluster."""
        run = self.record
        source, nulls = await self._as_it_is_now()
        port = self._ports[source.system]
        connection: SpreadSource = port.connection  # type: ignore[assignment]
        request = self._request(source)
        async with AsyncExitStack() as stack:
            begin = functools.partial(stack.enter_async_context, connection.parts(source, request))
            parts = await in_gate(port, self._lane, begin)
            chunks = spark.mapped(
                self._flow.name, run.id, run.started, connection, parts, nulls, at_once=request.partitions
            )
            stack.push_async_callback(chunks.aclose)
            async for mapped in chunks:
                if mapped.rows or self._is_begun:
                    yield mapped
                    continue
                run.settling += mapped.read.ended  # files without rows
                await self._settle_files()

    async def _as_it_is_now(self) -> tuple[Entity, frozenset[str]]:
        """The source without the fields that it has no more and that are read as null. Raises BulkFault when no row may move."""
        source = self._flow.source
        port = self._ports[source.system]
        look = functools.partial(self._notes.look, self.record, port.connection, self._journal)
        nulls: frozenset[str] = await in_gate(port, self._lane, look)
        left = {name: field for name, field in source.fields.items() if name not in nulls}
        return (msgspec.structs.replace(source, fields=left) if nulls else source), nulls

    async def _mapped(self, mapper: Mapper, reads: AsyncIterator[Read], known: Seen) -> AsyncIterator[Mapped]:
        async with closing(reads):
            async for read in reads:
                mapped = await mapper.map(read, known.known(read))
                known.add(known.part_of(read))
                yield mapped

    async def _next(self, mapper: Mapper, chunks: AsyncGenerator[Mapped, None], number: int) -> Mapped | None:
        """The chunk with that number, None at the end. Raises Stopped, ReadFailed, BulkFault."""
        mapped = await anext(chunks, None)
        if mapped is not None:
            if self._stop.is_set():
                raise Stopped
            await self._check_rejects(mapper, mapped, number)
        return mapped

    async def _check_rejects(self, mapper: Mapper, mapped: Mapped, number: int) -> None:
        """Before the chunk is written: a load that goes wrong stops before it does harm."""
        self._ahead_rows += mapped.rows
        self._ahead_rejected += len(mapped.refused)
        stop = self._stop_after
        if stop is None or not stop.is_passed(self._ahead_rejected, self._ahead_rows):
            return
        await self._bury(await asyncio.to_thread(rejects_of_steps, mapper, mapped, number), ())
        what = f"{self._ahead_rejected} of {self._ahead_rows} rows are rejects: more than {stop}."
        mend = "`accord rejects list` shows them. Mend the source and `accord bulk resume`, or resume with --accept-rejects."
        raise BulkFault(what, mend=mend, code="engine.bulk-rejects")

    async def _note(self, loads: list[Load], mapper: Mapper, mapped: Mapped, place: int, seen: Seen) -> Begun:
        """The chunk is in the journal, with what its steps refused, before a target hears of it. ``place``: among those under way. Raises
        BulkFault when it is another than the one that targets may have."""
        state, part = self._state, seen.part_of(mapped.read)
        number = state.begun[place - 1].number + 1 if place else self.record.chunk
        begun = await asyncio.to_thread(begun_of, new_id(), number, mapped, part)
        before = state.begun
        if place < len(before):
            if content(before[place]) == content(begun):
                return before[place]
            begun = msgspec.structs.replace(begun, number=await self._number_anew(loads, before[place:]))
        rejects = await asyncio.to_thread(rejects_of_steps, mapper, mapped, begun.number)
        state.begun = [*before[:place], begun]
        try:
            await self._bury(rejects, (cursor_of(state_cursor(self._flow.name), self._with_run()),))
        except BaseException:
            state.begun = before
            raise
        crash_point("bulk.noted")
        return begun

    async def _number_anew(self, loads: list[Load], left: list[Begun]) -> int:
        """For a chunk that was read again and is another than before; ``left``: it and those behind it as they were. What targets have of
        them is written over by itself, or is nothing."""
        if all(LoadMode(one.mode) in REWRITTEN for one in self.record.writes):
            return left[-1].number + 1
        for index, load in enumerate(loads):
            for begun in left:
                if begun.given[index] and (not load.tells or await self._known(index, load, begun)):
                    source, target = self._flow.source.name, self._flow.writes[index].entity.name
                    what = f"{source} holds other rows than when chunk {begun.number} was on its way to {target}."
                    mend = (
                        "Rows of that chunk may be there, and cannot be told from the new ones. Begin anew with `accord bulk run --fresh`;"
                        " in mode append remove first what this run has written."
                    )
                    raise BulkFault(what, mend=mend, code="engine.bulk-changed")
        return left[0].number

    async def _known(self, index: int, load: Load, begun: Begun) -> Written | None:
        known: Written | None = await in_gate(
            self._port(index), self._lane, functools.partial(load.known, begun.number)
        )
        return known

    async def _take_up(self, loads: list[Load], seen: Seen) -> bool:
        """Settles the oldest chunk that has begun as it was given, when every target has it so and refused nothing of it."""
        begun = next(iter(self._state.begun), None)
        if begun is None or not any(begun.given):
            return False
        written = []
        for index, load in enumerate(loads):
            known: Written | None = Written(0, attempt=begun.id)
            if begun.given[index]:
                known = await self._known(index, load, begun) if load.tells else None
            if known is None or known.attempt != begun.id or known.rejects:
                return False
            written.append(known)
        await self._checkpoint(begun, seen, written, [], 0, begun.checksums)
        return True

    async def _write(self, loads: list[Load], begun: Begun, mapped: Mapped) -> list[Written]:
        found = []
        for index, (load, portion) in enumerate(zip(loads, mapped.portions, strict=True)):
            if not portion.frame.height:
                found.append(Written(0))
                continue
            chunk = Chunk(begun.number, portion.frame, begun.id)
            crash_point("bulk.before-write")
            found.append(await in_gate(self._port(index), self._lane, functools.partial(load.write, chunk)))
            crash_point("bulk.after-write")
        return found

    async def _settle(self, mapper: Mapper, under_way: deque[UnderWay], seen: Seen) -> None:
        """The oldest chunk: when every target has it, its checkpoint."""
        mapped, begun, task = under_way[0]
        written = await task
        under_way.popleft()
        refused = refused_rows(mapped, written)
        rejects = await asyncio.to_thread(rejects_of_targets, mapper, mapped, begun.number, refused)
        sums = await asyncio.to_thread(taken_sums, begun, mapped, written)
        await asyncio.to_thread(self._notes.add, mapped.read)
        await self._checkpoint(begun, seen, written, rejects, len(refused), sums)

    async def _checkpoint(
        self,
        begun: Begun,
        seen: Seen,
        written: list[Written],
        rejects: list[Rejected],
        refused: int,
        sums: Sequence[str],
    ) -> None:
        run, state = self.record, self._state
        seen.add(seen.part_kept(begun.largest, begun.seen))
        before, begun_before = run.copied(), state.begun
        count(run, begun, written, refused, sums)
        run.waiting_since = None
        run.chunk = begun.number + 1
        run.position = begun.position
        run.is_read_out = begun.is_last
        run.settling += begun.ended
        run.cursor = msgspec.to_builtins(seen.largest)
        run.seconds = round(self._clock.monotonic() - self._began_s, 3)
        state.begun = begun_before[1:]
        cursors = [cursor_of(state_cursor(self._flow.name), self._with_run()), self._notes.cursor()]
        if seen.is_needed:
            cursors.append(Cursor(seen_cursor(self._flow.name), seen.position()))
        try:
            crash_point("bulk.before-checkpoint")
            await self._bury(rejects, tuple(cursors))
        except BaseException:
            self._notes.undo()
            run.restore(before)  # what the journal does not have did not happen: the next pass takes the chunk up again
            state.begun = begun_before
            raise
        self._notes.keep()
        crash_point("bulk.after-checkpoint")
        await self._settle_files()
        self._tell(run)

    async def _settle_files(self) -> None:
        """Files whose rows are all in targets or rejects may go; once more, where a run was cut off before."""
        connection = self._ports[self._flow.source.system].connection
        while self.record.settling:
            await connection.settled(self._flow.source, self.record.settling[0], rejected=False)
            del self.record.settling[0]

    async def _bury(self, rejects: list[Rejected], cursors: tuple[Cursor, ...]) -> None:
        """In the transaction of the last of them the cursors move; one that is buried twice is there once."""
        while len(rejects) > BURIED_AT_ONCE:
            first, rejects = rejects[:BURIED_AT_ONCE], rejects[BURIED_AT_ONCE:]
            await self._journal.submit(Bury(tuple(first)))
        accepted = await self._journal.submit(Bury(tuple(rejects), cursors))
        self.record.again += sum(one.is_duplicate for one in accepted.messages)

    async def _finish(self, loads: list[Load]) -> None:
        run = self.record
        is_whole = any(LoadMode(one.mode) in WHOLE for one in run.writes)
        if is_whole and run.rejected and self._flow.spec.stop_after is None and not self._accepts_rejects:
            what = f"{run.rejected} rejected rows would be missing from the target, or be deleted there."
            mend = (
                "Mend them at the source and run again with --fresh; or resume with --accept-rejects;"
                " or say with `stop_after` how many are borne."
            )
            raise BulkFault(what, mend=mend, code="engine.bulk-incomplete")
        crash_point("bulk.before-finish")
        for index, load in enumerate(loads):
            loaded: Loaded = await in_gate(self._port(index), self._lane, load.finish)
            counts = run.writes[index]
            counts.inserted, counts.updated = loaded.inserted, loaded.updated
            counts.unchanged, counts.deleted = loaded.unchanged, loaded.deleted
        crash_point("bulk.after-finish")

    # ends

    async def _end(self, state: Any) -> None:
        run = self.record
        run.state = state
        run.seconds = round(self._clock.monotonic() - self._began_s, 3)
        cursors: list[Cursor] = []
        if state == "done":
            run.ended = self._clock.now()
            self._advance(run)
            cursors += await self._notes.ended(run, self._journal)
            cursors.append(await self._with_ended(run))
        await self._save(cursors)
        self._tell(run)

    def _advance(self, run: RunRecord) -> None:
        state, cursor = self._state, self._flow.spec.read.cursor
        if cursor:
            values = [typed(v, self._flow.source, cursor) for v in (state.watermark, run.cursor) if v is not None]
            state.watermark = msgspec.to_builtins(max(values, default=None))
        if run.is_whole:
            state.whole, state.expected = run.started, run.rows
        state.position = run.position

    async def _abandon(self, run: RunRecord) -> None:
        self.record = run
        for index in range(len(self._flow.writes)):
            load = self._load(index)
            try:
                await in_gate(self._port(index), self._lane, load.abandon)
            finally:
                await load.leave()
        run.state, run.ended = "abandoned", self._clock.now()
        self._state.begun = []
        await self._save([await self._with_ended(run)])

    async def _with_ended(self, run: RunRecord) -> Cursor:
        earlier = await read_runs(self._journal, self._flow.name)
        others = [one for one in earlier if one.id != run.id]
        return cursor_of(runs_cursor(self._flow.name), [run, *others][:RUNS_KEPT])

    def _with_run(self) -> BulkState:
        self._state.run = self.record
        return self._state

    async def _save(self, more: list[Cursor] | None = None) -> None:
        cursors = (cursor_of(state_cursor(self._flow.name), self._with_run()), *(more or ()))
        await self._journal.submit(SaveCursors(cursors))


def _code(failed: ReadFailed) -> str:
    outcome = failed.outcome
    own = outcome.code if isinstance(outcome, Reject) else ""
    return own if own.startswith("engine.") else failed.code


def _mend(reject: Reject) -> str:
    return "Mend that, then `accord bulk resume` goes on behind the last chunk." if reject.reason else ""
