"""Turns what arrived into messages of every flow that wants it, commits them, and only then tells the queues and the sender."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from accord.engine.clock import Clock
from accord.engine.dispatch import FlowQueue
from accord.engine.malformed import MALFORMED_HEADER, malformed_mark
from accord.errors import JournalError
from accord.flow.flow import Flow
from accord.flow.trigger import WebhookTrigger
from accord.journal.group import Journal
from accord.journal.operations import Accept, Accepted, Lease
from accord.observe import Metrics
from accord.observe.crash_points import crash_point
from accord.record import Cursor, Message
from accord.record.message import BACKFILL_HEADER, FETCH_HEADER, PARENT_SPAN_HEADER, TOPIC_HEADER

ORIGIN_HEADER = "accord-origin"


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it came: JSON ``body``, the source's ``event_id`` ('' if none), ``topic``, and ``fetch``: read it by this key.
    ``malformed``: why the source could not read the record; it is kept as a dead letter. ``origin``: where a person finds it.
    ``headers``: what else the source tells."""

    source: str
    body: bytes
    event_id: str = ""
    topic: str = ""
    fetch: str = ""
    trace_id: str = ""
    parent_span_id: str = ""
    malformed: str = ""
    origin: str = ""
    headers: Mapping[str, str] = {}


class Stored(msgspec.Struct, frozen=True):
    """What became of an arrival: its messages (one per flow) and how many were already known."""

    ids: tuple[str, ...]
    duplicates: int


class Acceptor:
    """The one way into the journal."""

    def __init__(
        self, flows: Mapping[str, Flow], queues: Mapping[str, FlowQueue], journal: Journal, clock: Clock
    ) -> None:
        self._flows = flows
        self._queues = queues
        self.metrics = Metrics()
        self._journal = journal
        self._clock = clock
        journal.on_accepted = self._tell_queues
        self._hooks: dict[str, list[tuple[Flow, WebhookTrigger]]] = {}
        for flow in flows.values():
            for trigger in flow.triggers:
                if isinstance(trigger, WebhookTrigger):
                    self._hooks.setdefault(trigger.entity, []).append((flow, trigger))

    def flows_of_hook(self, entity: str, topic: str) -> list[Flow]:
        """Flows that want this webhook event."""
        found = self._hooks.get(entity, ())
        return [flow for flow, trigger in found if not trigger.topics or topic in trigger.topics]

    def flows_of_system(self, system: str) -> list[str]:
        """Names of the flows that webhooks of this system start."""
        found = [
            flow.name
            for entity, hooks in self._hooks.items()
            if entity.partition(".")[0] == system
            for flow, _ in hooks
        ]
        return list(dict.fromkeys(found))

    def hook_topics(self) -> list[tuple[str, tuple[str, ...]]]:
        """(entity, topics) of every webhook trigger."""
        return [(entity, trigger.topics) for entity, found in self._hooks.items() for _, trigger in found]

    def message(self, flow: Flow, arrival: Arrival, *, is_backfill: bool = False) -> Message:
        """``is_backfill``: live messages go before it where they wait for one system."""
        id = new_id()
        headers = dict(arrival.headers) if arrival.headers else {}
        if arrival.topic:
            headers[TOPIC_HEADER] = arrival.topic
        if arrival.fetch:
            headers[FETCH_HEADER] = arrival.fetch
        if arrival.parent_span_id:
            headers[PARENT_SPAN_HEADER] = arrival.parent_span_id
        if arrival.origin:
            headers[ORIGIN_HEADER] = arrival.origin
        if is_backfill:
            headers[BACKFILL_HEADER] = "1"
        if arrival.malformed:
            headers[MALFORMED_HEADER] = malformed_mark(arrival.body, arrival.malformed)
        return Message(
            id=id,
            flow=flow.name,
            key=arrival.fetch or flow.key_of(arrival.body, arrival.event_id or id),
            source=arrival.source,
            body=arrival.body,
            time=self._clock.now(),
            event_id=arrival.event_id,
            headers=headers,
            trace_id=arrival.trace_id or id,
        )

    async def store(self, messages: Sequence[Message], cursors: tuple[Cursor, ...] = ()) -> Stored:
        """Returns after the commit. Raises JournalError when nothing was kept.

        The queues learn of the messages also when the caller is cancelled after the commit.
        """
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()

        def told(found: Stored | JournalError) -> None:
            if future.done():
                return  # the caller was cancelled
            if isinstance(found, JournalError):
                future.set_exception(found)
            else:
                future.set_result(found)

        self.store_then(messages, told, cursors)
        return await future

    def store_then(
        self,
        messages: Sequence[Message],
        then: Callable[[Stored | JournalError], None],
        cursors: tuple[Cursor, ...] = (),
    ) -> None:
        """Calls ``then`` after the commit, once the queues know of the messages, or with the error when nothing was kept."""
        crash_point("accept.before-commit")

        def told(found: Accepted | JournalError) -> None:
            then(found if isinstance(found, JournalError) else _stored(messages, found))

        try:
            self._journal.submit_then(Accept(tuple(messages), cursors), told)
        except JournalError as error:
            then(error)

    def _tell_queues(self, accept: Accept, accepted: Accepted) -> None:
        """A message of a flow that this engine does not have comes from a member with a newer project; it waits for such a one."""
        crash_point("accept.after-commit")
        for message, one in zip(accept.messages, accepted.messages, strict=True):
            if not one.is_duplicate and (queue := self._queues.get(message.flow)) is not None:
                self.metrics.flow(message.flow).accepted += 1
                queue.accepted(Lease(seq=one.seq, message=message))

    def open_count(self, flow: str) -> int:
        queue = self._queues.get(flow)
        return queue.open_count if queue is not None else 0


def _stored(messages: Sequence[Message], accepted: Accepted) -> Stored:
    if len(messages) == 1:
        return Stored((), 1) if accepted.messages[0].is_duplicate else Stored((messages[0].id,), 0)
    ids = tuple([m.id for m, one in zip(messages, accepted.messages, strict=True) if not one.is_duplicate])
    return Stored(ids, len(messages) - len(ids))


def new_id() -> str:
    """32 hex digits that sort by time of creation (milliseconds), unique by 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"
