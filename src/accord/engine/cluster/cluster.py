"""Makes an engine a member: what the engine uses instead of its own parts when others work on the same journal."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from accord.engine.clock import Clock
from accord.engine.cluster.control import AloneControl, SharedControl
from accord.engine.cluster.frames import Computed
from accord.engine.cluster.handover import Links, SharedAcceptor
from accord.engine.cluster.holdings import Holdings
from accord.engine.cluster.host import Host
from accord.engine.cluster.link import Door
from accord.engine.cluster.membership import Membership
from accord.engine.cluster.queue import PartedQueue
from accord.engine.cluster.runners import Runners, Work
from accord.engine.cluster.table import PartTable, Validity
from accord.engine.control_api import ControlApi
from accord.engine.delivery import Delivery, Port
from accord.engine.dispatch import FlowQueue, RunOne
from accord.engine.fair import Lane
from accord.engine.gate import Gate
from accord.engine.intake import Callers, Ended
from accord.engine.release import Releaser
from accord.errors import JournalError
from accord.flow.commands import Respond
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import State
from accord.journal.shared import SharedStore
from accord.observe import Observer
from accord.record import Outcome
from accord.settings.secret import Secret


class MemberSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``name``: for people, like ``host:pid``. ``address``: where other members connect: ``host:port`` (port 0: a free one) or
    ``unix:/path``. ``secret``: what all members of this journal know and nobody else. ``linger_s``: how long a member that leaves takes
    webhooks after ``/readyz`` has begun to say no, so that whoever sends them hears of it; 0 where others listen on the same socket.
    """

    name: str
    address: str
    secret: Secret
    linger_s: float = 0.0


class FencedDelivery(Delivery):
    """Begins no effect while this member's lease may have ended: another may be at work on the same message."""

    def __init__(self, ports: Mapping[str, Port], observer: Observer, validity: Validity) -> None:
        super().__init__(ports, observer)
        self._validity = validity

    async def through(
        self,
        port: Port,
        lane: Lane,
        send: Callable[[], Awaitable[Outcome]],
        *,
        is_typical: bool = True,
        conceal: Callable[[str], str] = str,
    ) -> Outcome:
        async def when_valid() -> Outcome:
            if not self._validity.is_valid():
                await self._validity.wait_valid()
            return await send()

        return await super().through(port, lane, when_valid, is_typical=is_typical, conceal=conceal)


class Cluster:
    """``join``, make the engine's parts, ``begin``; ``run`` beside the engine; ``depart`` before its web side stops, ``close`` after."""

    def __init__(
        self,
        store: SharedStore,
        settings: MemberSettings,
        supervise: Callable[[Work], Any],
        callers: Callers,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._store = store
        self._settings = settings
        self._callers = callers
        self._observer = observer
        self._clock = clock
        self._secret = settings.secret.reveal().encode()
        self.table = PartTable()
        self.validity = Validity()
        self.runners = Runners(self.table.running, supervise)
        self._links = Links(self._secret, self._computed, self._look)
        self._door = Door(self._secret, self._request, self._gone)
        self._membership: Membership | None = None
        self._holdings: Holdings | None = None
        self._host: Host | None = None
        self._acceptor: SharedAcceptor | None = None
        self._control: SharedControl | None = None
        self._queues: dict[str, PartedQueue] = {}

    async def join(self) -> None:
        """Raises JournalError; OSError when the address cannot be had."""
        address = await self._door.open(self._settings.address)
        member = await self._store.join(self._settings.name, address)
        self.table.me = member.id

    def queue(self, flow: str, journal: Journal, run: RunOne, on_parked: Callable[[State], None]) -> PartedQueue:
        queue = PartedQueue(flow, journal, run, on_parked, running=self.table.running, on_gone=self._key_gone)
        self._queues[flow] = queue
        return queue

    def acceptor(
        self, flows: Mapping[str, Flow], queues: Mapping[str, FlowQueue], journal: Journal, clock: Clock
    ) -> SharedAcceptor:
        self._acceptor = SharedAcceptor(flows, queues, journal, clock, self.table, self._links)
        return self._acceptor

    def control(self, **parts: Any) -> SharedControl:
        """``parts`` as of Control."""
        alone = AloneControl(**parts)
        shared = SharedControl(**parts)
        alone.table = shared.table = self.table
        shared.alone, shared.links, shared.steering = alone, self._links, alone.steering
        self._control = shared
        return shared

    def delivery(self, ports: Mapping[str, Port]) -> FencedDelivery:
        return FencedDelivery(ports, self._observer, self.validity)

    async def begin(
        self,
        journal: Journal,
        flows: Mapping[str, Flow],
        gates: Mapping[str, Gate],
        releaser: Releaser,
        release_versions: Callable[[], Awaitable[bool]],
    ) -> None:
        """Takes the first parts. Raises JournalError."""
        assert self._acceptor is not None, "make the engine's parts first"
        assert self._control is not None, "make the engine's parts first"
        self._holdings = Holdings(
            self.table,
            self._store,
            journal,
            self._queues,
            gates,
            self.runners,
            releaser,
            release_versions,
            self._observer,
        )
        self._membership = Membership(
            self._store, self.table, self.validity, self._holdings, self._links, self._observer, self._clock
        )
        api = ControlApi(self._control.alone)
        self._host = Host(self._acceptor, self.table, self._membership, self._callers, flows, api, self._clock)
        await self._membership.begin()

    async def run(self) -> None:
        """Raises JournalError ``journal.fenced``: the process must end."""
        assert self._membership is not None
        await self._membership.run()

    async def depart(self, within_s: float) -> None:
        """Parts go to others while this member still accepts for them; what cannot go in time is taken by others after the end."""
        if self._membership is None:
            return
        until_s = self._clock.monotonic() + self._settings.linger_s
        with contextlib.suppress(JournalError):  # then others find out by themselves
            await self._membership.depart(within_s)
        if any(not member.is_leaving for member in self.table.others()):
            await self._clock.sleep(max(0.0, until_s - self._clock.monotonic()))

    async def stop_handing(self) -> None:
        if self._acceptor is not None:
            await self._acceptor.stop()

    async def close(self) -> None:
        await self.runners.stop()
        if self._membership is not None:
            await self._membership.stop()
        if self._host is not None:
            await self._host.stop()
        self._links.close()
        await self._door.close()

    def _request(self, guest: Any, request: Any) -> None:
        if self._host is not None:
            self._host.request(guest, request)
        else:
            guest.abort()  # not begun yet: it asks again

    def _gone(self, guest: Any) -> None:
        if self._host is not None:
            self._host.gone(guest)

    def _look(self) -> None:
        if self._membership is not None:
            self._membership.look()

    def _key_gone(self) -> None:
        if self._holdings is not None:
            self._holdings.key_gone()

    def _computed(self, computed: Computed) -> None:
        answer: Respond | Ended
        if computed.state:
            answer = Ended(computed.state)
        else:
            answer = Respond(path="", status=computed.status, body=computed.body, content_type=computed.content_type)
        self._callers.answer(computed.message_id, answer)
