"""Changes of a database as messages: one stream per system, for all flows that want some of its tables.

A page of changes and the position behind it are accepted in one transaction; only then is the position confirmed, so the source
keeps what the journal does not have yet. While a flow's backlog is full nothing is read: the source keeps more, which is watched.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from typing import cast

from accord.engine.accept import Acceptor, Arrival
from accord.engine.clock import Clock
from accord.engine.delivery import Port
from accord.engine.sources import (
    BACKLOG_MAX,
    BACKLOG_WAIT_S,
    FAILED_WAIT_FIRST_S,
    FAILED_WAIT_LONGEST_S,
    PAUSED_WAIT_S,
)
from accord.errors import AccordError
from accord.flow.flow import Flow
from accord.flow.trigger import ChangesTrigger
from accord.journal.group import Journal
from accord.journal.operations import SaveCursors
from accord.observe import Observer
from accord.observe.events import ChangesBehind, ChangesCaughtUp, ChangesNotice, ReadStopped
from accord.record import Cursor, Message, Reject
from accord.record.message import CHANGE_HEADER, OLD_HEADER
from accord.sdk.capture import Change, ChangeKind, ChangePage, ChangeSource, ChangeStream
from accord.sdk.connector import ReadFailed
from accord.sdk.http import decode_json, encode_json

LAG_EVERY_S = 5.0  # between looks at what the source keeps
ALIVE_EVERY_S = 5.0  # between signs of life while the backlog is full


def cursor_name(system: str) -> str:
    """Of a system's stream in the journal; it also says which member reads it."""
    return f"changes:{system}"


class _TooFarBehind(Exception):
    """The source keeps more than its bound, and the stream is to begin anew."""


