"""Entries of the log, and the chain that decides which of them count.

Every entry says after which digest it was written (``after``). It counts if that is the digest of all entries that counted before
it; then the digest becomes ``blake2b(after + the entry's bytes)``. Any other entry is void: it was written by an engine that did not
know of the entry it lost against, or it is a second copy of one that was sent again. So what counts follows from the order of the
stream alone, the same for every reader, whatever the server promises of conditions and duplicates.

An entry larger than a message may be travels as parts. Parts count like any entry, and make up a group when the last one is there;
whatever comes in between (their writer has died) drops them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from accord.journal.operations import Operation

POSITION_CURSOR = "accord/log"  # the name under which the local state keeps its Position
BEGINNING = b""  # the digest before the first entry
_DIGEST_SIZE_BYTES = 16


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How much of a log a state holds: everything up to message ``seq`` of the stream. ``counted`` is the last entry that counted and
    ``digest`` the chain's after it; ``log`` is the id its first entry gave the log. ``node`` and ``name`` are those of the engine that
    has the log, empty when it was given up."""

    log: bytes = b""
    seq: int = 0
    counted: int = 0
    digest: bytes = BEGINNING
    node: str = ""
    name: str = ""


class Group(msgspec.Struct, frozen=True, array_like=True, tag="group"):
    """Operations committed together. ``at``: the commit's time in microseconds since 1970, the clock of settle times."""

    after: bytes
    at: int
    operations: tuple[Operation, ...]


class Part(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    """Piece ``number`` (from 0) of the bytes of a Group; ``left`` pieces follow."""

    after: bytes
    number: int
    left: int
    data: bytes


class Opening(msgspec.Struct, frozen=True, array_like=True, tag="opening"):
    """An engine takes the log. ``node`` is the id of its state folder, ``name`` is for people."""

    after: bytes
    log: bytes
    node: str
    name: str


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """The engine that has the log lives, and had nothing to write."""

    after: bytes


class Closing(msgspec.Struct, frozen=True, array_like=True, tag="closing"):
    """The engine that had the log gives it up."""

    after: bytes


Entry: TypeAlias = Group | Part | Opening | Beat | Closing

encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
decode_group = msgspec.msgpack.Decoder(Group).decode
decode_position = msgspec.msgpack.Decoder(Position).decode


def advance(position: Position, seq: int, entry: Entry, data: bytes) -> tuple[Position, bool]:
    """The position after the stream's message ``seq``, and whether its entry counts."""
    if entry.after != position.digest:
        return msgspec.structs.replace(position, seq=seq), False
    log, node, name = position.log, position.node, position.name
    if isinstance(entry, Opening):
        log, node, name = entry.log, entry.node, entry.name
    elif isinstance(entry, Closing):
        node = name = ""
    return Position(log, seq, seq, digest_after(entry.after, data), node, name), True


def digest_after(after: bytes, data: bytes) -> bytes:
    return blake2b(after + data, digest_size=_DIGEST_SIZE_BYTES).digest()


def group_entries(after: bytes, at: int, operations: Sequence[Operation], size_bytes_max: int) -> list[bytes]:
    """The messages a group is written as: itself, or its parts, each at most ``size_bytes_max`` long. Raises what the encoder raises for
    text that is no Unicode or numbers too large."""
    whole = encode_entry(Group(after, at, tuple(operations)))
    if len(whole) <= size_bytes_max:
        return [whole]
    room = size_bytes_max - 64  # of a part's own fields
    pieces = [whole[start : start + room] for start in range(0, len(whole), room)]
    parts: list[bytes] = []
    for number, piece in enumerate(pieces):
        parts.append(encode_entry(Part(after, number, len(pieces) - number - 1, piece)))
        after = digest_after(after, parts[-1])
    return parts


class Assembly:
    """Parts until they make up a group. The chain sees to it that a part that counts follows the one before it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    @property
    def is_pending(self) -> bool:
        return bool(self._parts)

    def drop(self) -> None:
        self._parts.clear()

    def add(self, part: Part) -> Group | None:
        """The group, when this was its last part."""
        if part.number == 0:
            self._parts.clear()  # of a group that was given up
        self._parts.append(part.data)
        if part.left:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        return decode_group(whole)
