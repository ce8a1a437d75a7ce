"""A small engine room for tests: real journal, real queues and delivery, flows and systems as plain functions."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Literal

from accord.engine.clock import Clock, SystemClock
from accord.engine.delivery import Delivery, Port
from accord.engine.dispatch import FlowQueue
from accord.engine.ends import Stop
from accord.engine.gate import Gate
from accord.engine.release import Releaser
from accord.engine.run import Attempt
from accord.engine.steering import Steering
from accord.flow.commands import Command, ErrorPolicy, Finished
from accord.journal.group import Journal
from accord.journal.operations import Accept, Accepted, Lease, MessageRow, Replay
from accord.journal.search import MessageQuery
from accord.journal.store import AsyncStore, Store
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from accord.record import Done, Entity, Field, Message, Outcome
from accord.record.types import String
from accord.sdk.connector import CallItem, Connection, RateLimit, WriteItem, WriteMode

ENTITY = Entity(name="target.things", key=("id",), fields={"id": Field(type=String())})


class ScriptedConnection(Connection):
    """A target in memory: ``script`` decides each attempt's outcome; what is Done is written down."""

    def __init__(self, script: Callable[[WriteItem], Outcome]) -> None:
        self.script = script
        self.attempts: list[str] = []
        self.written: list[WriteItem] = []
        self.groups: list[int] = []

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        self.groups.append(len(items))
        await asyncio.sleep(0)
        outcome: Outcome = Done()
        for item in items:
            self.attempts.append(item.record["id"])
            outcome = self.script(item)
            if isinstance(outcome, Done):
                self.written.append(item)
        return outcome

    async def call(self, operation: str, item: CallItem) -> Outcome:
        return Done({"operation": operation, **item.arguments})


class FunctionFlow:
    """A flow whose steps are a generator function."""

    def __init__(
        self, name: str, steps: Callable[[Message], Generator[Command, Any, Any]], policy: ErrorPolicy
    ) -> None:
        self.name = name
        self.version = "1"
        self.effects: tuple[Any, ...] = ()
        self.priority: Literal["high", "normal", "low"] = "normal"
        self.policy = policy
        self._steps = steps
        self.undo_steps: Callable[[Message], Generator[Command, Any, Any]] | None = None

    def run(self, message: Message) -> Generator[Command, Any, Finished]:
        record = yield from self._steps(message)
        return Finished(record)

    def undo(self, message: Message, done: Any) -> Generator[Command, Any, Finished] | None:
        if self.undo_steps is None:
            return None
        yield from self.undo_steps(message)
        return Finished()


class Room:
    """Queues, journal and delivery around one scripted system called ``target``."""

    def __init__(
        self,
        folder: Path,
        script: Callable[[WriteItem], Outcome],
        *,
        items_max: int = 1,
        window: int = 512,
        is_adaptive: bool = False,
        store: Store | AsyncStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self.store = store or SqliteStore(folder / "journal.db")
        self.clock: Clock = clock or SystemClock()
        self.log = io.StringIO()
        self.observer = Observer(stream=self.log)
        self.connection = ScriptedConnection(script)
        self.items_max = items_max
        self.window = window
        self.is_adaptive = is_adaptive
        self.answers: dict[str, Any] = {}
        self.stops: dict[int, Stop] = {}

    async def open(self, *flows: FunctionFlow) -> None:
        self.journal = Journal(self.store)
        await self.journal.start()
        self.gate = Gate("target", RateLimit(adaptive=self.is_adaptive), self.clock, self.observer)
        port = Port(
            name="target",
            connection=self.connection,
            gate=self.gate,
            entities={"target.things": ENTITY},
            items_max={"target.things": self.items_max},
        )
        self.delivery = Delivery({"target": port}, self.observer)
        self.flows = {flow.name: flow for flow in flows}
        self.queues: dict[str, FlowQueue] = {}
        self.releaser = Releaser(self.queues, {"target": self.gate}, self.journal, self.clock)
        counts = await self.journal.reads.counts()
        for name in self.flows:
            queue = FlowQueue(name, self.journal, self._attempt, lambda _s: self.releaser.parked(), window=self.window)
            self.queues[name] = queue
            queue.start(sum(counts.get((name, state), 0) for state in ("ready", "waiting", "held")))
        self.journal.on_accepted = tell(*self.queues.values())
        no_versions: Any = None  # only migrating asks for them
        self.steering = Steering(
            self.journal, self.queues, self.stops, self._row, {}, no_versions, lambda message: None
        )
        self.task = asyncio.create_task(self.releaser.run())

    async def _row(self, seq: int) -> MessageRow | None:
        rows = await self.journal.reads.messages(MessageQuery(after_seq=seq - 1, limit=1))
        return rows[0] if rows and rows[0].seq == seq else None

    async def _attempt(self, lease: Lease) -> Any:
        flow: Any = self.flows[lease.message.flow]
        respond = self.answers.__setitem__
        parts = (self.journal, self.delivery, self.clock, self.observer, respond, self.stops)
        return await Attempt(lease, flow, *parts).run()

    async def accept(self, *messages: Message) -> list[int]:
        accepted = await self.journal.submit(Accept(messages))
        return [one.seq for one in accepted.messages]

    async def replay(self, seq: int) -> bool:
        """Of flow ``f``."""
        self.queues["f"].reopening()
        is_so = bool(await self.journal.submit(Replay(seq)))
        self.queues["f"].reopened(is_so=is_so)
        return is_so

    async def wait_open(self, count: int, deadline_s: float = 20.0) -> None:
        """Until that many messages are open."""
        async with asyncio.timeout(deadline_s):
            while sum(queue.open_count for queue in self.queues.values()) > count:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        self.task.cancel()
        for queue in self.queues.values():
            await queue.stop()
        await self.journal.close()


def message(number: int | str, *, flow: str = "f", key: str = "", event_id: str = "") -> Message:
    return Message(
        id=f"m{number}",
        flow=flow,
        key=key or f"k{number}",
        source="source.things",
        body=b"{}",
        time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        event_id=event_id,
    )


def tell(*queues: FlowQueue) -> Callable[[Accept, Accepted], None]:
    """What an acceptor does for its queues when the journal has committed."""
    by_flow = {queue.flow: queue for queue in queues}

    def heard(accept: Accept, accepted: Accepted) -> None:
        for message, one in zip(accept.messages, accepted.messages, strict=True):
            if not one.is_duplicate:
                by_flow[message.flow].accepted(Lease(seq=one.seq, message=message))

    return heard
