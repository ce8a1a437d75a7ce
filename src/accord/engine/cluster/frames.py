"""What two members say to each other: length-prefixed msgpack over one connection, many frames in one write.

A frame is its length (four bytes, little-endian) and one value. Who connects asks and numbers what it asks; who was connected to
answers with the number. Before anything else both prove that they know the project's secret, without showing it::

    server: Challenge(nonce)      client: Hello(nonce, proof of both)      server: Welcome(proof of both)
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import cast

import msgspec

from accord.engine.accept import Stored
from accord.record import Message

NONCE_BYTES = 32
GREETING_BYTES_MAX = 1_000  # a frame of somebody who has proved nothing yet
FRAME_BYTES_MAX = 256_000_000  # the largest message there can be fits several times; more is no frame of ours
LENGTH_BYTES = 4


class Challenge(msgspec.Struct, frozen=True, array_like=True, tag=0):
    nonce: bytes


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    nonce: bytes
    proof: bytes


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    proof: bytes


class Hand(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Messages of one part, for its owner to accept. ``is_repeat``: the answer to the same was lost, so they may be stored already.
    ``is_patient``: they come from a source that can be kept waiting; its owner takes them when it has room."""

    number: int
    messages: list[Message]
    is_repeat: bool = False
    is_patient: bool = False


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """A request to the control API of this member alone."""

    number: int
    method: str
    path: str
    query: str = ""
    body: bytes = b""


class Look(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Parts have moved: take a census now. Not answered."""


class Handed(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Committed."""

    number: int
    stored: Stored


class Moved(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Nothing was kept: the part is not mine. ``owner``: whose it is, as far as I know (0: nobody's)."""

    number: int
    owner: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A JournalError: nothing was kept."""

    number: int
    code: str
    what: str
    mend: str = ""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """The answer of the control API."""

    number: int
    status: int
    body: bytes


class Computed(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """What a flow answers to the caller of a message handed over before. ``state``: it ended so without an answer."""

    message_id: str
    status: int = 0
    body: bytes = b""
    content_type: str = ""
    state: str = ""


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Hello | Hand | Ask | Look).decode
decode_answer = msgspec.msgpack.Decoder(Challenge | Welcome | Handed | Moved | Failed | Told | Computed).decode


def proof(secret: bytes, who: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    return hmac.digest(secret, who + server_nonce + client_nonce, hashlib.sha256)


class Frames(asyncio.Protocol):
    """One end of a connection. What is sent in one turn of the event loop leaves in one write. ``received`` is called with each frame,
    ``lost`` once at the end. Until ``is_trusted`` is set, frames must be small."""

    def __init__(self, received: Callable[[Frames, bytes], None], lost: Callable[[Frames], None]) -> None:
        self.is_trusted = False
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._wanted = LENGTH_BYTES  # bytes until the next frame is whole
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.nonce = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        if self._in:
            self._in += data
            if len(self._in) < self._wanted:
                return
            data = bytes(self._in)
            self._in.clear()
        at, size = 0, len(data)
        while size - at >= LENGTH_BYTES:
            start = at + LENGTH_BYTES
            length = int.from_bytes(data[at:start], "little")
            if length > (FRAME_BYTES_MAX if self.is_trusted else GREETING_BYTES_MAX):
                self.abort()
                return
            if size < start + length:
                self._wanted = LENGTH_BYTES + length
                break
            at = start + length
            self._received(self, data[start:at])
        else:
            self._wanted = LENGTH_BYTES
        self._in += data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self._lost(self)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, value: msgspec.Struct) -> None:
        """Nothing is sent over a connection that is lost."""
        if self._transport is None:
            return
        frame = encode(value)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(len(frame).to_bytes(LENGTH_BYTES, "little"))
        self._out.append(frame)

    def close(self) -> None:
        """After what was sent has left."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()
