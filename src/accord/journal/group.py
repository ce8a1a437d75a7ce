"""Group commit: what is submitted in one turn of the event loop is written to disk together.

The commit runs inline, on the loop's own thread: a sync takes 0.15 to 5 ms, while handing it to a thread costs up to the
interpreter's 5 ms switch interval. Syncing is what a group shares, so it pays to wait for more operations while they keep
coming. The rule: go on waiting, turn by turn, while the last turn brought something new, at most four times as long as recent
commits took, and never longer than ``wait_us``. The turns are not idle: they bring something new. A lone submitter never waits
more than a turn.

A server's store (``AsyncStore``) is awaited instead: one commit at a time, so that order and the meaning of reads stay plain. What
is submitted meanwhile is the next group, which is as good a reason to wait as any.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias, cast

from accord.errors import JournalError
from accord.journal.operations import Accept, Accepted, Operation, size_of
from accord.journal.reads import InlineReads, JournalReads, OrderedReads
from accord.journal.store import AsyncStore, Store
from accord.observe.metrics import CommitMetrics

Told: TypeAlias = Callable[[Any], None]  # called once with the result, or with the JournalError that stands for it
Waiter: TypeAlias = "asyncio.Future[Any] | Told"

COMMIT_SIZE_MAX = 256  # messages and other operations; about 5 ms of work, which the loop's other tasks wait for
PENDING_MAX = 20_000  # operations; a queue this long means the disk does not take what comes in
CLOSE_WAIT_S = 10.0  # for a server that is away to tell what became of the last commit
LOST_EVERY_S = 0.5  # between two looks at whether the journal is another's
WAIT_US = (
    5_000  # microseconds; what a commit costs by itself is half a millisecond of processor, shared by its operations
)
COMMITS_WORTH_WAITING = 4  # so that committing takes at most a fifth of the time while operations keep coming
_SMOOTHING = 0.1
OWN_FAULTS = ("journal.operation", "journal.not-owner")  # of one operation, which took the others of its group with it


class Journal:
    """Use from one event loop only. ``reads`` answers for any store, ``read`` is an embedded store itself; every write goes
    through ``submit``."""

    def __init__(
        self,
        store: Store | AsyncStore,
        *,
        commit_size_max: int = COMMIT_SIZE_MAX,
        wait_us: int = WAIT_US,
        pending_max: int = PENDING_MAX,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.reads: JournalReads
        self._server: AsyncStore | None = None
        if getattr(store, "is_async", False):
            self._server = cast(AsyncStore, store)
            self.reads = OrderedReads(self._server, order := asyncio.Lock())
            self._order = order
        else:
            self.read = cast(Store, store)
            self.reads = InlineReads(self.read)
        self.is_shared = bool(getattr(store, "is_shared", False))  # with other engines
        self._committing: asyncio.Task[None] | None = None
        self.commit_size_max = commit_size_max
        self.pending_max = pending_max
        self.wait_s = wait_us / 1_000_000
        self.commit_s = 0.0  # moving average of what a commit takes
        self.commits = 0
        self.operations = 0  # committed
        self.failures = 0
        self.metrics = CommitMetrics()
        self._clock = clock
        self._pending: deque[tuple[Operation, Waiter]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_scheduled = False
        self._is_open = False
        self._seen = 0
        self._since = 0.0
        self._room: list[asyncio.Future[None]] = []
        self.on_accepted: Callable[[Accept, Accepted], None] | None = None
        """Hears of every Accept at once when it is committed: before anything can be read that a commit has changed."""

    @property
    def pending(self) -> int:
        """Operations submitted and not yet committed."""
        return len(self._pending)

    def open(self) -> None:
        """Opens an embedded store. Call inside the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self.read.open()
        self._is_open = True

    async def start(self) -> None:
        """Opens a store of either kind."""
        if self._server is None:
            self.open()
            return
        self._loop = asyncio.get_running_loop()
        await self._server.open()
        self._is_open = True

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """The future resolves to the operation's result once it is on disk, or fails with JournalError (``JournalFull``:
        try again later); then nothing of it was kept. Raises JournalError ``journal.closed``, ``journal.overloaded`` or, when it is
        known already that the store's server cannot be reached, ``journal.unavailable``."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._add(operation, future)
        return future

    def submit_then(self, operation: Operation, told: Told) -> None:
        """As ``submit``, for those who need no task: ``told`` is called from the loop with the result once it is on disk, or with the
        JournalError that a future would raise. Futures and such calls keep the order of the commits. Raises as ``submit``."""
        self._add(operation, told)

    def _add(self, operation: Operation, waiter: Waiter) -> None:
        if not self._is_open or self._loop is None:
            raise JournalError(
                "The journal is closed.", mend="Open it first; after close nothing is taken.", code="journal.closed"
            )
        if self._server is not None and (error := self._server.unavailable()) is not None:
            raise error
        if len(self._pending) >= self.pending_max:
            raise JournalError(
                f"{len(self._pending)} operations wait for the disk already.",
                mend="Await wait_room() before submitting more.",
                code="journal.overloaded",
            )
        self._pending.append((operation, waiter))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._seen = 0
            self._since = self._clock()
            self._loop.call_soon(self._turn)

    async def wait_room(self) -> None:
        """Returns at once while fewer than half of ``pending_max`` operations wait, else when it is so again."""
        while self._is_open and len(self._pending) * 2 >= self.pending_max:
            future = asyncio.get_running_loop().create_future()
            self._room.append(future)
            await future

    @property
    def is_available(self) -> bool:
        """False while it is known that nothing can be committed because of the store's server."""
        return self._server is None or self._server.unavailable() is None

    async def wait_lost(self) -> JournalError:
        """Returns when another engine has taken the journal over (``journal.fenced``): nothing can be committed any more."""
        while self._server is None or (error := self._server.unavailable()) is None or error.code != "journal.fenced":  # noqa: ASYNC110
            await asyncio.sleep(LOST_EVERY_S)
        return error

    async def close(self) -> None:
        """Takes no more, commits what was submitted, closes the store."""
        if not self._is_open:
            return
        self._is_open = False
        if self._server is not None:
            if self._committing is not None:
                _, late = await asyncio.wait([self._committing], timeout=CLOSE_WAIT_S)
                for task in late:
                    task.cancel()
                    await asyncio.wait([task])
            await self._commit_pending(self._server)
            self._wake_waiting()
            await self._server.close()
            return
        while self._pending:
            self._commit()
        self._wake_waiting()
        self.read.close()

    def _turn(self) -> None:
        """One turn of the loop has passed since something was submitted: commit, or wait for one more turn."""
        found = len(self._pending)
        is_growing = found > self._seen
        self._seen = found
        assert self._loop is not None
        if found and found < self.commit_size_max and is_growing:
            waited = self._clock() - self._since
            if waited < self.commit_s * COMMITS_WORTH_WAITING and waited < self.wait_s:
                self._loop.call_soon(self._turn)
                return
        if self._server is not None:
            self._committing = self._loop.create_task(self._commit_pending(self._server))
            return
        if found:
            self._commit()
        if self._pending:
            self._seen = 0
            self._since = self._clock()
            self._loop.call_soon(self._turn)
        else:
            self._is_scheduled = False
        if self._room and len(self._pending) * 2 < self.pending_max:
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._room = self._room, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _take(self) -> list[tuple[Operation, Waiter]]:
        """The next group: as many as fit into ``commit_size_max``, an Accept or Bury counting its messages, and at least one."""
        group: list[tuple[Operation, Waiter]] = []
        size = 0
        pending = self._pending
        while pending:
            operation = pending[0][0]
            size += max(1, size_of(operation))
            if group and size > self.commit_size_max:
                break
            group.append(pending.popleft())
        return group

    def _commit(self) -> None:
        group = self._take()
        started = self._clock()
        try:
            results = self._write([operation for operation, _ in group])
        except JournalError as error:
            if error.code in OWN_FAULTS and len(group) > 1:
                self._commit_each(group)
            else:
                self._fail(group, error)
            return
        self._tell(group, results, started)

    def _tell(self, group: list[tuple[Operation, Waiter]], results: list[Any], started: float) -> None:
        took_s = self._clock() - started
        self.commit_s += (took_s - self.commit_s) * _SMOOTHING
        self.metrics.duration.observe(took_s)
        self.metrics.operations += len(group)
        self.commits += 1
        self.operations += len(group)
        self._announce(group, results)
        self._hand_out([waiter for _, waiter in group], results)

    def _announce(self, group: list[tuple[Operation, Waiter]], results: list[Any]) -> None:
        heard = self.on_accepted
        if heard is not None:
            for (operation, _), result in zip(group, results, strict=True):
                if type(operation) is Accept:
                    heard(operation, result)

    def _hand_out(self, waiters: list[Waiter], results: list[Any]) -> None:
        """Futures call their waiters back in a later turn; what is called directly keeps its place among them."""
        assert self._loop is not None
        calls: list[tuple[Told, Any]] = []
        for waiter, result in zip(waiters, results, strict=True):
            if not isinstance(waiter, asyncio.Future):
                calls.append((waiter, result))
                continue
            if calls:
                self._loop.call_soon(self._call, calls)
                calls = []
            if not waiter.done():
                if isinstance(result, JournalError):
                    waiter.set_exception(result)
                else:
                    waiter.set_result(result)
        if calls:
            self._loop.call_soon(self._call, calls)

    def _call(self, calls: list[tuple[Told, Any]]) -> None:
        for told, result in calls:
            try:
                told(result)
            except Exception as error:  # noqa: BLE001 (one waiter's defect must not keep the others from hearing)
                context = {"message": "a waiter of the journal failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    def _write(self, operations: list[Operation]) -> list[Any]:
        """A defect of the store must not leave its callers waiting for ever."""
        try:
            return self.read.commit(operations)
        except JournalError:
            raise
        except Exception as error:
            raise _defect(error) from error

    def _commit_each(self, group: list[tuple[Operation, Waiter]]) -> None:
        """One of the group cannot be stored and took the others with it: alone, each bears only its own fault."""
        for operation, waiter in group:
            try:
                results = self._write([operation])
            except JournalError as error:
                self._fail([(operation, waiter)], error)
                continue
            self.commits += 1
            self.operations += 1
            self._announce([(operation, waiter)], results)
            self._hand_out([waiter], results)

    async def _commit_pending(self, server: AsyncStore) -> None:
        """Group after group until nothing is pending."""
        try:
            while self._pending:
                await self._commit_at(server, self._take())
                if self._room and len(self._pending) * 2 < self.pending_max:
                    self._wake_waiting()
        finally:
            self._is_scheduled = False
            self._committing = None

    async def _commit_at(self, server: AsyncStore, group: list[tuple[Operation, Waiter]]) -> None:
        started = self._clock()
        async with self._order:
            try:
                results = await server.commit([operation for operation, _ in group])
            except JournalError as error:
                if error.code not in OWN_FAULTS or len(group) == 1:
                    self._fail(group, error)
                    return
            except asyncio.CancelledError:
                self._fail(group, _unknown())
                raise
            except Exception as error:  # noqa: BLE001 (a defect of the store must not leave its callers waiting for ever)
                self._fail(group, _defect(error))
                return
            else:
                self._tell(group, results, started)
                return
        for one in group:  # one of them cannot be stored: alone, each bears only its own fault
            await self._commit_at(server, [one])

    def _fail(self, group: list[tuple[Operation, Waiter]], error: JournalError) -> None:
        self.failures += 1
        errors = [type(error)(error.what, mend=error.mend, place=error.place, code=error.code) for _ in group]
        self._hand_out([waiter for _, waiter in group], errors)


def _unknown() -> JournalError:
    return JournalError(
        "The journal closed before its server told what became of a commit.",
        mend="It is found out at the next start; a sender repeats the message.",
        code="journal.closed",
    )


def _defect(error: Exception) -> JournalError:
    return JournalError(
        f"The journal's store failed: {type(error).__name__}: {error}.",
        mend="This is a defect of the store; please report it.",
        code="journal.commit",
    )
