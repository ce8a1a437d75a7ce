"""Starts the hub and the workers, starts again what ends, and ends all together.

Invariants:

- This process has one thread and no event loop, so that forking it is safe at any time. It holds the listening socket: connections
  wait in it while workers are replaced.
- Workers start after the hub has opened the journal, and end before it. A hub that ends takes its workers with it (they see their
  sockets close; here they are killed), and all begin anew.
- The first worker must get ready before others start: what is wrong with a project is told once.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import msgspec

from accord.engine.workers.children import FAILED, fork
from accord.observe import Observer
from accord.observe.events import WorkerEnded, WorkersStarted, WriterEnded

RESTART_FIRST_S = 0.2
RESTART_LONGEST_S = 30.0
STEADY_S = 10.0  # who has run so long gets its next restart at once
KILL_AFTER_S = 5.0  # beyond the time a worker has for its own drain
READY = b"r"

WriteJournal = Callable[[socket.socket], None]
Work = Callable[[int, socket.socket, Callable[[], None]], None]


class _Child(msgspec.Struct):
    pid: int
    started_at: float
    is_ready: bool = False


class Supervisor:
    """``write_journal`` gets the end of a control socket (see ``writer``). ``work`` gets the worker's number from 1, its end of the
    socket pair to the hub, and what to call when it is ready. ``on_ready`` is called once, when the first worker is ready for the
    first time."""

    def __init__(
        self,
        workers: int,
        write_journal: WriteJournal,
        work: Work,
        observer: Observer,
        *,
        drain_s: float,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._count = workers
        self._write_journal = write_journal
        self._work = work
        self._observer = observer
        self._drain_s = drain_s
        self._on_ready = on_ready
        self._selector = selectors.DefaultSelector()
        self._signals, self._signalled = socket.socketpair()
        self._control: socket.socket | None = None
        self._writer: _Child | None = None
        self._workers: dict[int, _Child] = {}
        self._ready_ends: dict[int, socket.socket] = {}  # by worker
        self._starts: dict[int, float] = {}  # worker → when it may start again
        self._waits: dict[int, float] = {}  # worker (0: the writer) → the last wait before a restart
        self._writer_start = 0.0
        self._was_ready = False
        self._stopping_at: float | None = None
        self._status = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        assert threading.active_count() == 1, "forking a process with threads is not safe"
        with self._handling_signals():
            self._start_writer()
            while self._writer is not None or self._workers or self._stopping_at is None:
                for key, _ in self._selector.select(self._wait_s()):
                    key.data()
                self._reap()
                self._start_due()
                self._press()
        return self._status

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        self._signals.setblocking(False)
        self._signalled.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ, self._read_signals)
        before = {number: signal.signal(number, _noted) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
        wakeup = signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            for end in (self._signals, self._signalled):
                end.close()

    def _read_signals(self) -> None:
        for number in self._signals.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self.stop(is_repeated=self._stopping_at is not None and number == signal.SIGINT)

    def stop(self, status: int = 0, *, is_repeated: bool = False) -> None:
        """Workers drain, then the hub closes the journal. Repeated: all end at once; the journal bears it."""
        if self._stopping_at is None:
            self._stopping_at = time.monotonic()
            self._status = status
            self._starts.clear()
            for child in self._workers.values():
                os.kill(child.pid, signal.SIGTERM)
        elif is_repeated:
            self._kill_all()
        self._let_writer_go()

    def _let_writer_go(self) -> None:
        """When no worker is left to come; the hub then ends with the last one."""
        is_open = self._writer is not None and self._writer.is_ready
        if is_open and self._control is not None and not self._workers:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None

    def _kill_all(self) -> None:
        for child in [*self._workers.values(), *([self._writer] if self._writer else [])]:
            os.kill(child.pid, signal.SIGKILL)

    def _press(self) -> None:
        """Who does not end in its time is ended."""
        if self._stopping_at is not None and time.monotonic() > self._stopping_at + self._drain_s + KILL_AFTER_S:
            self._kill_all()
            self._stopping_at = time.monotonic()

    def _wait_s(self) -> float | None:
        """Until something is due."""
        due = list(self._starts.values())
        if self._writer is None and self._stopping_at is None:
            due.append(self._writer_start)
        if self._stopping_at is not None:
            due.append(self._stopping_at + self._drain_s + KILL_AFTER_S)
        return max(0.0, min(due) - time.monotonic()) if due else None

    # starting

    def _start_writer(self) -> None:
        own, other = socket.socketpair()
        closing = [own.fileno(), *self._inherited()]
        pid = fork(lambda: self._write_journal(other), closing=closing)
        other.close()
        own.setblocking(False)
        self._control = own
        self._selector.register(own, selectors.EVENT_READ, self._writer_is_open)
        self._writer = _Child(pid, time.monotonic())

    def _writer_is_open(self) -> None:
        """The journal is open (a byte), or the writer has ended (which its end tells)."""
        if self._control is None:
            return
        try:
            told = self._control.recv(1)
        except ConnectionResetError:  # it was killed before it had read what it was sent
            told = b""
        if not told:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
        elif self._writer is not None:
            self._writer.is_ready = True
            if self._stopping_at is None:
                self._start_worker(1)
            else:
                self._let_writer_go()

    def _start_worker(self, number: int) -> None:
        assert self._control is not None
        to_hub, of_hub = socket.socketpair()
        is_ready, tells_ready = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"w"], [of_hub.fileno()])
        except OSError:  # the hub has just ended, which its own end tells
            for end in (to_hub, of_hub, is_ready, tells_ready):
                end.close()
            return
        closing = [of_hub.fileno(), is_ready.fileno(), self._control.fileno(), *self._inherited()]
        pid = fork(lambda: self._work(number, to_hub, lambda: _tell(tells_ready)), closing=closing)
        for end in (to_hub, of_hub, tells_ready):
            end.close()
        self._workers[number] = _Child(pid, time.monotonic())
        self._ready_ends[number] = is_ready
        self._selector.register(is_ready, selectors.EVENT_READ, lambda: self._worker_is_ready(number))

    def _worker_is_ready(self, number: int) -> None:
        end = self._ready_ends.pop(number)
        self._selector.unregister(end)
        is_ready = end.recv(1) == READY
        end.close()
        if not is_ready or number not in self._workers:
            return
        self._workers[number].is_ready = True
        if not self._was_ready:
            self._was_ready = True
            self._on_ready()
            self._observer.emit(WorkersStarted(workers=self._count))
        if self._stopping_at is None:
            for other in range(1, self._count + 1):
                if other not in self._workers and other not in self._starts:
                    self._start_worker(other)

    def _inherited(self) -> list[int]:
        """What a new process must not keep open."""
        ends = [self._signals, self._signalled, *self._ready_ends.values()]
        return [end.fileno() for end in ends] + [self._selector.fileno()]

    def _start_due(self) -> None:
        if self._stopping_at is not None:
            return
        now = time.monotonic()
        if self._writer is None:
            if now >= self._writer_start and not self._workers:
                self._start_writer()
            return
        for number in [number for number, at in self._starts.items() if at <= now]:
            del self._starts[number]
            if self._writer.is_ready and self._control is not None:
                self._start_worker(number)

    # ending

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            exit_code = os.waitstatus_to_exitcode(status)
            if self._writer is not None and pid == self._writer.pid:
                self._writer_ended(exit_code)
            for number, child in list(self._workers.items()):
                if child.pid == pid:
                    del self._workers[number]
                    self._worker_ended(number, child, exit_code)

    def _writer_ended(self, exit_code: int) -> None:
        child, self._writer = self._writer, None
        assert child is not None
        self._starts.clear()
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGKILL)
        if self._stopping_at is not None:
            self._status = self._status or (exit_code and FAILED)
            return
        if not self._was_ready:  # what was wrong it has told itself
            self.stop(FAILED)
            return
        wait_s = self._next_wait_s(0, child)
        self._writer_start = time.monotonic() + wait_s
        self._observer.emit(WriterEnded(status=exit_code, restart_in_s=wait_s))

    def _worker_ended(self, number: int, child: _Child, exit_code: int) -> None:
        if self._stopping_at is not None:
            self._let_writer_go()
            return
        if self._writer is None:
            return
        if not self._was_ready:
            self.stop(FAILED)
            return
        wait_s = self._next_wait_s(number, child)
        self._starts[number] = time.monotonic() + wait_s
        self._observer.emit(WorkerEnded(worker=number, pid=child.pid, status=exit_code, restart_in_s=wait_s))

    def _next_wait_s(self, number: int, child: _Child) -> float:
        has_run_well = time.monotonic() - child.started_at > STEADY_S
        wait_s = 0.0 if has_run_well else min(RESTART_LONGEST_S, max(RESTART_FIRST_S, 2 * self._waits.get(number, 0.0)))
        self._waits[number] = wait_s
        return wait_s


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up socket has been told already."""


def _tell(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.send(READY)
    end.close()
