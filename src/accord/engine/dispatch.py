"""Brings messages of one flow to run, in order per key, in bounded memory.

Invariants:

- At most ``window`` messages of a flow are in memory (followers of a key included); the rest waits in the journal.
- Of one key at most one message runs, and it is the oldest open one: followers in memory queue behind it; when it parks
  (waiting, held), its followers are dropped from memory and the journal's eligibility rule keeps them back.
- *Direct*: nothing open of this flow is outside memory, so a fresh message may run without being read back. Otherwise
  fresh messages stay on disk and are read in order (``scan_seq`` is how far).
- A message on disk is found again by exactly one of: the scan (its seq is past ``scan_seq``), the end of its predecessor of
  the same key (``next_of_key``), or a release (due, held).
- *Direct* is found by counting: as many in memory as are open. The count is never smaller than what is open on disk: fresh messages
  are told in their commit, before anything can be read (``Journal.on_accepted``); a reopened one is announced before its commit;
  and a settled one is counted off after it. Whatever the scan reads is counted, so as many in memory as are open means all.
- While *paused* nothing starts and followers in memory are dropped; on resume the journal is read from the beginning.
- A message *taken out* (an operator's word on it is on its way to the journal) does not start, nor do later ones of its key: the
  followers of its key are dropped, the queue is not direct, and the journal is read again once it is put back.
- Calls follow commits: what the journal committed earlier is told to the queue earlier (futures resolve in commit order). What is
  read keeps its place among them (``journal.reads``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Lease, Settle, State
from accord.observe.crash_points import crash_point

WINDOW = 512  # messages: enough to hide 100 ms of latency at 5,000/s; about 2 MB at 4 KB each
ROOM_TO_READ = 64  # messages: reading back in such parts costs a tenth of reading one by one
JOURNAL_RETRY_S = 0.5  # while the journal takes nothing (disk full): results stay in memory until it does

T = TypeVar("T")
RunOne = Callable[[Lease], Awaitable[Settle]]


class FlowQueue:
    """The queue of one flow. All methods run on the event loop."""

    def __init__(
        self, flow: str, journal: Journal, run: RunOne, on_parked: Callable[[State], None], *, window: int = WINDOW
    ) -> None:
        self.flow = flow
        self.window = window
        self._journal = journal
        self._run = run
        self._on_parked = on_parked
        self._keys: dict[str, deque[Lease]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seqs: set[int] = set()
        self._running: set[int] = set()
        self._taken_out: set[int] = set()
        self._settled: dict[int, asyncio.Future[None]] = {}
        self._is_paused = False
        self._open = 0  # open messages of this flow, in memory and on disk
        self._scan_seq = 0
        self._is_direct = False
        self._is_stopped = True  # until start: commands on the journal alone must not run what they accept
        self._is_cut_off = False  # nothing is submitted any more
        self._all_left = asyncio.Event()
        self._pump_scheduled = False
        self._pumping: asyncio.Task[None] | None = None

    @property
    def open_count(self) -> int:
        return self._open

    @property
    def running_count(self) -> int:
        return len(self._running)

    @property
    def fresh_count(self) -> int:
        """Messages in memory while nothing open is outside it; 0 otherwise."""
        return len(self._seqs) if self._is_direct else 0

    @property
    def in_memory_count(self) -> int:
        return len(self._seqs)

    @property
    def room(self) -> int:
        return 0 if self._is_stopped or self._is_paused else max(0, self.window - len(self._seqs))

    def start(self, open_count: int) -> None:
        """``open_count``: open messages found in the journal."""
        self._open = open_count
        self._is_direct = open_count == 0 and not self._is_paused
        self._is_stopped = False
        self._schedule_pump()

    def accepted(self, lease: Lease) -> None:
        """A fresh message, just committed: nothing was read since."""
        self._open += 1
        if self._is_direct and self.room:
            self._scan_seq = max(self._scan_seq, lease.seq)
            self._push(lease)
        else:
            self._is_direct = False
            self._scan_seq = min(self._scan_seq, lease.seq - 1)
            self._schedule_pump()

    async def released(self, leases: Sequence[Lease]) -> None:
        """Messages that were waiting or held and are ready now."""
        if not leases or self._is_paused:  # on disk they are ready: `resume` reads them
            return
        keys = [lease.message.key for lease in leases]
        oldest = await self._ask(lambda: self._journal.reads.next_of_keys(self.flow, keys))
        for lease, first in zip(leases, oldest or (), strict=oldest is not None):
            if lease.seq in self._seqs:
                continue  # the scan has read it meanwhile
            if self.is_paused:
                return
            # Not its key's oldest: an older one was replayed from the dead letters while this one waited.
            if lease.message.key in self._keys or first is None or (first.seq, first.state) != (lease.seq, State.READY):
                self._scan_seq = min(self._scan_seq, lease.seq - 1)
                self._schedule_pump()
            else:
                self._push(lease)

    def reopening(self) -> None:
        """A dead letter is about to be put back to ready; ``reopened`` follows."""
        self._is_direct = False
        self._open += 1

    def reopened(self, *, is_so: bool) -> None:
        """Read from the beginning, since its seq lies behind the scan; ``is_so`` False: it was no dead letter any more."""
        if not is_so:
            self._open -= 1
        self._read_again()

    def _read_again(self) -> None:
        self._is_direct = False
        self._scan_seq = 0
        self._schedule_pump()

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def pause(self) -> None:
        """Nothing more starts; what runs finishes its attempt."""
        self._is_paused = True
        self._is_direct = False
        for followers in self._keys.values():
            self._forget(followers)

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._read_again()

    def is_running(self, seq: int) -> bool:
        return seq in self._running

    async def wait_ended(self, seq: int) -> None:
        """Until the attempt that runs has settled, if one does."""
        if seq in self._running:
            future = self._settled.get(seq) or asyncio.get_running_loop().create_future()
            self._settled[seq] = future
            await asyncio.shield(future)

    def take_out(self, seq: int, key: str) -> bool:
        """Keeps an open message from starting until ``put_back``; False, and nothing is changed, when it runs."""
        if seq in self._running:
            return False
        self._taken_out.add(seq)
        self._is_direct = False
        self._forget(self._keys.get(key, deque()))
        return True

    def put_back(self, seq: int, *, is_ended: bool) -> None:
        """``is_ended``: it was settled meanwhile. What else became of it is found in the journal."""
        self._taken_out.discard(seq)
        self._open -= is_ended
        self._read_again()

    def _forget(self, followers: deque[Lease]) -> None:
        self._seqs.difference_update(follower.seq for follower in followers)
        followers.clear()

    async def stop(self) -> None:
        """No new message starts; returns when the running ones have settled."""
        self._is_stopped = True
        while self._running:
            self._all_left.clear()
            await self._all_left.wait()

    def cancel(self) -> None:
        """Cuts off what still runs; the journal knows those messages as open, and their effects as in doubt."""
        self._is_cut_off = True
        for task in self._tasks:
            task.cancel()
        if self._pumping is not None:
            self._pumping.cancel()

    def _push(self, lease: Lease) -> None:
        key = lease.message.key
        if lease.seq in self._taken_out:
            return
        self._seqs.add(lease.seq)
        followers = self._keys.get(key)
        if followers is None:
            self._keys[key] = deque()
            self._start(lease)
        else:
            followers.append(lease)

    def _start(self, lease: Lease) -> None:
        self._running.add(lease.seq)
        self._spawn(self._work(lease))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _raise_defect(task)

    async def _work(self, lease: Lease) -> None:
        try:
            settle = await self._run(lease)
        except BaseException:
            self._left(lease.seq)
            raise
        crash_point("settle.before-commit")
        self._submit(lease, settle)

    def _submit(self, lease: Lease, settle: Settle) -> None:
        """No task waits for the commit: what comes of it is told."""

        def told(found: bool | JournalError) -> None:
            if not isinstance(found, JournalError):
                self._has_settled(lease, settle)
            elif not self._is_cut_off:
                # The effect is done and its result is only in memory: keep both until the disk takes them again.
                asyncio.get_running_loop().call_later(JOURNAL_RETRY_S, self._submit, lease, settle)

        if self._is_cut_off:
            return
        try:
            self._journal.submit_then(settle, told)
        except JournalError as error:
            told(error)

    def _has_settled(self, lease: Lease, settle: Settle) -> None:
        if settle.state >= State.DONE:
            crash_point("settle.after-commit")
            self._finished(lease)
        else:
            crash_point("park.after-commit")
            self._parked(lease, settle.state)
        self._left(lease.seq)
        if self._settled and (waiting := self._settled.pop(lease.seq, None)) is not None:
            waiting.set_result(None)

    def _left(self, seq: int) -> None:
        self._running.discard(seq)
        if self._is_stopped and not self._running:
            self._all_left.set()

    def _finished(self, lease: Lease) -> None:
        key = lease.message.key
        self._open -= 1
        self._seqs.discard(lease.seq)
        followers = self._keys[key]
        if followers and not self._is_stopped:
            self._start(followers.popleft())
            if not self._is_direct:
                self._schedule_pump()
        else:
            self._drop(key)
            if not self._is_direct and not self._is_stopped:
                self._spawn(self._follow(key))

    def _parked(self, lease: Lease, state: State) -> None:
        self._seqs.discard(lease.seq)
        self._is_direct = False
        self._drop(lease.message.key)
        self._on_parked(state)
        self._schedule_pump()

    def _drop(self, key: str) -> None:
        self._forget(self._keys.pop(key))

    async def _follow(self, key: str) -> None:
        """The next message of a key that the scan has passed over while its predecessor was open."""
        following = await self._ask(lambda: self._journal.reads.next_of_key(self.flow, key))
        if (
            following is not None
            and following.state == State.READY
            and following.seq not in self._seqs
            and following.seq <= self._scan_seq
            and not self._is_paused
        ):
            self._push(following)
        if not self._is_direct:
            self._schedule_pump()

    async def _ask(self, read: Callable[[], Awaitable[T]]) -> T | None:
        """Until the journal answers; None when the queue was stopped meanwhile."""
        while not self._is_stopped:
            try:
                found = await read()
            except JournalError:
                await asyncio.sleep(JOURNAL_RETRY_S)
                continue
            return None if self._is_stopped else found
        return None

    def _schedule_pump(self) -> None:
        if not self._pump_scheduled and not self._is_stopped:
            self._pump_scheduled = True
            if self._pumping is None:
                self._pumping = asyncio.get_running_loop().create_task(self._pump())
                self._pumping.add_done_callback(_raise_defect)

    async def _pump(self) -> None:
        try:
            while self._pump_scheduled:
                self._pump_scheduled = False
                await self._read_back()
        finally:
            self._pumping = None

    async def _read_back(self) -> None:
        room = self.room
        start = self._scan_seq
        if self._is_direct or room < min(ROOM_TO_READ, self.window):
            return
        leases = await self._ask(lambda: self._journal.reads.lease(self.flow, start, room))
        if leases is None:
            return
        is_put_back = self._scan_seq < start  # by news of what lies before `start`: that is read next
        for lease in leases:
            if not is_put_back:
                self._scan_seq = lease.seq
            if lease.seq not in self._seqs and not self._is_paused:
                self._push(lease)
        if not is_put_back and len(leases) < room and len(self._seqs) >= self._open:
            self._is_direct = True


def _raise_defect(task: asyncio.Task[None]) -> None:
    """To the loop, which tells it: nobody awaits these tasks."""
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
