"""What members and their hub say to each other: length-prefixed msgpack, many frames in one write.

A frame is its length (four bytes, little-endian) and one message. A member numbers what it asks; answers carry the number. Answers
to commits come in the order of the commits.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any, cast

import msgspec

from accord.errors import JournalError
from accord.journal.operations import (
    Accept,
    Accepted,
    Bury,
    DeadLetterRow,
    Lease,
    MessageRow,
    Operation,
    Prune,
    ReleaseDue,
    ReleaseHeld,
    SaveCursors,
    SaveReferences,
)
from accord.journal.search import InDoubt, MessageQuery
from accord.journal.shared import Census, Member

FRAME_BYTES_MAX = 2**31  # a group of the largest messages there can be fits many times; more is no frame of ours
SOCKET_BUFFER_BYTES = 1 << 20  # asked of the system, which gives what it allows: fewer wake-ups for large groups
_LENGTH_BYTES = 4


class Commit(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A group to commit: all of it or nothing."""

    number: int
    operations: list[Operation]


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A question or a word about membership; ``values`` are those of the method of SharedStore of this name, in order."""

    number: int
    method: str
    values: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=0):
    number: int
    value: Any


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A JournalError."""

    number: int
    code: str
    what: str
    mend: str


class RawAnswered(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """As a member reads it: what the value is, it knows from its question."""

    number: int
    value: msgspec.Raw


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Commit | Ask).decode
decode_answer = msgspec.msgpack.Decoder(RawAnswered | Failed).decode
decode_raws = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

_VALUES: dict[str, Any] = {
    "join": tuple[str, str, int],
    "census": tuple[()],
    "take": tuple[list[int]],
    "give": tuple[list[int], int],
    "leave": tuple[()],
    "open_counts": tuple[list[int]],
    "lease": tuple[str, int, int],
    "next_of_keys": tuple[str, list[str]],
    "counts": tuple[()],
    "held": tuple[()],
    "next_due": tuple[()],
    "cursor": tuple[str],
    "references": tuple[list[tuple[str, str, str]]],
    "dead_letters": tuple[str, int, int],
    "messages": tuple[MessageQuery],
    "in_doubt": tuple[()],
    "size_bytes": tuple[()],
}
VALUES: dict[str, Callable[[msgspec.Raw], Any]] = {
    method: msgspec.msgpack.Decoder(type_).decode for method, type_ in _VALUES.items()
}
"""Decodes what is asked, by method."""

_RESULTS: dict[str, Any] = {
    "join": Member,
    "census": Census,
    "take": frozenset[int],
    "give": None,
    "leave": None,
    "open_counts": dict[str, int],
    "lease": list[Lease],
    "next_of_keys": list[Lease | None],
    "counts": list[tuple[str, str, int]],
    "held": dict[str, int],
    "next_due": dt.datetime | None,
    "cursor": bytes | None,
    "references": list[str | None],
    "dead_letters": list[DeadLetterRow],
    "messages": list[MessageRow],
    "in_doubt": list[InDoubt],
    "size_bytes": int,
}
RESULTS: dict[str, Callable[[msgspec.Raw], Any]] = {
    method: msgspec.msgpack.Decoder(type_).decode for method, type_ in _RESULTS.items()
}
"""Decodes what is answered, by method."""

_decode_accepted = msgspec.msgpack.Decoder(Accepted).decode
_decode_leases = msgspec.msgpack.Decoder(tuple[Lease, ...]).decode
_decode_bool = msgspec.msgpack.Decoder(bool).decode
_decode_none = msgspec.msgpack.Decoder(None).decode
_OUTCOMES: dict[type, Callable[[msgspec.Raw], Any]] = {
    Accept: _decode_accepted,
    Bury: _decode_accepted,
    ReleaseDue: _decode_leases,
    ReleaseHeld: _decode_leases,
    SaveCursors: _decode_none,
    SaveReferences: _decode_none,
    Prune: msgspec.msgpack.Decoder(int).decode,
}


def outcome_of(operation: Operation, raw: msgspec.Raw) -> Any:
    """The result of a committed operation."""
    return _OUTCOMES.get(type(operation), _decode_bool)(raw)


def fenced(why: str) -> JournalError:
    return JournalError(
        f"This process is no member of the journal: {why}.",
        mend="It must end and join anew; `accord up` sees to that.",
        code="journal.fenced",
    )


class Frames(asyncio.Protocol):
    """One end of a connection. What is sent in one turn of the event loop leaves in one write; ``received`` is called with each
    frame, ``lost`` once at the end."""

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._closed = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type

    def data_received(self, data: bytes) -> None:
        if self._in:
            self._in += data
            data = bytes(self._in)  # a frame that came in parts: copied once more, so that nothing points into a buffer
            self._in.clear()
        at, size = 0, len(data)
        with memoryview(data) as view:
            while size - at >= _LENGTH_BYTES:
                start = at + _LENGTH_BYTES
                end = start + int.from_bytes(view[at:start], "little")
                if size < end:
                    break
                self._received(data[start:end])
                at = end
            self._in += view[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self._closed.set_result(None)
        self._lost()

    def send(self, message: msgspec.Struct) -> None:
        """Nothing is sent over a connection that is lost. Raises JournalError for what no frame can hold."""
        if self._transport is None:
            return
        frame = encode(message)
        if len(frame) > FRAME_BYTES_MAX:
            raise JournalError(
                f"A group of {len(frame)} bytes cannot be stored.",
                mend="Lower `body_size_max` in accord.yaml.",
                code="journal.operation",
            )
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(len(frame).to_bytes(_LENGTH_BYTES, "little"))
        self._out.append(frame)

    async def close(self) -> None:
        """After what was sent has left."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()
