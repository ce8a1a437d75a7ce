"""Does what other members ask: accepts what they hand over, answers commands for this member alone, tells what flows computed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from accord.engine.accept import Stored
from accord.engine.clock import Clock
from accord.engine.cluster.frames import Ask, Computed, Failed, Frames, Hand, Handed, Look, Moved, Told
from accord.engine.cluster.handover import SharedAcceptor
from accord.engine.cluster.membership import Membership
from accord.engine.cluster.table import PartTable
from accord.engine.control_api import ControlApi
from accord.engine.intake import Callers, Ended
from accord.engine.sources import BACKLOG_MAX, BACKLOG_WAIT_S
from accord.errors import JournalError
from accord.flow.commands import Respond
from accord.flow.flow import Flow
from accord.journal.operations import State
from accord.journal.shared import part_of
from accord.record import Message
from accord.sdk.http import InboundRequest

ARRIVAL_S = 0.5  # for a part that is on its way here; then who asks looks for its owner anew


class Host:
    """``request`` and ``gone`` are the door's. ``api`` answers for this member alone."""

    def __init__(
        self,
        acceptor: SharedAcceptor,
        table: PartTable,
        membership: Membership,
        callers: Callers,
        flows: Mapping[str, Flow],
        api: ControlApi,
        clock: Clock,
    ) -> None:
        self._acceptor = acceptor
        self._table = table
        self._membership = membership
        self._flows = flows
        self._api = api
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: dict[str, Frames] = {}  # by message id: those of other members
        callers.elsewhere = self._computed

    def request(self, guest: Frames, request: Hand | Ask | Look) -> None:
        if isinstance(request, Hand):
            self._hand(guest, request)
        elif isinstance(request, Ask):
            self._spawn(self._ask(guest, request))
        else:
            self._membership.look()

    def gone(self, guest: Frames) -> None:
        for id in [id for id, other in self._callers.items() if other is guest]:
            del self._callers[id]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _hand(self, guest: Frames, hand: Hand) -> None:
        first = hand.messages[0]
        if hand.is_repeat or hand.is_patient or part_of(first.flow, first.key) not in self._table.accepting:
            self._spawn(self._hand_later(guest, hand))
            return
        self._expect(guest, hand.messages)

        def told(found: Stored | JournalError) -> None:
            guest.send(_failed(hand, found) if isinstance(found, JournalError) else Handed(hand.number, found))

        self._acceptor.store_here_then(hand.messages, told)

    async def _hand_later(self, guest: Frames, hand: Hand) -> None:
        """What may have to wait: for room, or for its part to arrive here."""
        first = hand.messages[0]
        part = part_of(first.flow, first.key)
        while hand.is_patient and self._acceptor.open_count(first.flow) >= BACKLOG_MAX:
            await self._clock.sleep(BACKLOG_WAIT_S)
        if part not in self._table.accepting:
            self._membership.look()
            await self._table.wait_change(ARRIVAL_S)
        if part not in self._table.accepting:
            owner = self._table.owners.get(part, 0)
            guest.send(Moved(hand.number, 0 if owner == self._table.me else owner))
            return
        self._expect(guest, hand.messages)
        try:
            stored = await self._acceptor.store_here(hand.messages, is_repeat=hand.is_repeat)
        except JournalError as error:
            guest.send(_failed(hand, error))
            return
        guest.send(Handed(hand.number, stored))
        if hand.is_repeat:
            await self._tell_ended(hand.messages)

    async def _ask(self, guest: Frames, ask: Ask) -> None:
        request = InboundRequest(method=ask.method, path=ask.path, query=ask.query, headers={}, body=ask.body)
        answer = await self._api.answer(request)
        guest.send(Told(ask.number, answer.status, answer.body))

    def _expect(self, guest: Frames, messages: list[Message]) -> None:
        for message in messages:
            flow = self._flows.get(message.flow)
            if flow is not None and flow.has_respond:
                self._callers[message.id] = guest
                asyncio.get_running_loop().call_later(flow.response_timeout_s, self._callers.pop, message.id, None)

    def _computed(self, message_id: str, respond: Respond | Ended) -> None:
        guest = self._callers.pop(message_id, None)
        if guest is None:
            return
        if isinstance(respond, Ended):
            guest.send(Computed(message_id, state=respond.state))
        else:
            guest.send(Computed(message_id, respond.status, respond.body, respond.content_type))

    async def _tell_ended(self, messages: list[Message]) -> None:
        """A message that was stored by an earlier hand-over may have ended before its caller was known here."""
        for message in [message for message in messages if message.id in self._callers]:
            rows = await self._acceptor.rows(message.id)
            if rows and rows[0].state >= State.DONE:
                self._computed(message.id, Ended(rows[0].state.name.lower()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _failed(hand: Hand, error: JournalError) -> Failed:
    return Failed(hand.number, error.code, error.what, error.mend)
