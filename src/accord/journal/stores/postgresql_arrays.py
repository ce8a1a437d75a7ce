"""Arrays as PostgreSQL takes them on the wire (binary format of ``array_send``): a group's values travel as a few parameters.

The layout is that of PostgreSQL's ``src/backend/utils/adt/arrayfuncs.c``: number of dimensions, has-null flag, element type,
length, lower bound; then for each element its length in bytes (-1: null) and its bytes; all big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")
_BIGINT = struct.Struct(">iq")
_NULL = _LENGTH.pack(-1)
_TEXT_OID, _BYTEA_OID, _BIGINT_OID = 25, 17, 20
# PostgreSQL's text cannot hold U+0000. Where a key has one, a private-use character stands for it; bodies keep theirs.
_NUL, _NUL_SHOWN = "\x00", "\uf8ff"


class Texts(bytes):
    """text[]"""


class Blobs(bytes):
    """bytea[]"""


class Bigints(bytes):
    """bigint[]"""


class _Ready(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


class _TextsDumper(_Ready):
    oid = 1009


class _BlobsDumper(_Ready):
    oid = 1001


class _BigintsDumper(_Ready):
    oid = 1016


def register(connection: AsyncConnection[Any]) -> None:
    connection.adapters.register_dumper(Texts, _TextsDumper)
    connection.adapters.register_dumper(Blobs, _BlobsDumper)
    connection.adapters.register_dumper(Bigints, _BigintsDumper)


def storable(text: str) -> str:
    return text.replace(_NUL, _NUL_SHOWN) if _NUL in text else text


def texts(values: Iterable[str | None]) -> Texts:
    """Raises UnicodeEncodeError for text that is no Unicode."""
    return Texts(_array(_TEXT_OID, [None if v is None else storable(v).encode() for v in values]))


def blobs(values: Sequence[bytes | None]) -> Blobs:
    return Blobs(_array(_BYTEA_OID, values))


def bigints(values: Sequence[int | None]) -> Bigints:
    """Raises OverflowError for what does not fit into 64 bits."""
    try:
        parts = [_NULL if v is None else _BIGINT.pack(8, v) for v in values]
    except struct.error as error:
        raise OverflowError(str(error)) from error
    return Bigints(_header(_BIGINT_OID, len(values), None in values) + b"".join(parts))


def _array(oid: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_header(oid, len(values), None in values)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(_LENGTH.pack(len(value)))
            parts.append(value)
    return b"".join(parts)


def _header(oid: int, length: int, has_null: bool) -> bytes:
    if not length:
        return struct.pack(">iiI", 0, 0, oid)
    return _HEADER.pack(1, int(has_null), oid, length, 1)
