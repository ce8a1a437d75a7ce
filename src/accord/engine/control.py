"""What an operator can ask and do: the one set of commands behind the command line and the control API (and the pages to come)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from accord.engine.accept import ORIGIN_HEADER, Acceptor, Arrival, Stored
from accord.engine.alerts.watch import Alerts
from accord.engine.attempts import RecentAttempts
from accord.engine.bulk.desk import BulkDesk
from accord.engine.bulk.state import RUN_HEADER
from accord.engine.clock import Clock
from accord.engine.control_views import SENT_MAX, ControlError, DeadLetterView, MessageView, SteeredMany
from accord.engine.delivery import Port
from accord.engine.dispatch import FlowQueue
from accord.engine.ends import HELD_BY_OPERATOR, VERSION_PATH, Stamp, Stop
from accord.engine.gate import Gate
from accord.engine.history import KEPT_S, History, HistoryView, Kind, Span, by_part, point_of, span_s, together
from accord.engine.looks import OPEN_STATES, Doubts, Oldest, doubts_by_flow
from accord.engine.masking import masked_with
from accord.engine.mending import LetterDifference, Mending, Preview
from accord.engine.operators.audit import Audit, AuditEntry
from accord.engine.pauses import Pause, Pauses
from accord.engine.probe import SystemCheck, Trouble, probe
from accord.engine.steering import Steered, Steering, SteeringError, check_done
from accord.engine.telling import MessageTrace, Telling
from accord.engine.versions import InFlight, Versions
from accord.errors import did_you_mean
from accord.flow.flow import Flow
from accord.flow.trigger import ManualTrigger
from accord.journal.group import Journal
from accord.journal.operations import DeadLetterRow, Discard, MessageRow, Replay
from accord.journal.search import MessageQuery
from accord.observe import Observer
from accord.observe.metrics import MetricsView
from accord.record import Entity, Message
from accord.sdk.http import decode_json

LIST_MAX = 1000
STEERED_MAX = 500  # messages told in one request: well below a second of work
NONE = Doubts()
REPLAYED_MAX = 100_000  # messages whose replay is known to go after live ones; a replay beyond counts as live


class Control:
    """Works on a running engine and, for the journal's part, on one that is not started."""

    alerts: Alerts  # set once it is made

    def __init__(
        self,
        *,
        name: str,
        journal: Journal,
        acceptor: Acceptor,
        flows: Mapping[str, Flow],
        queues: Mapping[str, FlowQueue],
        gates: Mapping[str, Gate],
        entities: Mapping[str, Entity],
        observer: Observer,
        clock: Clock,
        pauses: Pauses,
        bulk: BulkDesk,
        versions: Versions,
        stops: dict[int, Stop],
        recent: RecentAttempts,
        audit: Audit,
        history: History,
        ports: Mapping[str, Port],
        settings: Mapping[str, Any],
    ) -> None:
        """``ports``: open connections, by system; empty while the engine does not run. ``settings``: of each system."""
        self._ports = ports
        self._settings = settings
        self.audit = audit
        self._history = history
        self.versions = versions
        self.pauses = pauses
        self.bulk = bulk
        self.steering = Steering(journal, queues, stops, self.row, flows, versions, lambda message: self.claim(message))
        self._telling = Telling(journal, flows, versions, entities, recent)
        self._mending = Mending(journal, self._telling, entities)
        self._name = name
        self._journal = journal
        self._acceptor = acceptor
        self._flows = flows
        self._queues = queues
        self._gates = gates
        self._entities = entities
        self._observer = observer
        self._clock = clock
        self._oldest = Oldest(journal, flows, clock)
        self._doubts = doubts_by_flow(journal, clock)
        self.replayed: set[int] = set()  # on their way again, after live messages: nobody waits for them any more

    async def status(self) -> dict[str, Any]:
        counts = await self._journal.reads.counts()
        doubts = await self._doubts.last()
        flows = [
            {
                "name": name,
                "version": flow.version,
                **{state: counts.get((name, state), 0) for state in ("ready", "waiting", "held", "done", "dead")},
                "in_doubt": (doubts.get(name) or NONE).messages,
                "in_doubt_steps": (doubts.get(name) or NONE).by_path,
                "running": self._queues[name].running_count,
                "paused": _pause_view(self.pauses.flows.get(name)),
            }
            for name, flow in self._flows.items()
        ]
        held = await self._journal.reads.held()
        systems = [
            {
                "name": name,
                "is_well": gate.breaker.is_closed,
                "reason": gate.breaker.reason,
                "wait_s": round(gate.wait_s(), 3),
                "held": held.get(name, 0),
                **msgspec.to_builtins(gate.view(), builtin_types=(dt.datetime,)),
                "paused": _pause_view(self.pauses.systems.get(name)),
            }
            for name, gate in self._gates.items()
        ]
        size = await self._journal.reads.size_bytes()
        counters = dict(self._observer.counters)
        return {
            "project": self._name,
            "flows": flows,
            "systems": systems,
            "bulk": await self.bulk.views(),
            "versions_in_flight": self.versions.counted,
            "paused_messages": held.get(HELD_BY_OPERATOR, 0),
            "journal_size_bytes": size,
            "counters": counters,
        }

    async def audit_by_store(
        self, *, before: float = 0.0, actor: str = "", action: str = "", limit: int = 100
    ) -> dict[str, Sequence[AuditEntry]]:
        """Who did what, newest first, by the file that keeps it: one for each machine."""
        return dict(await self.audit.entries(before=before, actor=actor, action=action, limit=limit))

    async def metrics(self) -> MetricsView:
        """What was measured since the start, of all engines on this journal."""
        return self._observer.metrics.view()

    async def ages(self) -> dict[str, float]:
        """Flow → seconds since its oldest open message was accepted, of the whole journal; flows without one are left out."""
        return await self._oldest.ages()

    async def history(self, kind: Kind, name: str, since_s: int) -> HistoryView:
        """What a flow or a system did in the last ``since_s`` seconds (at most KEPT_S). Raises ControlError for an unknown name."""
        self._check_name("system" if kind == "system" else "flow", name)
        since_s = max(1, min(since_s, KEPT_S))
        spans = await self.history_by_store(kind, name, since_s)
        steps = await self.history_by_store("step", name, since_s) if kind == "flow" else {}
        until = int(self._clock.now().timestamp())
        return HistoryView(
            kind=kind,
            name=name,
            since=until - since_s,
            until=until,
            span_s=span_s(since_s),
            points=[point_of(span) for span in together(spans.values())],
            steps=by_part(together(steps.values())),
        )

    async def history_by_store(self, kind: Kind, name: str, since_s: int) -> dict[str, list[Span]]:
        """By the file that keeps it: one for each machine."""
        return await self._history.read(kind, name, since_s)

    async def check_system(self, name: str) -> SystemCheck:
        """Whether a system's address and credentials work. Raises ControlError for an unknown name, or when the engine does not run."""
        self._check_name("system", name)
        port = self._ports.get(name)
        if port is None:
            raise ControlError(f"System '{name}' is not connected.", mend="The engine is starting or stopping.")
        return await probe(name, port.connection, self._settings[name])

    async def troubles(self, name: str) -> list[Trouble]:
        """The last requests to a system that failed, newest first. Raises ControlError for an unknown name."""
        self._check_name("system", name)
        return self._gates[name].troubles.told(self._settings[name])

    async def settled(self) -> dict[str, int]:
        """Flow → messages done and dead so far, of the whole journal; asks no other engine."""
        counts = await self._journal.reads.counts()
        return {name: counts.get((name, "done"), 0) + counts.get((name, "dead"), 0) for name in self._flows}

    async def messages(self, query: MessageQuery, *, source: str = "") -> list[MessageView]:
        """``source``: full name of the entity they came from."""
        query = msgspec.structs.replace(query, limit=min(query.limit, LIST_MAX))
        flows = [query.flow]
        if source:  # every flow has one source
            flows = [one.name for one in self._flows.values() if one.source == source and query.flow in ("", one.name)]
        found: list[MessageRow] = []
        for name in flows:
            found += await self._journal.reads.messages(msgspec.structs.replace(query, flow=name))
        found.sort(key=lambda row: row.seq, reverse=query.before_seq > 0)
        return [self._message_view(row) for row in found[: query.limit]]

    async def row(self, seq: int) -> MessageRow | None:
        """One message as the journal has it."""
        rows = await self._journal.reads.messages(MessageQuery(after_seq=seq - 1, limit=1))
        return rows[0] if rows and rows[0].seq == seq else None

    async def trace(self, seq: int) -> MessageTrace:
        """Every step of a message with its input and output; personal data masked. Raises ControlError."""
        row = await self.row(seq)
        if row is None:
            raise ControlError(f"There is no message {seq}.", mend="`accord messages` shows them.")
        return await self._telling.tell(row)

    async def difference(self, seq: int) -> LetterDifference:
        """How a dead letter's record differs from the last good one of its flow. Raises ControlError."""
        return await self._mending.difference(await self._letter_row(seq))

    async def preview(self, seq: int, body: bytes, *, from_start: bool = False) -> Preview:
        """What a replay with this record (b'': as it is) would do; nothing is done. Raises ControlError."""
        row = await self._letter_row(seq)
        return await self._mending.preview(row, body or row.message.body, from_start=from_start)

    async def _letter_row(self, seq: int) -> MessageRow:
        await self._dead_row(seq)
        row = await self.row(seq)
        if row is None:
            raise ControlError(f"Message {seq} is not a dead letter any more.")
        return row

    async def in_flight(self, today: Mapping[str, str] | None = None) -> list[InFlight]:
        """Earlier versions that open messages have begun with; ``today``: the versions by flow to compare with, instead of the engine's
        own. Reads all open messages of their flows."""
        return [one for one in await self.versions.count(today) if one.messages]

    async def pause(self, kind: str, name: str, reason: str = "") -> dict[str, bool]:
        """``kind``: flow or system. Raises ControlError when there is none of that name."""
        self._check_name(kind, name)
        return {"changed": await self.pauses.pause(kind, name, reason)}

    async def resume(self, kind: str, name: str) -> dict[str, bool]:
        self._check_name(kind, name)
        return {"changed": await self.pauses.resume(kind, name)}

    async def steer(self, word: str, seq: int, *, reason: str = "", undo: bool = False, force: bool = False) -> Steered:
        """``word``: pause, resume, cancel or migrate. Raises SteeringError."""
        if word == "pause":
            return await self.steering.pause(seq, reason)
        if word == "resume":
            return await self.steering.resume(seq)
        if word == "migrate":
            return await self.steering.migrate(seq, force=force)
        return await self.steering.cancel(seq, reason, undo=undo)

    async def steer_many(
        self,
        word: str,
        *,
        flow: str,
        state: str,
        after_seq: int,
        limit: int,
        reason: str = "",
        undo: bool = False,
        force: bool = False,
    ) -> SteeredMany:
        """The next ``limit`` open messages of a flow in a state, beginning after ``after_seq``."""
        self._check_name("flow", flow)
        if state not in OPEN_STATES:
            raise ControlError(f"'{state}' is no state of an open message.", mend="ready, waiting or held.")
        rows = await self._journal.reads.messages(
            MessageQuery(flow=flow, state=state, after_seq=after_seq, limit=min(limit, STEERED_MAX))
        )
        told = await asyncio.gather(
            *(self.steer(word, row.seq, reason=reason, undo=undo, force=force) for row in rows), return_exceptions=True
        )
        for one in told:
            if isinstance(one, BaseException) and not isinstance(one, SteeringError):
                raise one
        refused = sum(isinstance(one, SteeringError) for one in told)
        return SteeredMany(len(told) - refused, refused, rows[-1].seq if rows else 0)

    def _check_name(self, kind: str, name: str) -> None:
        known: Mapping[str, Any] = self._flows if kind == "flow" else self._gates
        if name not in known:
            raise ControlError(f"There is no {kind} '{name}'.", mend=did_you_mean(name, known))

    async def dead_letters(
        self, *, flow: str = "", after_seq: int = 0, limit: int = 100, with_payload: bool = False
    ) -> list[DeadLetterView]:
        rows = await self._journal.reads.dead_letters(flow=flow, after_seq=after_seq, limit=min(limit, LIST_MAX))
        return [self._letter_view(row, with_payload=with_payload) for row in rows]

    async def replay(self, seq: int, *, body: bytes | None = None, from_start: bool = False) -> None:
        """Puts a dead letter back on its way, mended if ``body`` is given. Raises ControlError when it is none."""
        message = await self._dead_row(seq)
        if not from_start:
            await self._check_version(seq, message.flow)
        self.claim(message)
        queue = self._queues.get(message.flow)
        if queue is not None:
            queue.reopening()
            if len(self.replayed) < REPLAYED_MAX:
                self.replayed.add(seq)
        is_so = False
        try:
            is_so = await self._journal.submit(Replay(seq, body, from_start))
        finally:
            if queue is not None:
                queue.reopened(is_so=is_so)
        if not is_so:
            raise ControlError(f"Message {seq} is not a dead letter any more.")

    async def _check_version(self, seq: int, name: str) -> None:
        """A dead letter goes on with the flow of today: what it did must stand where it stood."""
        row, flow = await self.row(seq), self._flows.get(name)
        if row is None or flow is None or (raw := row.results.get(VERSION_PATH)) is None:
            return
        stamp = msgspec.json.decode(raw, type=Stamp)
        if stamp.is_settled and stamp.version != flow.version:
            check_done(seq, stamp.done, flow)

    async def discard(self, seq: int, reason: str) -> None:
        await self._dead_row(seq)
        if not await self._journal.submit(Discard(seq, reason)):
            raise ControlError(f"Message {seq} is not a dead letter any more.")

    async def send(self, flow: str, body: bytes, event_id: str = "", *, is_backfill: bool = False) -> Stored:
        """Gives one record to a flow by hand. ``is_backfill``: live messages go before it where they wait for one system."""
        found = self._flows.get(flow)
        if found is None:
            raise ControlError(f"There is no flow '{flow}'.", mend=did_you_mean(flow, self._flows))
        source = next((t.entity for t in found.triggers if isinstance(t, ManualTrigger)), found.source)
        if not source:
            raise ControlError(f"Flow '{flow}' starts from no entity.", mend="Add a trigger {manual: system.entity}.")
        arrival = Arrival(source=source, body=body, event_id=event_id)
        return await self._acceptor.store([self._acceptor.message(found, arrival, is_backfill=is_backfill)])

    async def send_many(
        self, flow: str, records: Sequence[tuple[bytes, str]], *, is_backfill: bool = False
    ) -> list[Stored]:
        """Each record with its event id, '' for none; in order. SENT_MAX share a commit."""
        stored: list[Stored] = []
        for start in range(0, len(records), SENT_MAX):
            batch = records[start : start + SENT_MAX]
            stored += await asyncio.gather(*(self.send(flow, body, id, is_backfill=is_backfill) for body, id in batch))
        return stored

    def claim(self, message: Message) -> None:
        """Called in the same turn of the loop in which an operation on an open message is submitted. Raises what keeps this engine from
        it: the message may be another's to work on."""

    async def _dead_row(self, seq: int) -> Message:
        rows = await self._journal.reads.dead_letters(after_seq=seq - 1, limit=1)
        if not rows or rows[0].seq != seq:
            raise ControlError(f"Message {seq} is not a dead letter.", mend="`accord dead list` shows them.")
        return rows[0].message

    def _letter_view(self, row: DeadLetterRow, *, with_payload: bool) -> DeadLetterView:
        record, masker = masked_with(row.message.body, self._entities.get(row.message.source))
        return DeadLetterView(
            seq=row.seq,
            id=row.message.id,
            flow=row.message.flow,
            key=row.message.key,
            source=row.message.source,
            at=row.at,
            step=row.dead.step,
            code=row.dead.code,
            reason=masker.text(row.dead.reason),
            path=row.dead.path,
            attempts=row.attempts,
            record=record,
            origin=row.message.headers.get(ORIGIN_HEADER, ""),
            run=row.message.headers.get(RUN_HEADER, ""),
            problems=masker.free(decode_json(row.dead.details)) if row.dead.details else None,
            payload=row.message.body.decode("utf-8", "replace") if with_payload else None,
        )

    def _message_view(self, row: MessageRow) -> MessageView:
        steps = {path: _outcome(raw) for path, raw in row.results.items() if path[:1] != "~" or "/" in path}
        record, masker = masked_with(row.message.body, self._entities.get(row.message.source))
        return MessageView(
            seq=row.seq,
            id=row.message.id,
            flow=row.message.flow,
            key=row.message.key,
            source=row.message.source,
            state=row.state.name.lower(),
            accepted_at=row.message.time,
            settled_at=row.settled_at,
            attempts=row.attempts,
            due=row.due,
            held_by=row.held_by,
            reason=masker.text(row.reason),
            steps=steps,
            in_doubt=sorted(row.in_doubt),
            version=self.versions.version_of_row(row),
            record=record,
        )


def _pause_view(pause: Pause | None) -> dict[str, Any] | None:
    return {"since": pause.at, "reason": pause.reason} if pause is not None else None


def _outcome(raw: bytes) -> str:
    value = decode_json(raw)
    return str(value.get("type", "undo")) if isinstance(value, dict) else "undone"
