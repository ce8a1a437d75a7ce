"""The journal as a replicated log in NATS JetStream, with its state in an embedded store on this machine.

Invariants, checked by ``jetstream_verify.verify``:

1. A commit is one entry of the log: its operations with the time and all else that is not the same everywhere. The state is what the
   entries that count (``jetstream_entries``) make of an empty one, applied in order, each in one transaction with its position.
2. Nothing is told that a quorum of the servers has not acknowledged: append, then apply, then answer.
3. One engine writes: the one whose Opening counts. An entry written by another in ignorance of it is void, so an engine that has
   lost the log commits nothing (``journal.fenced``). It beats at least every ``BEAT_S``; after ``LEASE_S`` without an entry another may
   open the log, at once after a Closing or when the last owner used this very state folder (whose lock this process has).
4. An entry whose answer was lost is sent again, under the same name, until the log itself shows what became of it.
5. The log is trimmed only up to the older of two snapshots; the entry at its position stays.

While entries cannot be written, commits and leases fail at once with ``journal.unavailable``; other reads go on from the local state.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from accord.errors import JournalError, JournalFull
from accord.journal.encoding import to_us
from accord.journal.faults import closed, operation_fault
from accord.journal.operations import DeadLetterRow, Lease, MessageRow, Operation, Prune
from accord.journal.reads import InlineReads
from accord.journal.replica import Replica
from accord.journal.search import ANY, InDoubt, MessageQuery
from accord.journal.stores.jetstream_entries import Beat, Closing, Opening, encode_entry, group_entries
from accord.journal.stores.jetstream_faults import fenced, locked, unavailable
from accord.journal.stores.jetstream_follow import Follower
from accord.journal.stores.jetstream_keep import Keeper, KeepSettings
from accord.journal.stores.jetstream_log import LogSettings, LogStream, Raw
from accord.journal.stores.jetstream_state import Applied, LocalState

LEASE_S = 5.0
BEAT_S = 1.0
FOLLOW_EVERY_S = 0.2  # a standby looks for entries
APPLY_AGAIN_S = 0.5  # when this machine's disk did not take an entry that the log has
_END_OF_TIME = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_OPERATION_FAULTS = (ValueError, TypeError, OverflowError)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class JetStreamStore:
    """An AsyncStore. ``now`` is the clock for settle times; ``name`` is what other engines show of this one. ``tell`` hears ``standby``,
    ``active`` and ``fenced`` with the name of the engine that has the log, ``away`` and ``no-snapshot`` with the reason, and ``back``.
    ``may_stand_by`` False: a log that another engine is seen to write is refused (``journal.locked``)."""

    is_async: ClassVar[Literal[True]] = True

    def __init__(
        self,
        settings: LogSettings,
        replica: Replica,
        *,
        name: str = "",
        now: Callable[[], dt.datetime] = utc_now,
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
        keep: KeepSettings | None = None,
        may_stand_by: bool = True,
        tell: Callable[[str, str], None] = lambda _state, _name: None,
    ) -> None:
        self.settings = settings
        self._replica = replica
        self._name = name or socket.gethostname()
        self._now = now
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._keep = keep or KeepSettings()
        self._may_stand_by = may_stand_by
        self._tell = tell
        self._state = LocalState(replica, settings.stream)
        self._reads = InlineReads(self._state.store)
        self._order = asyncio.Lock()  # one entry at a time
        self._session = secrets.token_hex(8)  # names this engine's entries, with a number
        self._number = 0
        self._why: object = None  # what keeps entries from being written
        self._is_open = False
        self._is_fenced = False
        self._is_left = False  # closing: an entry whose fate is unknown stays so
        self._last_s = 0.0  # when the last entry was written, on the loop's clock
        self._tasks: list[asyncio.Task[None]] = []

    # opening: follow the log, take it, keep it

    async def open(self) -> None:
        """Returns when this engine has the log; until then it stands by and follows it.

        Raises JournalError: ``journal.unavailable``, ``journal.stream``, ``journal.other-log``, ``journal.log-lost``, ``journal.corrupt``,
        ``journal.locked``, and what opening the local store raises.
        """
        self._log = LogStream(self.settings, self._in_trouble)
        try:
            await self._log.connect()
            await self._log.prepare()
            self._state.open()
            self._follower = Follower(self._log, self._state, self._replica)
            await self._stand_by()
            self._state.reopen()
            tell = functools.partial(self._tell, "no-snapshot")
            self._keeper = Keeper(self._log, self._state, self._replica, self._keep, tell, self._owns_log)
            await self._keeper.begin()
        except BaseException:
            await self._log.close()
            self._state.close()
            raise
        self._reads = InlineReads(self._state.store)
        self._why = None
        self._is_open = True
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._keeper.run())]
        self._tell("active", self._name)

    async def _stand_by(self) -> None:
        loop = asyncio.get_running_loop()
        node = self._replica.node()
        heard_s = loop.time()
        is_told = False
        await self._follower.check()
        while True:
            try:
                if await self._follower.follow():
                    heard_s = loop.time()
                    if is_told and not self._may_stand_by:
                        raise locked(self._state.position.name)
                owner = self._state.position.node
                if owner in ("", node) or loop.time() - heard_s >= self._lease_s:
                    if await self._take(node):
                        return
                    continue
            except JournalError as error:
                if error.code != "journal.unavailable":
                    raise
                heard_s = loop.time()  # who cannot read the log does not know whether it grows
            if not is_told:
                is_told = True
                if self._may_stand_by:
                    self._tell("standby", self._state.position.name)
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def _take(self, node: str) -> bool:
        """Writes an Opening. False when another engine's entry came first."""
        position = self._state.position
        log = position.log or secrets.token_bytes(8)
        data = encode_entry(Opening(position.digest, log, node, self._name))
        id_ = self._next_id()
        at = await self._log.append(data, id_, position.seq)
        while True:
            for raw in await self._log.read(self._state.position.seq + 1):
                applied = await self._apply(raw)
                if raw.id == id_:
                    return applied.counts
            if at is None:
                return False
            await asyncio.sleep(FOLLOW_EVERY_S)  # it is there, the server that was asked lags behind

    async def close(self) -> None:
        """Gives the log up, so that another engine need not wait. Closing twice is harmless."""
        was_open, self._is_open = self._is_open, False
        self._is_left = True
        if was_open:
            await self._give_up()
            await self._log.close()
        self._state.close()

    async def _give_up(self) -> None:
        """When that is not possible at once, others wait for the lease to end."""
        with contextlib.suppress(JournalError, TimeoutError):
            async with asyncio.timeout(self._beat_s), self._order:  # no beat is under way then
                await self._end_tasks()
                if self._why is None and not self._is_fenced:
                    await self._append(encode_entry(Closing(self._state.position.digest)))
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        """Asked again and again: before Python 3.12 ``wait_for``, which the client uses, may swallow a cancellation."""
        tasks, self._tasks = self._tasks, []
        while tasks:
            for task in tasks:
                task.cancel()
            _, pending = await asyncio.wait(tasks, timeout=0.1)
            tasks = list(pending)

    async def abandon(self) -> None:
        """Ends as a killed process does, for tests: nothing is given up, nothing flushed."""
        self._why = "abandoned"
        await self.close()

    async def _beat(self) -> None:
        """Keeps the lease while nothing is committed; after trouble, it is what finds out that the log can be written again."""
        loop = asyncio.get_running_loop()
        while not self._is_fenced:
            wait_s = self._last_s + self._beat_s - loop.time() if self._why is None else FOLLOW_EVERY_S
            await asyncio.sleep(max(wait_s, 0.01))
            if self._why is None and loop.time() - self._last_s < self._beat_s:
                continue
            try:
                async with self._order:
                    await self._append(encode_entry(Beat(self._state.position.digest)))
            except Exception as error:  # noqa: BLE001 (told by `unavailable`; the lease must not end with one failure)
                self._in_trouble(error.what if isinstance(error, JournalError) else f"{type(error).__name__}: {error}")

    # commit

    def unavailable(self) -> JournalError | None:
        if not self._is_open:
            return closed()
        if self._is_fenced:
            return fenced()
        return None if self._why is None else unavailable(self._why)

    def _owns_log(self) -> bool:
        return self.unavailable() is None

    def _usable(self) -> None:
        if (error := self.unavailable()) is not None:
            raise error

    def _in_trouble(self, why: object) -> None:
        if self._why is None and self._is_open:
            self._tell("away", str(why))
        self._why = why or "no answer"

    async def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Raises JournalError ``journal.operation`` (one of them cannot be stored), ``journal.unavailable``, ``journal.closed`` or
        ``journal.fenced``; in every case nothing of the group was kept. A commit under way at a close may stay unknown."""
        self._usable()
        async with self._order:
            self._usable()
            position = self._state.position
            try:
                entries = group_entries(
                    position.digest,
                    to_us(self._now()),
                    [self._fixed(operation) for operation in operations],
                    self._log.size_bytes_max,
                )
            except _OPERATION_FAULTS as error:
                raise operation_fault(error) from error
            for entry in entries:
                applied = await self._append(entry)
        if applied.error is not None:
            raise applied.error
        return applied.results

    def _fixed(self, operation: Operation) -> Operation:
        """What depends on this machine is decided before it is written: a bound in bytes becomes a number of messages."""
        if not isinstance(operation, Prune) or not operation.size_bytes_max:
            return operation
        store = self._state.store
        over = store.size_bytes() - operation.size_bytes_max
        if over <= 0:
            return Prune(operation.before, operation.seen_before, operation.limit)
        number = -(-over * max(1, sum(store.counts().values())) // store.size_bytes())
        return Prune(_END_OF_TIME, operation.seen_before, min(operation.limit, number))

    def _next_id(self) -> str:
        self._number += 1
        return f"{self._session}-{self._number}"

    async def _append(self, data: bytes) -> Applied:
        """Writes an entry and applies it. Raises JournalError ``journal.unavailable`` (it was not kept), ``journal.fenced``,
        ``journal.closed``."""
        id_ = self._next_id()
        try:
            return await self._append_as(id_, data)
        except asyncio.CancelledError:
            self._is_fenced = True  # nobody will know what became of it, so nothing may follow it
            raise

    async def _append_as(self, id_: str, data: bytes) -> Applied:
        is_sent = False
        while True:
            last = self._state.position.seq
            at = await self._log.append(data, id_, last, is_sent=is_sent)
            is_sent = True
            if at == last + 1:
                applied = await self._apply(Raw(at, id_, data))
            else:
                found = await self._find(id_)
                if found is None:
                    continue
                applied = found
            if self._why is not None:
                self._why = None
                self._tell("back", self._name)
            self._last_s = asyncio.get_running_loop().time()
            self._keeper.grew(len(data))
            return applied

    async def _find(self, id_: str) -> Applied | None:
        """Reads on: the entry of that name, or None when the log (as far as it was read) has none. Raises JournalError
        ``journal.fenced`` when another's entry came first."""
        is_moved = False
        try:
            for raw in await self._log.read(self._state.position.seq + 1):
                is_moved = True
                is_own = raw.id == id_
                applied = await self._apply(raw)
                if is_own and applied.counts:
                    return applied
                if applied.counts:
                    self._is_fenced = True
                    self._tell("fenced", self._state.position.name)
                    raise fenced()
            if not is_moved:
                last = (await self._log.extent()).last
                if last < self._state.position.seq:
                    self._in_trouble(f"it ends at {last}, entry {self._state.position.seq} was acknowledged")
        except JournalError as error:
            if error.code != "journal.unavailable":
                raise
            self._in_trouble(error.what)
        if not is_moved:
            if self._is_left:
                raise closed()
            await asyncio.sleep(FOLLOW_EVERY_S)
        return None

    async def _apply(self, raw: Raw) -> Applied:
        """The log has it, so this machine must take it: nothing else is done until it does."""
        while True:
            try:
                return self._state.apply(raw)
            except JournalFull as error:
                why: JournalError = error
            except JournalError as error:
                if error.code != "journal.commit" or self._is_left:
                    raise
                why = error
            if self._is_left:
                raise closed()
            self._in_trouble(why.what)
            await asyncio.sleep(APPLY_AGAIN_S)

    # reads

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        self._usable()
        return await self._reads.lease(flow, after_seq, limit)

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        self._usable()
        return await self._reads.next_of_keys(flow, keys)

    async def counts(self) -> dict[tuple[str, str], int]:
        return await self._local().counts()

    async def held(self) -> dict[str, int]:
        return await self._local().held()

    async def next_due(self) -> dt.datetime | None:
        return await self._local().next_due()

    async def cursor(self, name: str) -> bytes | None:
        return await self._local().cursor(name)

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        return await self._local().references(queries)

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        return await self._local().dead_letters(flow=flow, after_seq=after_seq, limit=limit)

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        return await self._local().messages(query)

    async def in_doubt(self) -> list[InDoubt]:
        return await self._local().in_doubt()

    async def size_bytes(self) -> int:
        return await self._local().size_bytes()

    def _local(self) -> InlineReads:
        if not self._is_open:
            raise closed()
        return self._reads
