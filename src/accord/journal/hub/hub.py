"""The hub: commits what members send, in order of arrival, all that has come by a turn of the event loop in one transaction.

Invariants:

- A member's commits are written in the order it sent them, and answered after the sync. Groups of several members share it.
- What a member whose lease has ended sends is refused whole; a connection that closes ends the lease.
- A member's own questions are answered from committed state, between two commits. Only the owner of a part writes its messages, so
  what a member reads of its parts changes by its own commits alone.
- Reading, committing and answering are bounded by what members send: each has at most one commit under way.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from accord.errors import JournalError
from accord.journal.group import COMMIT_SIZE_MAX, OWN_FAULTS
from accord.journal.hub.frames import (
    SOCKET_BUFFER_BYTES,
    VALUES,
    Answered,
    Ask,
    Commit,
    Failed,
    Frames,
    decode_request,
    fenced,
)
from accord.journal.hub.roll import Roll, Seat
from accord.journal.parts import PartedStore, is_in, mask_of
from accord.journal.reads import InlineReads
from accord.journal.shared import BEAT_S, part_of

SEARCHES = ("messages", "in_doubt")


class Hub:
    """Use from one event loop. ``on_silent`` hears of members that were not heard of for LEASE_S: their processes should be ended."""

    def __init__(self, store: PartedStore, *, on_silent: Callable[[Seat], None] = lambda _seat: None) -> None:
        self.store = store
        self.roll = Roll(on_silent)
        self.commits = 0
        self.operations = 0  # committed
        self._reads = InlineReads(store)
        self._pending: deque[tuple[_Connection, Commit]] = deque()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._departed = asyncio.Event()
        self._is_scheduled = False
        self._beating: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Raises JournalError when the store cannot be opened."""
        self._loop = asyncio.get_running_loop()
        self.store.open()
        self._beat()

    async def attach(self, end: socket.socket) -> None:
        """Serves the process that has the other end of this socket pair."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        await self._loop.create_unix_connection(lambda: _Connection(self).frames, sock=end)

    async def wait_alone(self) -> None:
        """Until no process is connected."""
        while self._connections:
            self._departed.clear()
            await self._departed.wait()

    async def close(self) -> None:
        """Commits what has come, answers, closes every connection and the store."""
        if self._beating is not None:
            self._beating.cancel()
        while self._pending:
            self._commit_pending()
        for connection in list(self._connections):
            await connection.frames.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()

    def _beat(self) -> None:
        self.roll.beat()
        self._beating = self._loop.call_later(BEAT_S, self._beat)

    def submit(self, connection: _Connection, commit: Commit) -> None:
        self._pending.append((connection, commit))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._commit_pending()
        if self._pending:
            self._loop.call_soon(self._turn)
        else:
            self._is_scheduled = False

    def _commit_pending(self) -> None:
        """The next group: whole frames, at least one."""
        group: list[tuple[_Connection, Commit]] = []
        size = 0
        while self._pending:
            connection, commit = self._pending[0]
            size += len(commit.operations)
            if group and size > COMMIT_SIZE_MAX:
                break
            self._pending.popleft()
            if connection.seat is None or not self.roll.is_seated(connection.seat.member.id):
                connection.fail(commit.number, fenced("its lease has ended"))
            else:
                group.append((connection, commit))
        if group:
            self._commit(group)

    def _commit(self, group: list[tuple[_Connection, Commit]]) -> None:
        try:
            results = self.store.commit_of(
                [(connection.seated().mask, commit.operations) for connection, commit in group]
            )
        except JournalError as error:
            if error.code in OWN_FAULTS and len(group) > 1:
                for one in group:  # each member bears only its own fault, and finds out which operation it was
                    self._commit([one])
                return
            for connection, commit in group:
                connection.fail(commit.number, error)
            return
        self.commits += 1
        self.operations += len(results)
        at = 0
        for connection, commit in group:
            end = at + len(commit.operations)
            connection.answer(commit.number, results[at:end])
            at = end

    def ask(self, connection: _Connection, ask: Ask) -> None:
        """Answers at once, but for searches, which run in a thread."""
        values = VALUES[ask.method](ask.values)
        if ask.method in SEARCHES:
            self._spawn(self._search(connection, ask.number, ask.method, values))
            return
        connection.answer(ask.number, getattr(self, f"_{ask.method}")(connection, *values))

    async def _search(self, connection: _Connection, number: int, method: str, values: tuple[Any, ...]) -> None:
        try:
            found = await getattr(self._reads, method)(*values)
        except JournalError as error:
            connection.fail(number, error)
        else:
            connection.answer(number, found)

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # membership

    def _join(self, connection: _Connection, name: str, address: str, pid: int) -> Any:
        if connection.seat is not None:
            self.roll.drop(connection.seat.member.id)
        connection.seat = self.roll.join(name, address, pid)
        return connection.seat.member

    def _census(self, connection: _Connection) -> Any:
        return self.roll.census(connection.seated().member.id)

    def _take(self, connection: _Connection, parts: list[int]) -> Any:
        seat = connection.seated()
        free = self.roll.free(parts)
        orphans = self.roll.orphans(free)
        if orphans:
            self.store.recover(mask_of(orphans))
        self.roll.take(seat.member.id, free)
        return free

    def _give(self, connection: _Connection, parts: list[int], to: int) -> None:
        self.roll.give(connection.seated().member.id, parts, to)

    def _leave(self, connection: _Connection) -> None:
        self.roll.leave(connection.seated().member.id)

    # what a member's own parts hold

    def _open_counts(self, connection: _Connection, parts: list[int]) -> Any:
        return self.store.open_counts_of(mask_of(parts) & connection.seated().mask)

    def _lease(self, connection: _Connection, flow: str, after_seq: int, limit: int) -> Any:
        return self.store.lease_of(connection.seated().mask, flow, after_seq, limit)

    def _next_of_keys(self, connection: _Connection, flow: str, keys: list[str]) -> Any:
        mask = connection.seated().mask
        next_of_key = self.store.next_of_key
        return [next_of_key(flow, key) if is_in(mask, part_of(flow, key)) else None for key in keys]

    def _held(self, connection: _Connection) -> Any:
        return self.store.held_of(connection.seated().mask)

    def _next_due(self, connection: _Connection) -> Any:
        return self.store.next_due_of(connection.seated().mask)

    # what the whole journal holds

    def _counts(self, _connection: _Connection) -> Any:
        return [(flow, state, count) for (flow, state), count in self.store.counts().items()]

    def _cursor(self, _connection: _Connection, name: str) -> Any:
        return self.store.cursor(name)

    def _references(self, _connection: _Connection, queries: list[tuple[str, str, str]]) -> Any:
        return self.store.references(queries)

    def _dead_letters(self, _connection: _Connection, flow: str, after_seq: int, limit: int) -> Any:
        return self.store.dead_letters(flow=flow, after_seq=after_seq, limit=limit)

    def _size_bytes(self, _connection: _Connection) -> Any:
        return self.store.size_bytes()

    def connected(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._departed.set()
        if connection.seat is not None:
            self.roll.drop(connection.seat.member.id)


class _Connection:
    """A member's connection; it has a seat once it has joined."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.seat: Seat | None = None
        self.frames = Frames(self._received, self._lost)
        hub.connected(self)

    def seated(self) -> Seat:
        """Raises JournalError ``journal.fenced``."""
        if self.seat is None:
            raise fenced("it has not joined")
        if not self._hub.roll.is_seated(self.seat.member.id):
            raise fenced("its lease has ended")
        return self.seat

    def answer(self, number: int, value: Any) -> None:
        self.frames.send(Answered(number, value))

    def fail(self, number: int, error: JournalError) -> None:
        self.frames.send(Failed(number, error.code, error.what, error.mend))

    def _received(self, frame: bytes) -> None:
        request = decode_request(frame)
        if type(request) is Commit:
            self._hub.submit(self, request)
            return
        assert type(request) is Ask
        try:
            self._hub.ask(self, request)
        except JournalError as error:
            self.fail(request.number, error)

    def _lost(self) -> None:
        self._hub.lost(self)
