"""Carries effects to systems: one attempt each, through the system's gate, single or grouped. Returns outcomes; decides nothing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from accord.engine.attempts import WATCH, RecentAttempts, Watch
from accord.engine.fair import FairQueue, Lane
from accord.engine.gate import Gate
from accord.engine.masking import Masker, masked_with
from accord.errors import AccordError
from accord.flow.commands import Call, Fetch, Write, effect_id
from accord.observe import Observer
from accord.observe.crash_points import crash_point
from accord.observe.events import FlowDefect
from accord.observe.tracing import TRACEPARENT
from accord.record import Done, End, Entity, Outcome, Partial, Reconnect, Reject, Retry
from accord.sdk.connector import CallItem, Connection, WriteItem, WriteMode

One: TypeAlias = Done | Retry | Reconnect | Reject
SICK = Reconnect("the system is not available; waiting until it is")


class Port(msgspec.Struct, frozen=True):
    """A connected system as delivery needs it. ``items_max``: how many records one write takes, by entity."""

    name: str
    connection: Connection
    gate: Gate
    entities: Mapping[str, Entity]
    items_max: Mapping[str, int]


class Delivery:
    """One attempt of one command. Concurrent writes to the same entity of a system that takes many records at once are grouped."""

    def __init__(self, ports: Mapping[str, Port], observer: Observer) -> None:
        self._ports = ports
        self._observer = observer
        self.recent = RecentAttempts()
        self._groups: dict[tuple[str, WriteMode], _Group] = {}

    def gate(self, system: str) -> Gate:
        return self._ports[system].gate

    def masker_of(self, source: str, body: bytes) -> Masker:
        """Of a message's personal values; of none when it came from nowhere declared."""
        port = self._ports.get(source.partition(".")[0])
        return masked_with(body, port.entities.get(source) if port else None)[1]

    def entity(self, name: str) -> Entity:
        """By full name."""
        return self._ports[name.partition(".")[0]].entities[name]

    async def attempt(
        self,
        command: Write | Call | Fetch,
        message_id: str,
        lane: Lane,
        in_doubt: bool,
        conceal: Callable[[str], str] = str,
    ) -> One:
        """Never raises for what a system did: an exception of a connector is a defect, logged, and Retry(in_doubt).
        ``conceal`` masks the message's personal values: systems like to repeat in a refusal what they were sent."""
        try:
            if isinstance(command, Write):
                item = WriteItem(effect_id(message_id, command.path), command.record, in_doubt)
                return single(concealed(await self._write(command, item, lane, conceal), conceal))
            if isinstance(command, Call):
                call = CallItem(effect_id(message_id, command.path), command.arguments, in_doubt)
                port = self._ports[command.system]
                send = functools.partial(port.connection.call, command.operation, call)
                return single(await self.through(port, lane, send, conceal=conceal))
            port = self._ports[command.entity.partition(".")[0]]
            entity = port.entities[command.entity]
            return single(
                await self.through(port, lane, lambda: port.connection.get(entity, command.key), conceal=conceal)
            )
        except Exception as error:  # noqa: BLE001 (a connector's defect must not stop the engine; it is logged as one)
            shown = str(error) if isinstance(error, AccordError) else f"{type(error).__name__}: {error}"
            self._observer.emit(FlowDefect(flow=lane.name, message=message_id, step=command.path, error=shown[:500]))
            return Retry(f"the connector failed unexpectedly: {type(error).__name__}", in_doubt=True)

    def cancel(self) -> None:
        """Stops grouped writes that wait; those under way end with the connection."""
        for group in self._groups.values():
            group.cancel()

    def _write(self, command: Write, item: WriteItem, lane: Lane, conceal: Callable[[str], str]) -> Awaitable[Outcome]:
        port = self._ports[command.entity.partition(".")[0]]
        entity = port.entities[command.entity]
        items_max = port.items_max.get(command.entity, 1)
        if items_max > 1:
            group = self._groups.get((command.entity, command.mode))
            if group is None:
                group = _Group(self, port, entity, command.mode, items_max)
                self._groups[(command.entity, command.mode)] = group
            return group.add(item, lane)
        send = functools.partial(port.connection.write, entity, command.mode, (item,))
        return self.through(port, lane, send, conceal=conceal)

    async def through(
        self,
        port: Port,
        lane: Lane,
        send: Callable[[], Awaitable[Outcome]],
        *,
        is_typical: bool = True,
        conceal: Callable[[str], str] = str,
    ) -> Outcome:
        """Runs ``send`` once inside the port's gate; SICK without running it when the system may not be tried now.
        ``is_typical``: its latency compares with that of other requests."""
        gate = port.gate
        if not gate.enter_now() and not await gate.enter(lane):
            return SICK
        began_s = gate.now_s()
        outcome: Outcome | None = None
        try:
            crash_point("send.before")
            crash_point("send.under-way")
            outcome = concealed(await send(), conceal)
            crash_point("send.answered")
        except Exception:
            outcome = Retry("the connector failed unexpectedly", in_doubt=True)
            raise
        finally:
            gate.metrics.duration.observe(gate.now_s() - began_s)
            gate.leave(outcome, began_s if is_typical else None)
        return outcome


