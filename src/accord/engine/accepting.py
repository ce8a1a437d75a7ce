"""Taking connections from a socket that other processes take from as well."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

PAUSE_S = 0.1  # without descriptors or memory for a connection: others may have them


class OneByOne:
    """One connection in a turn of the event loop. A server of the loop's own takes all that wait at once, so that of a burst of
    connections that are kept, one process would get all and the others none."""

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Takes no more; those that wait are for others."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        try:
            taken, _ = self._listener.accept()
        except (
            BlockingIOError,
            InterruptedError,
            ConnectionAbortedError,
        ):  # another was quicker, or the client has gone
            return
        except OSError:
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(PAUSE_S, self._resume)
            return
        taken.setblocking(False)
        task = self._loop.create_task(self._connect(taken))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:  # the client has gone already
            taken.close()
