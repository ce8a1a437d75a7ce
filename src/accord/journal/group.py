"""Group commit: what is submitted in one turn of the event loop is written to disk together.

The commit runs inline, on the loop's own thread: a sync takes 0.15 to 5 ms, while handing it to a thread costs up to the
interpreter's 5 ms switch interval. Syncing is what a group shares, so it pays to wait for more operations while they keep
coming, for as long as a commit takes. The rule: go on waiting, turn by turn, while the last turn brought something new,
at most as long as recent commits took, and never longer than ``wait_us``. A lone submitter never waits more than a turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from accord.errors import JournalError
from accord.journal.operations import Accept, Operation
from accord.journal.store import Store

COMMIT_SIZE_MAX = 256  # messages and other operations; about 5 ms of work, which the loop's other tasks wait for
PENDING_MAX = 20_000  # operations; a queue this long means the disk does not take what comes in
WAIT_US = 2_000  # microseconds; worth it for disks whose sync takes longer than that
_SMOOTHING = 0.1


class Journal:
    """Use from one event loop only. ``read`` is the store, for its reads; every write goes through ``submit``."""

    def __init__(
        self,
        store: Store,
        *,
        commit_size_max: int = COMMIT_SIZE_MAX,
        wait_us: int = WAIT_US,
        pending_max: int = PENDING_MAX,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.read = store
        self.commit_size_max = commit_size_max
        self.pending_max = pending_max
        self.wait_s = wait_us / 1_000_000
        self.commit_s = 0.0  # moving average of what a commit takes
        self.commits = 0
        self.operations = 0  # committed
        self.failures = 0
        self._clock = clock
        self._pending: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_scheduled = False
        self._is_open = False
        self._seen = 0
        self._since = 0.0
        self._room: list[asyncio.Future[None]] = []

    @property
    def pending(self) -> int:
        """Operations submitted and not yet committed."""
        return len(self._pending)

    def open(self) -> None:
        """Opens the store. Call inside the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self.read.open()
        self._is_open = True

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """The future resolves to the operation's result once it is on disk, or fails with JournalError (``JournalFull``:
        try again later); then nothing of it was kept. Raises JournalError ``journal.closed`` or ``journal.overloaded``."""
        if not self._is_open or self._loop is None:
            raise JournalError(
                "The journal is closed.", mend="Open it first; after close nothing is taken.", code="journal.closed"
            )
        if len(self._pending) >= self.pending_max:
            raise JournalError(
                f"{len(self._pending)} operations wait for the disk already.",
                mend="Await wait_room() before submitting more.",
                code="journal.overloaded",
            )
        future = self._loop.create_future()
        self._pending.append((operation, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._seen = 0
            self._since = self._clock()
            self._loop.call_soon(self._turn)
        return future

    async def wait_room(self) -> None:
        """Returns at once while fewer than half of ``pending_max`` operations wait, else when it is so again."""
        while self._is_open and len(self._pending) * 2 >= self.pending_max:
            future = asyncio.get_running_loop().create_future()
            self._room.append(future)
            await future

    async def close(self) -> None:
        """Takes no more, commits what was submitted, closes the store."""
        if not self._is_open:
            return
        self._is_open = False
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
            if waited < self.commit_s and waited < self.wait_s:
                self._loop.call_soon(self._turn)
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

    def _take(self) -> list[tuple[Operation, asyncio.Future[Any]]]:
        """The next group: as many as fit into ``commit_size_max``, an Accept counting its messages, and at least one."""
        group: list[tuple[Operation, asyncio.Future[Any]]] = []
        size = 0
        pending = self._pending
        while pending:
            operation = pending[0][0]
            size += len(operation.messages) if type(operation) is Accept else 1
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
            if error.code == "journal.operation" and len(group) > 1:
                self._commit_each(group)
            else:
                self._fail(group, error)
            return
        self.commit_s += (self._clock() - started - self.commit_s) * _SMOOTHING
        self.commits += 1
        self.operations += len(group)
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _write(self, operations: list[Operation]) -> list[Any]:
        """A defect of the store must not leave its callers waiting for ever."""
        try:
            return self.read.commit(operations)
        except JournalError:
            raise
        except Exception as error:
            raise JournalError(
                f"The journal's store failed: {type(error).__name__}: {error}.",
                mend="This is a defect of the store; please report it.",
                code="journal.commit",
            ) from error

    def _commit_each(self, group: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        """One of the group cannot be stored and took the others with it: alone, each bears only its own fault."""
        for operation, future in group:
            try:
                (result,) = self._write([operation])
            except JournalError as error:
                self._fail([(operation, future)], error)
                continue
            self.commits += 1
            self.operations += 1
            if not future.done():
                future.set_result(result)

    def _fail(self, group: list[tuple[Operation, asyncio.Future[Any]]], error: JournalError) -> None:
        self.failures += 1
        for _, future in group:
            if not future.done():
                future.set_exception(type(error)(error.what, mend=error.mend, place=error.place, code=error.code))