class _Group:
    """Items that wait while earlier ones are being written leave together: the busier the system, the larger the group.

    One write at a time per entity and mode, and each lane in its order, so items of one key keep theirs.
    """

    def __init__(self, delivery: Delivery, port: Port, entity: Entity, mode: WriteMode, items_max: int) -> None:
        self._delivery = delivery
        self._port = port
        self._entity = entity
        self._mode = mode
        self._items_max = items_max
        self._waiting: FairQueue[tuple[WriteItem, asyncio.Future[One], Watch | None]] = FairQueue()
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: WriteItem, lane: Lane) -> One:
        future: asyncio.Future[One] = asyncio.get_running_loop().create_future()
        self._waiting.push(lane, (item, future, WATCH.get()))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        TRACEPARENT.set("")  # of whoever came first; a group is of no trace
        while self._waiting:
            lane, _ = self._waiting.peek()
            taken = [self._waiting.pop() for _ in range(min(self._items_max, len(self._waiting)))]
            items = tuple(item for item, _, _ in taken)
            watch = self._delivery.recent.begin()
            try:
                send = functools.partial(self._port.connection.write, self._entity, self._mode, items)
                conceal = functools.partial(_conceal_records, self._entity, items)
                outcome = await self._delivery.through(self._port, lane, send, is_typical=False, conceal=conceal)
                ones = spread(outcome, len(items))
            except Exception as error:  # noqa: BLE001 (handed to every waiter, which reports it)
                for _, future, _ in taken:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future, waiting), one in zip(taken, ones, strict=True):
                if waiting is not None:
                    waiting.exchanges.extend(watch.exchanges)
                if not future.done():
                    future.set_result(one)


def concealed(outcome: Outcome, conceal: Callable[[str], str]) -> Outcome:
    """The outcome with the reason of a failure masked."""
    if type(outcome) is Done:
        return outcome
    if isinstance(outcome, Partial):
        return Partial(tuple(single(concealed(one, conceal)) for one in outcome.outcomes))
    if not isinstance(outcome, Retry | Reconnect | Reject):
        return outcome
    reason = conceal(outcome.reason)
    return outcome if reason == outcome.reason else msgspec.structs.replace(outcome, reason=reason)


def _conceal_records(entity: Entity, items: Sequence[WriteItem], text: str) -> str:
    masker = Masker()
    for item in items:
        masker.learn(item.record, entity.fields)
    return masker.text(text)


def spread(outcome: Outcome, count: int) -> tuple[One, ...]:
    """One outcome per item of a request."""
    if isinstance(outcome, Partial):
        if len(outcome.outcomes) != count:
            return (
                Retry(f"the connector gave {len(outcome.outcomes)} outcomes for {count} records", in_doubt=True),
            ) * count
        return outcome.outcomes
    return (single(outcome),) * count


def single(outcome: Outcome) -> One:
    """The outcome of a request for one record."""
    if type(outcome) is Done:
        return outcome
    if isinstance(outcome, Partial):
        return outcome.outcomes[0] if outcome.outcomes else Retry("the connector gave no outcome", in_doubt=True)
    if isinstance(outcome, End):
        return Reject("the system has closed for good")
    return outcome
