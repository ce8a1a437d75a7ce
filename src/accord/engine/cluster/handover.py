"""Accepting on a journal of many members: each message goes to the owner of its part, which alone commits it.

A sender hears "accepted" only after the owner's commit. While a part has no owner, or the answer of one was lost, the request
is held and the owner asked for anew, for at most ``HOLD_S``. The message's id makes a repeated hand-over harmless: the journal
stores it once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any

from accord.engine.accept import Acceptor, Stored
from accord.engine.clock import Clock
from accord.engine.cluster.frames import Ask, Computed, Failed, Hand, Handed, Moved, Told
from accord.engine.cluster.link import Link, LinkLost, Reply
from accord.engine.cluster.table import PartTable
from accord.engine.dispatch import FlowQueue
from accord.errors import JournalError
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import MessageRow
from accord.journal.search import MessageQuery
from accord.journal.shared import Member, part_of
from accord.record import Cursor, Message

HOLD_S = 4.0  # a sender is kept waiting for an owner: less than the 5 s after which many senders give up
AGAIN_S = 0.1  # between two tries; a census that finds the owner ends the wait earlier
HAND_SIZE_MAX = (
    100  # messages in one frame: a page of a poll leaves in parts, so that the owner's other work comes between
)
ELSEWHERE = ("journal.fenced", "journal.closed", "journal.not-owner")  # nothing was kept, and another may take it


class Links:
    """A link to every member there is. ``on_silent``: one does not answer, so a census should tell whether it is still there."""

    def __init__(self, secret: bytes, on_computed: Callable[[Computed], None], on_silent: Callable[[], None]) -> None:
        self._secret = secret
        self._on_computed = on_computed
        self.on_silent = on_silent
        self._links: dict[int, Link] = {}

    async def to(self, member: Member) -> Link:
        """Raises LinkLost."""
        link = self._links.get(member.id)
        if link is None:
            link = self._links[member.id] = Link(member.address, self._secret, self._on_computed)
        if not link.is_ready:
            await link.connect()
        return link

    def ready(self, member: Member) -> Link | None:
        link = self._links.get(member.id)
        return link if link is not None and link.is_ready else None

    async def ask(self, member: Member, request: Callable[[int], Hand | Ask]) -> Handed | Moved | Failed | Told:
        """Raises LinkLost."""
        return await (await self.to(member)).ask(request)

    async def look(self, member: Member) -> None:
        """Tells a member that parts have moved; it will see by itself when it cannot be told."""
        try:
            (await self.to(member)).look()
        except LinkLost:
            self.on_silent()

    def sweep(self, now_s: float) -> None:
        for link in self._links.values():
            link.sweep(now_s, HOLD_S)

    def keep(self, members: Mapping[int, Member]) -> None:
        """Closes links to those who are no members any more."""
        for id in [id for id in self._links if id not in members]:
            self._links.pop(id).close()

    def close(self) -> None:
        self.keep({})


class SharedAcceptor(Acceptor):
    """The one way into the journal, whoever owns a message's part."""

    def __init__(
        self,
        flows: Mapping[str, Flow],
        queues: Mapping[str, FlowQueue],
        journal: Journal,
        clock: Clock,
        table: PartTable,
        links: Links,
    ) -> None:
        super().__init__(flows, queues, journal, clock)
        self._table = table
        self._links = links
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def store_then(
        self,
        messages: Sequence[Message],
        then: Callable[[Stored | JournalError], None],
        cursors: tuple[Cursor, ...] = (),
    ) -> None:
        """As ``Acceptor.store_then``, wherever the messages belong. A lone message goes to its owner without a task."""
        accepting = self._table.accepting
        for message in messages:
            part = part_of(message.flow, message.key)
            if part not in accepting:
                break
        else:
            super().store_then(messages, then, cursors)
            return
        if len(messages) == 1 and not cursors:
            owner = self._table.owner(part)
            link = self._links.ready(owner) if owner is not None else None
            if link is not None:
                self._hand_at_once(link, part, list(messages), then)
                return
        self._spawn(self._store_later(messages, then, cursors))

    def store_here_then(self, messages: Sequence[Message], then: Callable[[Stored | JournalError], None]) -> None:
        """Messages of parts accepted here."""
        super().store_then(messages, then)

    def _hand_at_once(
        self, link: Link, part: int, messages: list[Message], then: Callable[[Stored | JournalError], None]
    ) -> None:
        began_s = monotonic()

        def told(reply: Reply) -> None:
            if isinstance(reply, Handed):
                then(reply.stored)
            elif isinstance(reply, Failed) and reply.code not in ELSEWHERE:
                then(JournalError(reply.what, mend=reply.mend, code=reply.code))
            else:
                is_repeat = isinstance(reply, LinkLost)
                work = self._place(part, messages, is_repeat=is_repeat, began_s=began_s)
                self._spawn(self._tell_later(work, then))

        link.send(lambda number: Hand(number, messages), told, is_urgent=True)

    async def _store_later(
        self,
        messages: Sequence[Message],
        then: Callable[[Stored | JournalError], None],
        cursors: tuple[Cursor, ...],
    ) -> None:
        await self._tell_later(self._store_apart(messages, cursors), then)

    async def _tell_later(
        self, work: Coroutine[Any, Any, Stored], then: Callable[[Stored | JournalError], None]
    ) -> None:
        try:
            found: Stored | JournalError = await work
        except JournalError as error:
            found = error
        then(found)

    async def _store_apart(self, messages: Sequence[Message], cursors: tuple[Cursor, ...]) -> Stored:
        """Each to its owner. ``cursors`` move once every owner has committed, so who reads is patient. Raises JournalError: then some
        of the messages may be stored, which a repetition with the same event ids bears."""
        by_part: dict[int, list[Message]] = {}
        for message in messages:
            by_part.setdefault(part_of(message.flow, message.key), []).append(message)
        here = [part for part in by_part if part in self._table.accepting]
        away = [
            self._place_in_turn(part, group, is_patient=bool(cursors))
            for part, group in by_part.items()
            if part not in here
        ]
        stored = await _all(away)
        if here or cursors:
            # Through the front door: what was of own parts may have moved meanwhile.
            stored.append(await self.store([m for part in here for m in by_part[part]], cursors))
        fresh = {id for one in stored for id in one.ids}
        return Stored(tuple(m.id for m in messages if m.id in fresh), sum(one.duplicates for one in stored))

    async def store_here(self, messages: Sequence[Message], *, is_repeat: bool = False) -> Stored:
        """Messages of parts accepted here. What a lost hand-over has stored already counts as stored by this one."""
        stored = await self.store(messages)
        if not is_repeat or not stored.duplicates:
            return stored
        ids = list(stored.ids)
        for message in messages:
            if message.id not in stored.ids and await self.rows(message.id):
                ids.append(message.id)
        return Stored(tuple(ids), len(messages) - len(ids))

    async def _place_in_turn(self, part: int, messages: list[Message], *, is_patient: bool) -> Stored:
        """In frames of bounded size, one after another: messages of one key keep their order."""
        if len(messages) <= HAND_SIZE_MAX:
            return await self._place(part, messages, is_patient=is_patient)
        ids: tuple[str, ...] = ()
        for at in range(0, len(messages), HAND_SIZE_MAX):
            ids += (await self._place(part, messages[at : at + HAND_SIZE_MAX], is_patient=is_patient)).ids
        return Stored(ids, len(messages) - len(ids))

    async def _place(
        self,
        part: int,
        messages: list[Message],
        *,
        is_patient: bool = False,
        is_repeat: bool = False,
        began_s: float | None = None,
    ) -> Stored:
        """Messages of one part, wherever it is. ``is_repeat``: an earlier hand-over, begun at ``began_s``, may have stored them."""
        deadline = (monotonic() if began_s is None else began_s) + HOLD_S
        while True:
            if part in self._table.accepting:
                try:
                    return await self.store_here(messages, is_repeat=is_repeat)
                except JournalError as error:
                    if error.code not in ELSEWHERE:
                        raise
            owner = self._table.owner(part)
            reply: Handed | Moved | None = None
            if owner is not None and owner.id != self._table.me:
                try:
                    reply = await self._hand(owner, messages, is_repeat, is_patient)
                except LinkLost:
                    is_repeat = True
            if isinstance(reply, Handed):
                return reply.stored
            if isinstance(reply, Moved) and reply.owner:
                self._table.learn(part, reply.owner)
                if owner is not None and reply.owner != owner.id:
                    continue
            if self._is_stopping or (not is_patient and monotonic() > deadline):
                raise _no_owner(part)
            self._links.on_silent()
            await self._table.wait_change(AGAIN_S * random.uniform(0.5, 1.0))

    async def rows(self, message_id: str) -> list[MessageRow]:
        """A message as the journal has it, if it does."""
        return await self._journal.reads.messages(MessageQuery(id=message_id, limit=1))

    async def stop(self) -> None:
        """What is still held is not stored, and its sender told so."""
        self._is_stopping = True
        self._table.changed()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand(self, owner: Member, messages: list[Message], is_repeat: bool, is_patient: bool) -> Handed | Moved:
        """Raises LinkLost: it may have been stored; JournalError: it was not, and will not be elsewhere."""
        try:
            link = await self._links.to(owner)
        except LinkLost:
            return Moved(0, 0)
        reply = await link.ask(lambda number: Hand(number, messages, is_repeat, is_patient), is_urgent=not is_patient)
        if isinstance(reply, Handed | Moved):
            return reply
        if isinstance(reply, Failed) and reply.code not in ELSEWHERE:
            raise JournalError(reply.what, mend=reply.mend, code=reply.code)
        return Moved(0, 0)


def _no_owner(part: int) -> JournalError:
    return JournalError(
        f"Part {part} of the journal has no owner that answers.",
        mend="Send it again: another member takes the part within seconds. `accord status` shows the members.",
        code="engine.no-owner",
    )


async def _all(work: Sequence[Coroutine[Any, Any, Stored]]) -> list[Stored]:
    """All have ended before the first error is raised: nothing is left to itself."""
    found = await asyncio.gather(*work, return_exceptions=True)
    stored: list[Stored] = []
    for one in found:
        if isinstance(one, BaseException):
            raise one
        stored.append(one)
    return stored