class ChangeReader:
    """``wanted``: the flows of each entity (full name). ``run`` goes on until cancelled."""

    def __init__(
        self,
        wanted: Mapping[str, Sequence[tuple[Flow, ChangesTrigger]]],
        port: Port,
        acceptor: Acceptor,
        journal: Journal,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._wanted = wanted
        self._flows = list(dict.fromkeys(flow.name for found in wanted.values() for flow, _ in found))
        self._port = port
        self._source = cast(ChangeSource, port.connection)
        self._acceptor = acceptor
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self.name = cursor_name(port.name)
        self._failures = 0
        self._lag_at_s = 0.0
        self._is_behind = False

    async def run(self) -> None:
        try:
            await self._read_forever()
        finally:  # another member may read from now on, and its figures count
            self._observer.metrics.changes_retained_bytes.pop(self._port.name, None)
            self._observer.metrics.changes_behind_s.pop(self._port.name, None)

    async def _read_forever(self) -> None:
        while True:
            if self._port.gate.is_paused:
                await self._clock.sleep(PAUSED_WAIT_S)
                continue
            try:
                await self._read()
                continue
            except _TooFarBehind:
                reason = await self._given_up()
                if not reason:
                    continue
            except ReadFailed as failed:
                reason = str(failed.outcome.reason if isinstance(failed.outcome, Reject) else failed)
            except AccordError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (a connector's defect must not end the reading; it is reported)
                reason = f"the connector failed unexpectedly: {type(error).__name__}: {error}"
            await self._clock.sleep(self._failed(reason))

    async def _read(self) -> None:
        """Until the system is paused. Raises ReadFailed, JournalError, _TooFarBehind."""
        raw = await self._journal.reads.cursor(self.name)
        entities = [self._port.entities[name] for name in self._wanted]
        stream = self._source.changes(entities, decode_json(raw) if raw is not None else None)
        try:
            await stream.open()
            while not self._port.gate.is_paused:
                await self._watch(stream)
                page = await stream.next()
                if page is not None:
                    await self._take(stream, page)
                    self._failures = 0
        finally:
            with contextlib.suppress(ReadFailed):  # what matters has been raised before
                await stream.close()

    async def _take(self, stream: ChangeStream, page: ChangePage) -> None:
        await self._wait_for_room(stream, BACKLOG_MAX)
        is_truncate = any(change.kind is ChangeKind.TRUNCATE for change in page.changes)
        if is_truncate:  # it concerns all keys: before and after everything else
            await self._wait_for_room(stream, 1)
        for notice in page.notices:
            self._observer.emit(ChangesNotice(system=self._port.name, notice=notice))
        messages = [message for change in page.changes for message in self._messages(change)]
        cursor = Cursor(self.name, encode_json(page.position))
        if messages:
            await self._acceptor.store(messages, (cursor,))
        else:
            await self._journal.submit(SaveCursors((cursor,)))
        await stream.confirm(page.position)
        if is_truncate:
            await self._wait_for_room(stream, 1)

    def _messages(self, change: Change) -> list[Message]:
        takers = [flow for flow, trigger in self._wanted.get(change.entity, ()) if change.kind in trigger.topics]
        if not takers:
            if change.kind is ChangeKind.TRUNCATE:
                notice = f"{change.entity} was truncated, and no flow takes that (topic: [truncate])"
                self._observer.emit(ChangesNotice(system=self._port.name, notice=notice))
            return []
        headers = {CHANGE_HEADER: str(change.kind)}
        if change.old is not None:
            headers[OLD_HEADER] = encode_json(change.old).decode()
        arrival = Arrival(
            source=change.entity,
            body=encode_json(change.record),
            event_id=change.event_id,
            topic=str(change.kind),
            malformed=change.malformed,
            origin=change.origin,
            headers=headers,
        )
        is_backfill = change.kind is ChangeKind.SNAPSHOT
        return [self._acceptor.message(flow, arrival, is_backfill=is_backfill) for flow in takers]

    async def _wait_for_room(self, stream: ChangeStream, open_max: int) -> None:
        """Until every flow has fewer open messages; the source hears from us meanwhile."""
        alive_at_s = self._clock.monotonic() + ALIVE_EVERY_S
        while any(self._acceptor.open_count(flow) >= open_max for flow in self._flows):
            await self._clock.sleep(BACKLOG_WAIT_S)
            if self._clock.monotonic() >= alive_at_s:
                alive_at_s = self._clock.monotonic() + ALIVE_EVERY_S
                await stream.confirm(None)
                await self._watch(stream)

    async def _watch(self, stream: ChangeStream) -> None:
        """Looks from time to time at what the source keeps. Raises _TooFarBehind, ReadFailed."""
        if self._clock.monotonic() < self._lag_at_s:
            return
        self._lag_at_s = self._clock.monotonic() + LAG_EVERY_S
        lag = await stream.lag()
        metrics = self._observer.metrics
        metrics.changes_retained_bytes[self._port.name] = lag.retained_bytes
        metrics.changes_behind_s[self._port.name] = lag.behind_s
        is_behind = lag.retained_bytes > lag.retained_bytes_max
        if is_behind != self._is_behind:
            kind = ChangesBehind if is_behind else ChangesCaughtUp
            self._observer.emit(kind(system=self._port.name, retained_bytes=lag.retained_bytes))
        self._is_behind = is_behind
        if is_behind and lag.may_drop:
            raise _TooFarBehind

    async def _given_up(self) -> str:
        """The source keeps nothing more for us; the next reading begins with a snapshot. Why that did not work, or ''. The cursor goes
        first: a stream without its position begins anew, one whose slot is gone would be an error."""
        try:
            await self._journal.submit(SaveCursors((Cursor(self.name, b"null"),)))
            await self._source.drop_capture()
        except AccordError as error:
            return str(error)
        self._is_behind = False
        notice = "more was kept than `lag_max`: given up, a new snapshot follows; deletes in between are not told"
        self._observer.emit(ChangesNotice(system=self._port.name, notice=notice))
        return ""

    def _failed(self, reason: str) -> float:
        self._failures += 1
        longest_s = min(FAILED_WAIT_LONGEST_S, FAILED_WAIT_FIRST_S * 2.0 ** min(self._failures - 1, 10))
        wait_s: float = longest_s * random.uniform(0.5, 1.0)
        self._observer.emit(
            ReadStopped(flow=" ".join(self._flows), entity=self._port.name, reason=reason, retry_in_s=wait_s)
        )
        return wait_s
