"""A member's connections to others: to each one that it asks, made when it is needed and kept; and the door others come in by."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from accord.engine.cluster.frames import (
    NONCE_BYTES,
    Ask,
    Challenge,
    Computed,
    Failed,
    Frames,
    Hand,
    Handed,
    Hello,
    Look,
    Moved,
    Told,
    Welcome,
    decode_answer,
    decode_request,
    proof,
)

CONNECT_S = 1.0  # on one network a member answers in a millisecond, or it is not there
UNIX = "unix:"

Reply: TypeAlias = "Handed | Moved | Failed | Told | LinkLost"
Then: TypeAlias = Callable[[Reply], None]


class LinkLost(Exception):
    """The connection ended before the answer: what was asked may or may not have been done."""


class Link:
    """A connection to one member. ``on_computed`` hears what flows answer to callers who are here."""

    def __init__(self, address: str, secret: bytes, on_computed: Callable[[Computed], None]) -> None:
        self._address = address
        self._secret = secret
        self._on_computed = on_computed
        self._frames: Frames | None = None
        self._number = 0
        self._asked: dict[int, Then] = {}
        self._urgent: dict[int, None] = {}  # of those asked, in their order
        self._marks: deque[tuple[float, int]] = deque()  # when which number was the last
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._welcome: asyncio.Future[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self._frames is not None and self._frames.is_trusted and self._frames.is_open

    async def connect(self) -> None:
        """At once when it is connected. Raises LinkLost when it cannot be within CONNECT_S, the other knows another secret, or the link
        is closed meanwhile."""
        if self.is_ready:
            return
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():  # by `close`; else it is the one who waits that is to end
                raise LinkLost(f"the link to {self._address} was closed") from None
            raise

    def send(self, make: Callable[[int], Hand | Ask], then: Then, *, is_urgent: bool = False) -> None:
        """``make`` gets the number. ``then`` is called once. Only while ``is_ready``. ``is_urgent``: see ``sweep``."""
        assert self._frames is not None, "connect first"
        self._number += 1
        self._asked[self._number] = then
        if is_urgent:
            self._urgent[self._number] = None
        self._frames.send(make(self._number))

    async def ask(
        self, make: Callable[[int], Hand | Ask], *, is_urgent: bool = False
    ) -> Handed | Moved | Failed | Told:
        """Raises LinkLost."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.send(make, lambda reply: None if future.done() else future.set_result(reply), is_urgent=is_urgent)
        reply = await future
        if isinstance(reply, LinkLost):
            raise reply
        return reply

    def sweep(self, now_s: float, longest_s: float) -> None:
        """Ends a connection on which something urgent has waited for longer: whoever is at its other end is frozen, or gone without
        a word. To be called every now and then."""
        while self._marks and self._marks[0][0] <= now_s - longest_s:
            _, number = self._marks.popleft()
            if self._urgent and next(iter(self._urgent)) <= number:
                self._abort()
        self._marks.append((now_s, self._number))

    def look(self) -> None:
        if self.is_ready and self._frames is not None:
            self._frames.send(Look())

    def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._frames is not None:
            self._frames.close()

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who wait for it hear it

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._welcome = loop.create_future()

        def protocol() -> Frames:
            return Frames(self._received, self._lost)

        try:
            async with asyncio.timeout(CONNECT_S):
                if self._address.startswith(UNIX):
                    _, frames = await loop.create_unix_connection(protocol, self._address.removeprefix(UNIX))
                else:
                    host, _, port = self._address.rpartition(":")
                    _, frames = await loop.create_connection(protocol, host.strip("[]"), int(port))
                self._frames = frames
                await self._welcome
        except (OSError, TimeoutError, ValueError) as error:
            self._abort()
            raise LinkLost(f"{self._address} does not answer: {error}") from error
        except LinkLost:
            self._abort()
            raise

    def _abort(self) -> None:
        if self._frames is not None:
            self._frames.abort()

    def _received(self, frames: Frames, frame: bytes) -> None:
        answer = decode_answer(frame)
        if isinstance(answer, Computed):
            self._on_computed(answer)
        elif isinstance(answer, Challenge):
            frames.nonce = answer.nonce
            frames.send(Hello(self._nonce, proof(self._secret, b"client", answer.nonce, self._nonce)))
        elif isinstance(answer, Welcome):
            self._welcomed(frames, answer)
        elif (then := self._asked.pop(answer.number, None)) is not None:
            self._urgent.pop(answer.number, None)
            then(answer)

    def _welcomed(self, frames: Frames, answer: Welcome) -> None:
        if not hmac.compare_digest(answer.proof, proof(self._secret, b"server", frames.nonce, self._nonce)):
            frames.abort()
            return
        frames.is_trusted = True
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_result(None)

    def _lost(self, frames: Frames) -> None:
        lost = LinkLost(f"the connection to {self._address} ended")
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(lost)
            self._welcome.exception()  # heard also when nobody waits any more
        if frames is self._frames:
            self._frames = None
            asked, self._asked = self._asked, {}
            self._urgent.clear()
            for then in asked.values():
                then(lost)


class Door:
    """Takes connections of other members. ``on_request`` hears what those who know the secret ask; ``on_lost`` when one is gone."""

    def __init__(
        self,
        secret: bytes,
        on_request: Callable[[Frames, Hand | Ask | Look], None],
        on_lost: Callable[[Frames], None],
    ) -> None:
        self._secret = secret
        self._on_request = on_request
        self._on_lost = on_lost
        self._guests: set[Frames] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def open(self, address: str) -> str:
        """``host:port`` (port 0: a free one) or ``unix:/path``. Returns the address as others reach it. Raises OSError."""
        loop = asyncio.get_running_loop()
        if address.startswith(UNIX):
            self._path = Path(address.removeprefix(UNIX))
            self._path.unlink(missing_ok=True)
            self._server = await loop.create_unix_server(self._guest, str(self._path))
            self._path.chmod(0o600)
            return address
        host, _, port = address.rpartition(":")
        self._server = await loop.create_server(self._guest, host.strip("[]"), int(port))
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for guest in list(self._guests):
                guest.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), CONNECT_S)
            self._server = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _guest(self) -> Frames:
        return _Guest(self)

    def came(self, guest: Frames) -> None:
        self._guests.add(guest)
        guest.nonce = secrets.token_bytes(NONCE_BYTES)
        guest.send(Challenge(guest.nonce))

    def received(self, guest: Frames, frame: bytes) -> None:
        try:
            request = decode_request(frame)
        except msgspec.MsgspecError:
            guest.abort()  # no member speaks so
            return
        if isinstance(request, Hello):
            expected = proof(self._secret, b"client", guest.nonce, request.nonce)
            if not hmac.compare_digest(request.proof, expected):
                guest.abort()
                return
            guest.is_trusted = True
            guest.send(Welcome(proof(self._secret, b"server", guest.nonce, request.nonce)))
        elif guest.is_trusted:
            self._on_request(guest, request)
        else:
            guest.abort()

    def gone(self, guest: Frames) -> None:
        self._guests.discard(guest)
        self._on_lost(guest)


class _Guest(Frames):
    def __init__(self, door: Door) -> None:
        super().__init__(door.received, door.gone)
        self._door = door

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._door.came(self)
