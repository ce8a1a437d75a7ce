"""The process that writes the journal: a hub, served with the socket pairs of workers as they are born."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import uvloop

from accord.journal.hub.hub import Hub
from accord.journal.hub.roll import Seat
from accord.journal.parts import PartedStore

OPEN = b"o"  # told to the supervisor: workers may come


def write_journal(store: PartedStore, control: socket.socket) -> None:
    """Until ``control`` is closed at its other end and the last worker has gone. Each byte that comes over it brings a worker's socket.

    Raises JournalError when the journal cannot be opened. SIGTERM is passed on to the supervisor, who ends the workers first.
    """
    uvloop.run(_serve(store, control))


async def _serve(store: PartedStore, control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, os.kill, os.getppid(), signal.SIGTERM)
    hub = Hub(store, on_silent=_kill)
    await hub.open()
    try:
        control.setblocking(False)
        control.send(OPEN)
        await _attach_all(hub, control)
        await hub.wait_alone()
    finally:
        await hub.close()


async def _attach_all(hub: Hub, control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    attaching: set[asyncio.Task[None]] = set()

    def readable() -> None:
        with contextlib.suppress(BlockingIOError):
            data, ends, _, _ = socket.recv_fds(control, 1, 1)
            for descriptor in ends:
                task = loop.create_task(hub.attach(socket.socket(fileno=descriptor)))
                attaching.add(task)
                task.add_done_callback(attaching.discard)
            if not data and not ended.done():
                ended.set_result(None)

    loop.add_reader(control, readable)
    await ended
    loop.remove_reader(control)
    if attaching:
        await asyncio.wait(attaching)


def _kill(seat: Seat) -> None:
    """A worker that was silent for too long may be stopped or stuck; when it goes on, it must not do what others do by then."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(seat.pid, signal.SIGKILL)
