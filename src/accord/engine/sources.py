"""What Accord fetches by itself: polls, arriving files, and the clock. One task per trigger.

A page of records and the cursor behind it are accepted in one transaction, so a crash neither loses nor repeats a page.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from accord.engine.accept import Acceptor, Arrival
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.fair import Lane, lane_of
from accord.errors import JournalError
from accord.flow.flow import Flow
from accord.flow.trigger import FilesTrigger, PollTrigger, ScheduleTrigger
from accord.journal.group import Journal
from accord.journal.operations import SaveCursors
from accord.observe import Observer
from accord.observe.events import ReadStopped
from accord.record import Cursor, Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.connector import Page, ReadFailed
from accord.sdk.http import decode_json, encode_json

BACKLOG_MAX = 20_000  # open messages of a flow; reading pauses above it, so that the source holds the rest
BACKLOG_WAIT_S = 0.2
PAUSED_WAIT_S = 0.5  # how late a reader notices that its system may be asked again
FAILED_WAIT_FIRST_S = 1.0
FAILED_WAIT_LONGEST_S = 60.0
LOOK_BACK = dt.timedelta(
    hours=1
)  # where the search for the last missed time begins; a cron line has at most 60 times in it
LOOK_BACK_FACTOR = 12


class Reader:
    """Polls one entity: reads to the end, then again after the interval. ``run`` goes on until cancelled.

    Several ``flows`` read together where reading takes the source away (files are moved): a page is accepted for all of them
    in one transaction.
    """

    def __init__(
        self,
        flows: Sequence[Flow],
        trigger: PollTrigger | FilesTrigger,
        port: Port,
        acceptor: Acceptor,
        journal: Journal,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._flows = flows
        self._trigger = trigger
        self._port = port
        self._entity = port.entities[trigger.entity]
        self._acceptor = acceptor
        self._journal = journal
        self._clock = clock
        self._observer = observer
        is_shared = isinstance(trigger, FilesTrigger)
        self.name = f"{'files' if is_shared else f'read:{flows[0].name}'}:{trigger.entity}"
        self._live = lane_of(flows[0].name, flows[0].priority, False)
        self._backfill = lane_of(flows[0].name, flows[0].priority, True)
        self._failures = 0

    async def run(self) -> None:
        while True:
            if self._port.gate.is_paused:
                await self._clock.sleep(PAUSED_WAIT_S)
                continue
            try:
                await self.read_once()
                self._failures = 0
                wait_s = self._trigger.every_s
            except ReadFailed as failed:
                wait_s = self._failed(failed.outcome)
            except JournalError as error:
                wait_s = self._failed(Retry(str(error)))
            except Exception as error:  # noqa: BLE001 (a connector's defect must not end the reading; it is reported)
                wait_s = self._failed(Retry(f"the connector failed unexpectedly: {type(error).__name__}: {error}"))
            await self._clock.sleep(wait_s)

    async def read_once(self) -> int:
        """Reads all there is now. Returns how many records were accepted anew. Raises ReadFailed, JournalError."""
        raw = await self._journal.reads.cursor(self.name)
        position = decode_json(raw) if raw is not None else None
        count = 0
        pages = self._port.connection.read(self._entity, position)
        lane = self._live
        while (page := await self._next(pages, lane)) is not None:
            await self._wait_for_room()
            count += await self._accept(page, lane, raw or b"")
            raw = encode_json(page.position)
            lane = self._backfill  # more than a page is catching up: live messages go before it
        return count

    async def _next(self, pages: AsyncIterator[Page], lane: Lane) -> Page | None:
        """The next page, read inside the system's gate like every effect; None at the end."""
        gate = self._port.gate
        if not gate.enter_now() and not await gate.enter(lane):
            wait_s = max(gate.wait_s(), gate.budget_wait_s(lane))
            raise ReadFailed(Reconnect(gate.why_not, after_s=wait_s))
        outcome: Outcome | None = None
        try:
            page = await anext(pages, None)
            outcome = Done()
            return page
        except ReadFailed as failed:
            outcome = failed.outcome
            raise
        except Exception:
            outcome = Retry("the connector failed unexpectedly")
            raise
        finally:
            gate.leave(outcome)  # without its time: a page is not like other requests

    async def _accept(self, page: Page, lane: Lane, before: bytes) -> int:
        event_ids = self._event_ids(page, before)
        messages = [
            self._acceptor.message(flow, arrival, is_backfill=lane.is_backfill)
            for arrival in self._arrivals(page, event_ids)
            for flow in self._flows
        ]
        cursor = Cursor(self.name, encode_json(page.position))
        stored = await self._acceptor.store(messages, (cursor,))
        if page.is_last and page.name:
            await self._port.connection.settled(self._entity, page.name, rejected=False)
        return len(stored.ids)

    def _event_ids(self, page: Page, before: bytes) -> Sequence[str]:
        """Where records of a page are accepted by several engines, no transaction holds them and the cursor together: a page that is
        read again after a crash must be recognised. So records without an id of their own get one of the cursor ``before`` the
        page and their content. A page that does not move the cursor is meant to be read again."""
        if not self._journal.is_shared or encode_json(page.position) == before:
            return page.event_ids
        ids = []
        copies: Counter[str] = Counter()
        for index, record in enumerate(page.records):
            own = _at(page.event_ids, index)
            if not own:
                digest = hashlib.blake2b(before + b"\n" + encode_json(record), digest_size=16).hexdigest()
                copies[digest] += 1
                own = f"{self.name}@{digest}:{copies[digest]}"
            ids.append(own)
        return ids

    def _arrivals(self, page: Page, event_ids: Sequence[str]) -> Iterator[Arrival]:
        for index, record in enumerate(page.records):
            yield Arrival(
                source=self._entity.name,
                body=encode_json(record),
                event_id=_at(event_ids, index),
                malformed=page.malformed.get(index, ""),
                origin=_at(page.places, index),
            )

    async def _wait_for_room(self) -> None:
        while any(self._acceptor.open_count(flow.name) >= BACKLOG_MAX for flow in self._flows):
            await self._clock.sleep(BACKLOG_WAIT_S)

    def _failed(self, outcome: Outcome) -> float:
        self._failures += 1
        longest_s = min(FAILED_WAIT_LONGEST_S, FAILED_WAIT_FIRST_S * 2.0 ** min(self._failures - 1, 10))
        wait_s: float = longest_s * random.uniform(0.5, 1.0)
        if isinstance(outcome, Retry | Reconnect) and outcome.after_s:
            wait_s = max(wait_s, outcome.after_s)
        reason = outcome.reason if isinstance(outcome, Retry | Reconnect | Reject) else str(outcome)
        self._observer.emit(
            ReadStopped(
                flow=" ".join(flow.name for flow in self._flows),
                entity=self._entity.name,
                reason=reason,
                retry_in_s=wait_s,
            )
        )
        return wait_s


