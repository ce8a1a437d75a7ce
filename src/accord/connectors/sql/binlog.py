"""Events of the binary log of MariaDB and MySQL, bytes to values. Pure.

Source: MariaDB manual, "Replication Protocol"; MySQL internals, "Binlog Event". Numbers are little-endian. An event is a header of 19
bytes, a body by its type, and a CRC32 if the format description says so. Rows come as a table map (which columns, and with
``binlog_row_metadata = FULL`` their names) and events of rows that refer to it by number. ``binlog_values`` reads the rows themselves.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TypeAlias

import msgspec

_ROWS = {  # event type: kind, second version of the header, compressed (MariaDB's log_bin_compress)
    **{kind: (letter, False, False) for kind, letter in zip((23, 24, 25), "IUD", strict=True)},
    **{kind: (letter, True, False) for kind, letter in zip((30, 31, 32), "IUD", strict=True)},
    **{kind: (letter, False, True) for kind, letter in zip((166, 167, 168), "IUD", strict=True)},
    **{kind: (letter, True, True) for kind, letter in zip((169, 170, 171), "IUD", strict=True)},
}
_UNREADABLE = {
    39: "a partial update of JSON; run: SET GLOBAL binlog_row_value_options = ''",
    40: "a compressed transaction; run: SET GLOBAL binlog_transaction_compression = OFF",
    17: "a LOAD DATA written as a statement; run: SET GLOBAL binlog_format = 'ROW'",
    18: "a LOAD DATA written as a statement; run: SET GLOBAL binlog_format = 'ROW'",
}
_PREPARED_XA = 64  # flag of a MariaDB GTID: XA PREPARE; whether it commits is told later
_STANDALONE = 1  # flag of a MariaDB GTID: one statement, no COMMIT follows


class Kind:
    """Types of events that are read; ``_ROWS`` has those of rows."""

    QUERY, ROTATE, FORMAT, END, TABLE_MAP, HEARTBEAT = 2, 4, 15, 16, 19, 27
    GTID, ANONYMOUS_GTID, PREPARED_XA, HEARTBEAT_2 = 33, 34, 38, 41  # MySQL's
    MARIA_GTID, MARIA_QUERY_COMPRESSED = 162, 165


class ProtocolError(ValueError):
    """The bytes are no event of this protocol."""


class Rotate(msgspec.Struct, frozen=True):
    """From here on events are of the log ``file``, from ``position``."""

    file: str
    position: int


class Format(msgspec.Struct, frozen=True):
    has_checksum: bool
    table_id_bytes: int


class Gtid(msgspec.Struct, frozen=True):
    """A group begins. ``text``: MariaDB's ``domain-server-sequence``, MySQL's ``uuid:number``, or '' of an anonymous one."""

    text: str
    is_standalone: bool
    is_prepared_xa: bool = False


class Query(msgspec.Struct, frozen=True):
    database: str
    text: str


class End(msgspec.Struct, frozen=True):
    """A transaction of InnoDB has committed."""


class TableMap(msgspec.Struct, frozen=True):
    """``definition``: everything after the names; equal for as long as the table is the same."""

    table_id: int
    database: str
    table: str
    definition: bytes


class Rows(msgspec.Struct, frozen=True):
    """``kind``: I, U or D. ``present`` and ``present_after``: bitmaps of the columns that the images hold. ``data``: the rows."""

    kind: str
    table_id: int
    columns_count: int
    present: bytes
    present_after: bytes
    data: bytes


class Idle(msgspec.Struct, frozen=True):
    """A sign of life, or an event that tells nothing of rows."""

    is_heartbeat: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """What the log holds and this reader cannot tell as rows; ``what`` names the cure."""

    what: str


Body: TypeAlias = Rotate | Format | Gtid | Query | End | TableMap | Rows | Idle | Unreadable


class Event(msgspec.Struct, frozen=True):
    """``end``: the position in the file after it; 0 of those the server makes up for this stream."""

    at_s: int
    end: int
    body: Body


_HEADER = struct.Struct("<IBIIIH").unpack_from
HEADER_BYTES = 19


class Decoder:
    """Remembers what the format description says."""

    def __init__(self, has_checksum: bool) -> None:
        self._has_checksum = has_checksum

    def decode(self, data: bytes) -> Event:
        """Raises ProtocolError."""
        try:
            at_s, kind, server, _, end, _ = _HEADER(data)
            has_checksum = _checksum_of(data) if kind == Kind.FORMAT else self._has_checksum
            body = data[HEADER_BYTES : len(data) - 4 if has_checksum else len(data)]
            if kind == Kind.FORMAT:
                self._has_checksum = has_checksum
            return Event(at_s, end, _body(kind, server, body))
        except (struct.error, IndexError, ValueError, zlib.error) as error:
            raise ProtocolError(f"a truncated or unknown event: {error}") from None


def _body(kind: int, server: int, body: bytes) -> Body:
    if kind in _ROWS:
        return _rows(*_ROWS[kind], body)
    match kind:
        case Kind.TABLE_MAP:
            return _table_map(body)
        case Kind.END:
            return End()
        case Kind.QUERY | Kind.MARIA_QUERY_COMPRESSED:
            return _query(body, is_compressed=kind == Kind.MARIA_QUERY_COMPRESSED)
        case Kind.MARIA_GTID:
            sequence, domain, flags = struct.unpack_from("<QIB", body)
            return Gtid(f"{domain}-{server}-{sequence}", bool(flags & _STANDALONE), bool(flags & _PREPARED_XA))
        case Kind.GTID:
            (number,) = struct.unpack_from("<q", body, 17)
            return Gtid(f"{body[1:17].hex()}:{number}", False)
        case Kind.ANONYMOUS_GTID:
            return Gtid("", False)
        case Kind.PREPARED_XA:
            return Unreadable("a prepared XA transaction, whose end is told apart from its rows")
        case Kind.ROTATE:
            (position,) = struct.unpack_from("<Q", body)
            return Rotate(body[8:].decode(), position)
        case Kind.HEARTBEAT | Kind.HEARTBEAT_2:
            return Idle(is_heartbeat=True)
        case _ if kind in _UNREADABLE:
            return Unreadable(_UNREADABLE[kind])
        case 1 | 3 | 5 | 13 | 14 | 15 | 26 | 28 | 29 | 35 | 36 | 37 | 160 | 161 | 163 | 164:
            return Idle()
        case _:
            return Unreadable(f"an event of type {kind}, which is not known")


def _checksum_of(data: bytes) -> bool:
    """The algorithm's byte stands before the format description's own CRC32, which is there in either case (servers since 5.6)."""
    version = data[HEADER_BYTES + 2 : HEADER_BYTES + 52].split(b"\0")[0].decode()
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return numbers >= (5, 6, 1) and data[-5] == 1


def _table_map(body: bytes) -> TableMap:
    table_id = int.from_bytes(body[:6], "little")
    at = 8
    size = body[at]
    database = body[at + 1 : at + 1 + size].decode()
    at += size + 2
    size = body[at]
    table = body[at + 1 : at + 1 + size].decode()
    return TableMap(table_id, database, table, body[at + size + 2 :])


def _rows(kind: str, has_extra: bool, is_compressed: bool, body: bytes) -> Rows:
    table_id = int.from_bytes(body[:6], "little")
    at = 8
    if has_extra:
        at += int.from_bytes(body[8:10], "little")
    count, at = packed_integer(body, at)
    size = (count + 7) // 8
    present = present_after = body[at : at + size]
    at += size
    if kind == "U":
        present_after = body[at : at + size]
        at += size
    data = body[at:]
    return Rows(kind, table_id, count, present, present_after, _expanded(data) if is_compressed else data)


def _query(body: bytes, *, is_compressed: bool) -> Query:
    _, _, name_size, _, status_size = struct.unpack_from("<IIBHH", body)
    at = 13 + status_size
    database = body[at : at + name_size].decode()
    text = body[at + name_size + 1 :]
    return Query(database, (_expanded(text) if is_compressed else text).decode(errors="replace"))


def _expanded(data: bytes) -> bytes:
    """MariaDB's compressed part: a byte (high bit, algorithm, how many bytes the length has), the length, zlib."""
    if data[0] & 0x70:
        raise ProtocolError("a compression that is not known")
    return zlib.decompress(data[1 + (data[0] & 7) :])


def packed_integer(data: bytes, at: int) -> tuple[int, int]:
    """A length-encoded integer and where it ends."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size
