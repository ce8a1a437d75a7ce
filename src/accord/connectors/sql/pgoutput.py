"""PostgreSQL's logical replication messages (plugin ``pgoutput``, protocol version 1), bytes to values. Pure.

Source: PostgreSQL manual, "Logical Replication Message Formats" and "Streaming Replication Protocol". Numbers are big-endian, texts
end with a NUL. Version 1 sends a transaction when it has committed; the server spills what does not fit into its memory, so a
transaction of any size passes here one row at a time.
"""

from __future__ import annotations

import struct
import time
from typing import Final, TypeAlias

import msgspec

EPOCH_UNIX_US = 946_684_800_000_000  # 2000-01-01, from which the server counts microseconds


class _Unchanged:
    """A large value that is stored out of line and that the update did not touch: the server does not send it."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()
Values: TypeAlias = list[bytes | _Unchanged | None]


class WalData(msgspec.Struct, frozen=True):
    start_lsn: int
    end_lsn: int
    message: bytes


class Keepalive(msgspec.Struct, frozen=True):
    """Everything before ``end_lsn`` has been sent."""

    end_lsn: int
    wants_reply: bool


class Begin(msgspec.Struct, frozen=True):
    final_lsn: int
    commit_time_us: int
    xid: int


class Commit(msgspec.Struct, frozen=True):
    lsn: int
    end_lsn: int


class Column(msgspec.Struct, frozen=True):
    name: str
    type_oid: int
    type_modifier: int
    is_key: bool


class Relation(msgspec.Struct, frozen=True):
    """``identity``: ``pg_class.relreplident``: d primary key, i an index, f the whole row, n nothing."""

    oid: int
    schema: str
    table: str
    identity: str
    columns: tuple[Column, ...]


class Row(msgspec.Struct, frozen=True):
    """``kind``: I, U or D. ``old_is_key``: of the old row only the identity's columns are given, the others are None."""

    kind: str
    oid: int
    new: Values | None
    old: Values | None
    old_is_key: bool = False


class Truncate(msgspec.Struct, frozen=True):
    oids: tuple[int, ...]


Message: TypeAlias = Begin | Commit | Relation | Row | Truncate | None


class ProtocolError(ValueError):
    """The bytes are no message of this protocol."""


_WAL = struct.Struct(">QQq").unpack_from
_KEEPALIVE = struct.Struct(">QqB").unpack_from
_BEGIN = struct.Struct(">QqI").unpack_from
_COMMIT = struct.Struct(">BQQq").unpack_from
_COLUMN = struct.Struct(">Ii").unpack_from
_INT32 = struct.Struct(">I").unpack_from
_INT16 = struct.Struct(">H").unpack_from
_STATUS = struct.Struct(">cQQQqB").pack
_NULL, _TEXT, _UNCHANGED, _BINARY = b"ntub"
_NEW, _KEY, _OLD = b"NKO"


def decode_frame(data: bytes) -> WalData | Keepalive:
    """What stands in one CopyData message of the server."""
    try:
        if data[:1] == b"w":
            start, end, _ = _WAL(data, 1)
            return WalData(start, end, data[25:])
        if data[:1] == b"k":
            end, _, reply = _KEEPALIVE(data, 1)
            return Keepalive(end, reply == 1)
    except struct.error as error:
        raise ProtocolError(f"a truncated frame: {error}") from None
    raise ProtocolError(f"an unknown frame {data[:1]!r}")


def encode_status(written_lsn: int, flushed_lsn: int, *, now_us: int | None = None) -> bytes:
    """Standby status update: the server may forget everything before ``flushed_lsn``."""
    unix_us = time.time_ns() // 1000 if now_us is None else now_us
    return _STATUS(b"r", written_lsn, flushed_lsn, flushed_lsn, unix_us - EPOCH_UNIX_US, 0)


def decode_message(data: bytes) -> Message:
    """None for messages that tell nothing of rows (types, origins, logical messages). Raises ProtocolError."""
    try:
        match data[:1]:
            case b"I" | b"U" | b"D":
                return _row(data)
            case b"B":
                return Begin(*_BEGIN(data, 1))
            case b"C":
                _, lsn, end_lsn, _ = _COMMIT(data, 1)
                return Commit(lsn, end_lsn)
            case b"R":
                return _relation(data)
            case b"T":
                count, _ = struct.unpack_from(">IB", data, 1)
                return Truncate(struct.unpack_from(f">{count}I", data, 6))
            case b"Y" | b"O" | b"M":
                return None
    except (struct.error, IndexError, ValueError) as error:
        raise ProtocolError(f"a truncated message {data[:1]!r}: {error}") from None
    raise ProtocolError(f"an unknown message {data[:1]!r}")


def _row(data: bytes) -> Row:
    kind = chr(data[0])
    (oid,) = _INT32(data, 1)
    at, new, old, old_is_key = 5, None, None, False
    while at < len(data):
        what = data[at]
        values, at = _values(data, at + 1)
        if what == _NEW:
            new = values
        elif what in (_KEY, _OLD):
            old, old_is_key = values, what == _KEY
        else:
            raise ProtocolError(f"an unknown part {what:#x} of a row")
    return Row(kind, oid, new, old, old_is_key)


def _values(data: bytes, at: int) -> tuple[Values, int]:
    (count,) = _INT16(data, at)
    at += 2
    values: Values = []
    add = values.append
    for _ in range(count):
        form = data[at]
        if form == _TEXT:
            (size,) = _INT32(data, at + 1)
            at += 5 + size
            if at > len(data):
                raise ProtocolError("a truncated value")
            add(data[at - size : at])
            continue
        at += 1
        if form == _NULL:
            add(None)
        elif form == _UNCHANGED:
            add(UNCHANGED)
        else:
            raise ProtocolError("a value in binary, which was not asked for" if form == _BINARY else "an unknown value")
    return values, at


def _relation(data: bytes) -> Relation:
    (oid,) = _INT32(data, 1)
    schema, at = _text(data, 5)
    table, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _INT16(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        is_key = bool(data[at] & 1)
        name, at = _text(data, at + 1)
        type_oid, modifier = _COLUMN(data, at)
        columns.append(Column(name, type_oid, modifier, is_key))
        at += 8
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it: ``16/B374D848``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_of(text: str) -> int:
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
