"""Two loops that take connections from one socket: both get some of a burst, and none is lost when one of them stops."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvloop

from accord.engine.accepting import OneByOne

CONNECTIONS = 64


class _Named(asyncio.Protocol):
    """Says who took the connection, and closes it."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._name)  # type: ignore[attr-defined]
        transport.close()


class Taker:
    """A loop in a thread of its own, as a worker has one in a process of its own."""

    def __init__(self, listener: socket.socket, name: bytes) -> None:
        self._loop = uvloop.new_event_loop()
        self._end = asyncio.Event()
        self._is_taking = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, name), daemon=True)
        self._thread.start()
        assert self._is_taking.wait(10)

    def _run(self, listener: socket.socket, name: bytes) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._take(listener, name))

    async def _take(self, listener: socket.socket, name: bytes) -> None:
        taking = OneByOne(listener, lambda: _Named(name))
        self._is_taking.set()
        await self._end.wait()
        taking.close()
        await asyncio.sleep(0.05)  # for connections under way to close

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)


def _taken_by(listener: socket.socket, count: int) -> list[bytes]:
    clients = [socket.create_connection(listener.getsockname(), timeout=10) for _ in range(count)]
    names = [client.recv(1) for client in clients]
    for client in clients:
        client.close()
    return names


def test_a_burst_is_shared_and_who_stops_leaves_the_rest_to_others() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        takers = [Taker(listener, b"a"), Taker(listener, b"b")]
        try:
            names = _taken_by(listener, CONNECTIONS)
            for _ in range(20):  # which of two idle ones is quicker is the system's choice
                if set(names) == {b"a", b"b"}:
                    break
                names += _taken_by(listener, CONNECTIONS)
            assert set(names) == {b"a", b"b"}
            takers[0].stop()
            assert _taken_by(listener, CONNECTIONS) == [b"b"] * CONNECTIONS
        finally:
            for taker in takers:
                taker.stop()


def test_what_nobody_takes_waits_for_a_successor() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        first = Taker(listener, b"a")
        first.stop()
        clients = [socket.create_connection(listener.getsockname(), timeout=10) for _ in range(8)]
        second = Taker(listener, b"b")
        try:
            assert [client.recv(1) for client in clients] == [b"b"] * 8
        finally:
            second.stop()
            for client in clients:
                client.close()
