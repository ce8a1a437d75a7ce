"""The web side of the engine: webhooks in, health, and the control API.

A sender hears 200 only after the journal has committed. Bounds: body size, requests at once, waiting commits. A webhook runs without
a task of its own: what comes of it is told by the journal's commit, and all answers of one commit leave together.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.resources
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec

from accord.engine.accept import Acceptor, Arrival, Stored
from accord.engine.admission import Bounds, Source
from accord.engine.answer import Answer, Reply, busy, problem
from accord.engine.clock import Clock
from accord.engine.pressure import Pressure
from accord.errors import Faults, JournalError
from accord.flow.commands import Respond
from accord.flow.flow import Flow
from accord.observe import Observer
from accord.observe.crash_points import crash_point
from accord.observe.events import HookRefused, JournalRefused, RequestDefect
from accord.record import Message
from accord.sdk.connector import Connection, Received, Refused
from accord.sdk.http import InboundRequest
from accord.settings.node import parse_yaml

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-|\Z)")
Handler: TypeAlias = Callable[[InboundRequest], Awaitable[Answer]]


class Intake:
    """Answers requests; ``control`` those under /api/, ``metrics`` /metrics, ``pages`` / and those under /monitor/ (None leaves them out).
    An engine that leaves others takes webhooks for a while
    (``is_taking``) when it is not to be sent any more (``is_ready``)."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        sources: Mapping[str, Source],
        acceptor: Acceptor,
        waiting: Callers,
        bounds: Bounds,
        pressure: Pressure,
        observer: Observer,
        clock: Clock,
        *,
        is_ready: Callable[[], bool],
        is_taking: Callable[[], bool],
        control: Handler | None = None,
        metrics: Handler | None = None,
        pages: Handler | None = None,
    ) -> None:
        self._connections = connections
        self._sources = sources
        self._acceptor = acceptor
        self._waiting = waiting
        self._bounds = bounds
        self._pressure = pressure
        self._observer = observer
        self._clock = clock
        self._is_ready = is_ready
        self._is_taking = is_taking
        self._control = control
        self._metrics = metrics
        self._pages = pages
        self._requests = 0  # whose answer is being worked on
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, request: InboundRequest, reply: Reply) -> None:
        path = request.path
        if path.startswith("/hooks/"):
            self._hook(path[len("/hooks/") :].partition("/")[0], request, reply)
        elif path == "/openapi.json":
            reply(Answer(200, _openapi()))
        elif path == "/healthz":
            reply(_json(200, {"status": "alive"}))
        elif path == "/readyz":
            is_ready = self._is_ready()
            reply(_json(200 if is_ready else 503, {"status": "ready" if is_ready else "not ready"}))
        elif path.startswith("/api/") and self._control is not None:
            self._work(reply, self._controlled(self._control, request))
        elif path == "/metrics" and self._metrics is not None:
            self._work(reply, self._controlled(self._metrics, request))
        elif self._pages is not None and (path == "/" or path.startswith("/monitor/")):
            self._work(reply, self._controlled(self._pages, request))
        else:
            reply(problem(404, "intake.not-found", "there is nothing at this address"))

    def defect(self, request: InboundRequest, error: Exception) -> None:
        report_defect(self._observer, request, error)

    def _work(self, reply: Reply, work: Coroutine[Any, Any, Answer]) -> None:
        """In a task of its own: what has to wait for more than a commit."""
        if self._requests >= self._bounds.requests_max:
            work.close()
            reply(busy("too many requests at once"))
            return
        self._requests += 1
        task = asyncio.get_running_loop().create_task(self._answer_with(reply, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_with(self, reply: Reply, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            reply(await work)
        finally:
            self._requests -= 1

    async def _controlled(self, control: Handler, request: InboundRequest) -> Answer:
        try:
            return await control(request)
        except Exception as error:  # noqa: BLE001 (a defect is reported and answered; the engine goes on)
            self.defect(request, error)
            return problem(500, "engine.defect", "the command failed unexpectedly; the engine's log tells why")

    def _hook(self, system: str, request: InboundRequest, reply: Reply) -> None:
        connection = self._connections.get(system)
        if connection is None:
            return reply(problem(404, "intake.unknown-system", "no such system takes webhooks here"))
        if request.method not in ("POST", "PUT"):
            return reply(problem(405, "intake.method", "webhooks are sent with POST", ((b"allow", b"POST, PUT"),)))
        if not self._is_taking():
            return self._refuse(system, busy("starting or stopping"), reply)
        if self._requests >= self._bounds.requests_max:
            return self._refuse(system, busy("too many requests at once"), reply)
        source = self._sources[system]
        if (refusal := source.refusal()) is not None:
            return self._refuse(system, refusal, reply)
        try:
            received = connection.receive(request)
        except Exception as error:  # noqa: BLE001 (a connector's defect: the sender must hear it, and repeat)
            received = Refused(500, f"the connector failed: {type(error).__name__}")
        if isinstance(received, Refused):
            self._observer.emit(HookRefused(system=system, status=received.status, reason=received.reason))
            return self._refuse(system, problem(received.status, "intake.refused", received.reason), reply)
        self._accept(system, source, received, request, reply)
        return None

    def _refuse(self, system: str, refusal: Answer, reply: Reply) -> None:
        self._observer.metrics.refused[system, refusal.status] += 1
        reply(refusal)

    def _accept(self, system: str, source: Source, received: Received, request: InboundRequest, reply: Reply) -> None:
        trace_id, span_id = _parent(request.headers.get("traceparent", ""))
        messages: list[Message] = []
        caller: tuple[Flow, asyncio.Future[Respond | Ended]] | None = None
        for event in received.events:
            arrival = Arrival(
                source=f"{system}.{event.entity}",
                body=event.body,
                event_id=event.event_id,
                topic=event.topic,
                fetch=event.fetch,
                trace_id=trace_id,
                parent_span_id=span_id,
            )
            for flow in self._acceptor.flows_of_hook(arrival.source, event.topic):
                message = self._acceptor.message(flow, arrival)
                messages.append(message)
                if flow.has_respond and caller is None:
                    caller = (flow, self._waiting.expect(message.id))
        if not messages:
            self._observer.count("intake.unwanted")
            return reply(Answer(200, received.answer or b'{"accepted":0}', received.answer_type))

        def stored(found: Stored | JournalError) -> None:
            self._requests -= 1
            source.requests -= 1
            if isinstance(found, JournalError):
                self._observer.emit(JournalRefused(reason=str(found)))
                self._waiting.forget(messages)
                return self._refuse(system, busy("the journal cannot take it now"), reply)
            crash_point("accept.before-answer")
            self._observer.counters["intake.accepted"] += len(found.ids)
            if caller is not None:
                return self._work(reply, self._computed(caller[0], caller[1], messages, found))
            answer = Answer(200, received.answer or _counted(found), received.answer_type)
            if self._pressure.is_high and self._pressure.holds(messages[0].flow):
                return self._pressure.hold(lambda: reply(answer))
            return reply(answer)

        self._requests += 1
        source.requests += 1
        self._pressure.watch()
        return self._acceptor.store_then(messages, stored)

    async def _computed(
        self, flow: Flow, future: asyncio.Future[Respond | Ended], messages: list[Message], stored: Stored
    ) -> Answer:
        """The answer the flow computes; 202 when it takes longer than its time-out (the work goes on), or ended without one."""
        if stored.duplicates:
            self._waiting.forget(messages)
            return Answer(200, _counted(stored))
        try:
            respond = await asyncio.wait_for(future, flow.response_timeout_s)
        except TimeoutError:
            return _json(202, {"accepted": len(stored.ids), "ids": stored.ids})
        finally:
            self._waiting.forget(messages)
        if isinstance(respond, Ended):
            return _json(202, {"accepted": len(stored.ids), "ids": stored.ids, "state": respond.state})
        return Answer(respond.status, respond.body, respond.content_type)


class Ended(msgspec.Struct, frozen=True):
    """The flow came to its end without an answer; ``state`` is the message's: done (stopped quietly) or dead."""

    state: str


class Callers:
    """Callers who wait for an answer computed by a flow, by message id. An answer nobody waits for is dropped."""

    def __init__(self) -> None:
        self._futures: dict[str, asyncio.Future[Respond | Ended]] = {}
        self.elsewhere: Callable[[str, Respond | Ended], None] | None = None
        """Hears answers that nobody here waits for."""

    def expect(self, message_id: str) -> asyncio.Future[Respond | Ended]:
        future: asyncio.Future[Respond | Ended] = asyncio.get_running_loop().create_future()
        self._futures[message_id] = future
        return future

    def answer(self, message_id: str, respond: Respond | Ended) -> None:
        future = self._futures.get(message_id)
        if future is None:
            if self.elsewhere is not None:
                self.elsewhere(message_id, respond)
        elif not future.done():
            future.set_result(respond)

    def forget(self, messages: list[Message]) -> None:
        for message in messages:
            self._futures.pop(message.id, None)


@functools.cache
def report_defect(observer: Observer, request: InboundRequest, error: Exception) -> None:
    observer.emit(RequestDefect(path=request.path, error=f"{type(error).__name__}: {error}"[:500]))


def standing_by(request: InboundRequest, reply: Reply) -> None:
    """What an engine answers while its journal is another engine's: alive, not ready, and webhooks are for the other one."""
    if request.path == "/healthz":
        reply(_json(200, {"status": "alive"}))
    elif request.path == "/readyz":
        reply(_json(503, {"status": "standing by"}))
    else:
        reply(busy("another engine has the journal; this one stands by"))


def _openapi() -> bytes:
    text = importlib.resources.files("accord.engine").joinpath("openapi.yaml").read_text("utf-8")
    node = parse_yaml(text, "openapi.yaml", Faults())
    return msgspec.json.encode(node.plain() if node else {})


def _json(status: int, value: Any) -> Answer:
    return Answer(status, msgspec.json.encode(value))


def _counted(stored: Stored) -> bytes:
    return b'{"accepted":%d,"duplicates":%d}' % (len(stored.ids), stored.duplicates)


def _parent(traceparent: str) -> tuple[str, str]:
    """Trace and span of a W3C traceparent header (``00-<32 hex>-<16 hex>-<flags>``), '' when there is none."""
    found = _TRACEPARENT.match(traceparent)
    is_valid = found is not None and found[1].strip("0") and found[2].strip("0")
    return (found[1], found[2]) if found is not None and is_valid else ("", "")