def _at(texts: Sequence[str], index: int) -> str:
    return texts[index] if index < len(texts) else ""


class Times:
    """Starts something at the times of a schedule. A time is started once, also across restarts; of several missed times only the
    last is. ``start_at`` keeps the cursor in the transaction of what it starts."""

    def __init__(self, name: str, trigger: ScheduleTrigger, journal: Journal, clock: Clock) -> None:
        self.name = name
        self._trigger = trigger
        self._journal = journal
        self._clock = clock

    async def start_at(self, due: dt.datetime, cursor: Cursor) -> None:
        """Raises JournalError when nothing was kept; it is tried again."""
        raise NotImplementedError

    async def run(self) -> None:
        last = await self._last()
        while True:
            due = self._trigger.after(last)
            wait_s = (due - self._clock.now()).total_seconds()
            if wait_s > 0:
                await self._clock.sleep(min(wait_s, 60.0))
                continue
            due = self._last_missed(due)
            await self._start(due)
            last = due

    async def _last(self) -> dt.datetime:
        raw = await self._journal.reads.cursor(self.name)
        if raw is not None:
            return msgspec.json.decode(raw, type=dt.datetime)
        now = self._clock.now()
        await self._journal.submit(SaveCursors((Cursor(self.name, msgspec.json.encode(now)),)))
        return now

    def _last_missed(self, due: dt.datetime) -> dt.datetime:
        now = self._clock.now()
        if self._trigger.every_s:
            return max(due, self._trigger.after(now - dt.timedelta(seconds=self._trigger.every_s)))
        look_back = LOOK_BACK
        while (recent := self._trigger.after(max(due, now - look_back))) > now:
            if now - look_back <= due:
                return due
            look_back *= LOOK_BACK_FACTOR
        while recent <= now:
            due, recent = recent, self._trigger.after(recent)
        return due

    async def _start(self, due: dt.datetime) -> None:
        cursor = Cursor(self.name, msgspec.json.encode(due))
        while True:
            try:
                await self.start_at(due, cursor)
                return
            except JournalError:
                await self._clock.sleep(FAILED_WAIT_FIRST_S)


class Schedule(Times):
    """Starts a flow at its times."""

    def __init__(
        self, flow: Flow, trigger: ScheduleTrigger, acceptor: Acceptor, journal: Journal, clock: Clock
    ) -> None:
        super().__init__(f"schedule:{flow.name}:{trigger.cron or trigger.every_s}", trigger, journal, clock)
        self._flow = flow
        self._acceptor = acceptor

    async def start_at(self, due: dt.datetime, cursor: Cursor) -> None:
        body = msgspec.json.encode({"scheduled_at": due})
        arrival = Arrival(source=f"schedule.{self._flow.name}", body=body, event_id=due.isoformat())
        await self._acceptor.store([self._acceptor.message(self._flow, arrival)], (cursor,))
