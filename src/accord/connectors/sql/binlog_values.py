"""Rows of the binary log to the values PyMySQL gives for the same columns, so that a change and a read agree. Pure.

Source: MySQL internals, "Table_map event" and "Rows event"; the forms of numbers, times and decimals are those of the storage
engines' row format. Columns whose stored form is the server's own (MySQL's JSON, UUID, INET6, geometry …) are skipped: their value is
``HOLE``.
"""

from __future__ import annotations

import datetime as dt
import decimal
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from accord.connectors.sql.binlog import ProtocolError, packed_integer


class _Hole:
    """A value that the log holds in a form only the server reads."""

    def __repr__(self) -> str:
        return "HOLE"


HOLE: Final = _Hole()
Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]  # the value, and where it ends


class Kind:
    """Types of columns, by the numbers that the log has for them."""

    TINY, SHORT, LONG, FLOAT, DOUBLE = 1, 2, 3, 4, 5
    TIMESTAMP, LONGLONG, INT24, DATE, YEAR, NEWDATE = 7, 8, 9, 10, 13, 14
    VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 15, 16, 17, 18, 19
    BLOB_COMPRESSED, VARCHAR_COMPRESSED = 140, 141
    JSON, NEWDECIMAL, ENUM, SET, BLOB, VAR_STRING, STRING, GEOMETRY = 245, 246, 247, 248, 252, 253, 254, 255


_NUMERIC = {
    Kind.TINY,
    Kind.SHORT,
    Kind.INT24,
    Kind.LONG,
    Kind.LONGLONG,
    Kind.NEWDECIMAL,
    Kind.FLOAT,
    Kind.DOUBLE,
    Kind.YEAR,
}
_TEXTUAL = {Kind.STRING, Kind.VAR_STRING, Kind.VARCHAR, Kind.BLOB, Kind.VARCHAR_COMPRESSED, Kind.BLOB_COMPRESSED}
_META_BYTES = {
    **dict.fromkeys((Kind.FLOAT, Kind.DOUBLE, Kind.TIMESTAMP2, Kind.DATETIME2, Kind.TIME2), 1),
    **dict.fromkeys((Kind.BLOB, Kind.JSON, Kind.GEOMETRY, Kind.BLOB_COMPRESSED), 1),
    **dict.fromkeys((Kind.VARCHAR, Kind.BIT, Kind.NEWDECIMAL, Kind.STRING, Kind.VAR_STRING), 2),
    **dict.fromkeys((Kind.ENUM, Kind.SET, Kind.VARCHAR_COMPRESSED), 2),
}
_BINARY = 63  # the collation's number


class LogColumn(msgspec.Struct):
    """``meta``: the type's own, as the log gives it (Kind.STRING, Kind.BIT and Kind.NEWDECIMAL: two bytes, else a number)."""

    kind: int
    meta: int
    name: str = ""
    is_unsigned: bool = False
    collation: int = 0
    values: tuple[bytes, ...] = ()


def columns_of(definition: bytes) -> list[LogColumn]:
    """The columns of a table map. Without full metadata their names are ''. Raises ProtocolError."""
    try:
        count, at = packed_integer(definition, 0)
        kinds = definition[at : at + count]
        _, at = packed_integer(definition, at + count)
        columns = []
        for kind in kinds:
            size = _META_BYTES.get(kind, 0)
            raw = definition[at : at + size]
            at += size
            order = "big" if kind in (Kind.STRING, Kind.VAR_STRING, Kind.ENUM, Kind.SET, Kind.NEWDECIMAL) else "little"
            meta = int.from_bytes(raw, order)  # type: ignore[arg-type]
            real = meta >> 8
            columns.append(LogColumn(real if kind == Kind.STRING and real in (Kind.ENUM, Kind.SET) else kind, meta))
        _annotate(columns, definition, at + (count + 7) // 8)
    except (IndexError, ValueError, KeyError) as error:
        raise ProtocolError(f"a truncated table map: {error}") from None
    return columns


def _annotate(columns: Sequence[LogColumn], data: bytes, at: int) -> None:
    """The optional metadata: type, length, value."""
    texts = [c for c in columns if c.kind in _TEXTUAL]
    choices = [c for c in columns if c.kind in (Kind.ENUM, Kind.SET)]
    while at < len(data):
        what = data[at]
        size, at = packed_integer(data, at + 1)
        value = data[at : at + size]
        at += size
        match what:
            case 1:
                bits = [value[i // 8] >> (7 - i % 8) & 1 for i in range(len(value) * 8)]
                for column, bit in zip((c for c in columns if c.kind in _NUMERIC), bits, strict=False):
                    column.is_unsigned = bool(bit)
            case 2 | 10:
                _default_collations(texts if what == 2 else choices, value)
            case 3 | 11:
                for column, number in zip(texts if what == 3 else choices, _numbers(value), strict=False):
                    column.collation = number
            case 4:
                for column, name in zip(columns, _strings(value), strict=False):
                    column.name = name.decode()
            case 5 | 6:
                wanted = [c for c in choices if c.kind == (Kind.SET if what == 5 else Kind.ENUM)]
                place = 0
                for column in wanted:
                    count, place = packed_integer(value, place)
                    found = []
                    for _ in range(count):
                        length, place = packed_integer(value, place)
                        found.append(value[place : place + length])
                        place += length
                    column.values = tuple(found)


def _default_collations(columns: Sequence[LogColumn], value: bytes) -> None:
    """The most frequent one, then pairs of a column's number among its like and its own."""
    default, *pairs = _numbers(value)
    for column in columns:
        column.collation = default
    for index, number in zip(pairs[::2], pairs[1::2], strict=True):
        columns[index].collation = number


def _numbers(value: bytes) -> list[int]:
    found, at = [], 0
    while at < len(value):
        number, at = packed_integer(value, at)
        found.append(number)
    return found


def _strings(value: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(value):
        size, at = packed_integer(value, at)
        found.append(value[at : at + size])
        at += size
    return found


class RowReader:
    """Reads rows of one table map. ``encodings``: Python's encoding by the collation's number; ``opaque``: names of columns that are
    skipped; ``uuids``: those of MariaDB's type UUID; ``places``: decimal places by column of FLOAT(m, d)."""

    def __init__(
        self,
        columns: Sequence[LogColumn],
        encodings: Mapping[int, str],
        opaque: frozenset[str] = frozenset(),
        uuids: frozenset[str] = frozenset(),
        places: Mapping[str, int] | None = None,
    ) -> None:
        self.columns = columns
        self._readers = [_reader(column, encodings, (places or {}).get(column.name)) for column in columns]
        for index, column in enumerate(columns):
            if column.name in opaque:
                self._readers[index] = _skipping(self._readers[index])
            elif column.name in uuids:
                self._readers[index] = _uuid(self._readers[index])

    def row(self, data: bytes, at: int, present: bytes) -> tuple[list[Any], int]:
        """One image and where it ends. Columns that are not in it are ``HOLE``. Raises ProtocolError, ValueError."""
        count = len(self._readers)
        mask = int.from_bytes(present, "little") & (1 << count) - 1
        held = mask.bit_count()
        size = (held + 7) // 8
        nulls = int.from_bytes(data[at : at + size], "little")
        at += size
        values: list[Any] = []
        add = values.append
        try:
            if held == count:
                for reader in self._readers:
                    if nulls & 1:
                        add(None)
                    else:
                        value, at = reader(data, at)
                        add(value)
                    nulls >>= 1
                return values, at
            for index, reader in enumerate(self._readers):
                if not mask >> index & 1:
                    add(HOLE)
                    continue
                if nulls & 1:
                    add(None)
                else:
                    value, at = reader(data, at)
                    add(value)
                nulls >>= 1
        except (IndexError, struct.error) as error:
            raise ProtocolError(f"a truncated row: {error}") from None
        return values, at


def _skipping(reader: Reader) -> Reader:
    def skip(data: bytes, at: int) -> tuple[Any, int]:
        return HOLE, reader(data, at)[1]

    return skip


def _uuid(reader: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        raw, end = reader(data, at)
        return str(uuid.UUID(bytes=raw)), end

    return read


_INTEGERS = {Kind.TINY: 1, Kind.SHORT: 2, Kind.INT24: 3, Kind.LONG: 4, Kind.LONGLONG: 8}


def _reader(column: LogColumn, encodings: Mapping[int, str], places: int | None) -> Reader:
    kind, meta = column.kind, column.meta
    if kind in _INTEGERS:
        return _integer(_INTEGERS[kind], column.is_unsigned)
    match kind:
        case Kind.FLOAT:
            return _float(places)
        case Kind.DOUBLE:
            return lambda data, at: (struct.unpack_from("<d", data, at)[0], at + 8)
        case Kind.NEWDECIMAL:
            return _decimal(meta >> 8, meta & 0xFF)
        case Kind.VARCHAR | Kind.VAR_STRING:
            return _text(2 if meta > 255 else 1, encodings.get(column.collation, ""), column.collation)
        case Kind.STRING:
            longest = (((meta >> 4) & 0x300) ^ 0x300) + (meta & 0xFF)
            width = longest if column.collation == _BINARY else 0
            return _text(2 if longest > 255 else 1, encodings.get(column.collation, ""), column.collation, width)
        case Kind.BLOB:
            return _text(meta, encodings.get(column.collation, ""), column.collation)
        case Kind.ENUM | Kind.SET:
            return _choice(column, encodings.get(column.collation, ""))
        case Kind.BIT:
            size = ((meta >> 8) * 8 + (meta & 0xFF) + 7) // 8
            return lambda data, at: (data[at : at + size], at + size)
        case Kind.JSON | Kind.GEOMETRY | Kind.BLOB_COMPRESSED:
            return _skipping(_text(meta, "", _BINARY))
        case Kind.VARCHAR_COMPRESSED:
            return _skipping(_text(2 if meta > 255 else 1, "", _BINARY))
        case Kind.YEAR:
            return lambda data, at: (data[at] + 1900 if data[at] else 0, at + 1)
        case _:
            return _moment(kind, meta)


def _integer(size: int, is_unsigned: bool) -> Reader:
    codes = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}
    if size in codes:
        unpack = struct.Struct("<" + codes[size][is_unsigned]).unpack_from
        return lambda data, at: (unpack(data, at)[0], at + size)
    return lambda data, at: (int.from_bytes(data[at : at + 3], "little", signed=not is_unsigned), at + 3)


def _float(places: int | None) -> Reader:
    """The server writes a Kind.FLOAT with six digits, or with the places of FLOAT(m, d)."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (value,) = struct.unpack_from("<f", data, at)
        return (float(f"{value:.6g}") if places is None else round(value, places)), at + 4

    return read


def _text(size: int, encoding: str, collation: int, width: int = 0) -> Reader:
    """``width``: of BINARY, whose zeros at the end the log leaves out. Without a known encoding a text is a hole."""
    is_known = bool(encoding) or collation == _BINARY

    def read(data: bytes, at: int) -> tuple[Any, int]:
        start = at + size
        end = start + (data[at] if size == 1 else int.from_bytes(data[at:start], "little"))
        if end > len(data):
            raise ProtocolError("a truncated value")
        raw = data[start:end]
        if encoding:
            try:
                return raw.decode(encoding), end
            except UnicodeDecodeError:  # the server knows characters that Python's table lacks
                return HOLE, end
        return (raw.ljust(width, b"\0") if is_known else HOLE), end

    return read


def _choice(column: LogColumn, encoding: str) -> Reader:
    """ENUM: the number of the value; Kind.SET: a bit for each."""
    size = column.meta & 0xFF
    values = [value.decode(encoding) for value in column.values] if encoding else []
    is_set = column.kind == Kind.SET

    def read(data: bytes, at: int) -> tuple[Any, int]:
        number = int.from_bytes(data[at : at + size], "little")
        end = at + size
        if is_set:
            if number >> len(values):
                return HOLE, end
            return ",".join(value for i, value in enumerate(values) if number >> i & 1), end
        if number > len(values):
            return HOLE, end
        return ("" if number == 0 else values[number - 1]), end

    return read


_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def _decimal(precision: int, scale: int) -> Reader:
    """Groups of nine digits in four bytes, big-endian, the rest in fewer; the sign is the inverted first bit, negative ones are
    inverted altogether."""
    whole, whole_rest = divmod(precision - scale, 9)
    part, part_rest = divmod(scale, 9)
    sizes = [
        (_DIGIT_BYTES[whole_rest], whole_rest),
        *[(4, 9)] * whole,
        *[(4, 9)] * part,
        (_DIGIT_BYTES[part_rest], part_rest),
    ]
    groups = [(size, digits) for size, digits in sizes if size]
    total = sum(size for size, _ in groups)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        raw = bytearray(data[at : at + total])
        is_negative = not raw[0] & 0x80
        raw[0] ^= 0x80
        if is_negative:
            raw = bytearray(byte ^ 0xFF for byte in raw)
        place, number = 0, 0
        for size, digits in groups:
            number = number * 10**digits + int.from_bytes(raw[place : place + size], "big")
            place += size
        sign = 1 if is_negative and number else 0
        return decimal.Decimal((sign, tuple(map(int, str(number))), -scale)), at + total

    return read


def _moment(kind: int, meta: int) -> Reader:
    fraction = (meta + 1) // 2
    scale = 10 ** (6 - 2 * fraction)
    match kind:
        case Kind.TIMESTAMP2:
            zero = _ZERO + "." * bool(meta) + "0" * meta
            return lambda d, a: (
                _instant(int.from_bytes(d[a : a + 4], "big"), _micro(d, a + 4, fraction), zero),
                a + 4 + fraction,
            )
        case Kind.DATETIME2:
            return lambda d, a: (
                _datetime2(int.from_bytes(d[a : a + 5], "big"), _micro(d, a + 5, fraction), meta),
                a + 5 + fraction,
            )
        case Kind.TIME2:
            size = 3 + fraction
            return lambda d, a: (_time2(int.from_bytes(d[a : a + size], "big"), fraction, scale), a + size)
        case Kind.TIMESTAMP:
            return lambda d, a: (_instant(int.from_bytes(d[a : a + 4], "little"), 0, _ZERO), a + 4)
        case Kind.DATE | Kind.NEWDATE:
            return lambda d, a: (_date(int.from_bytes(d[a : a + 3], "little")), a + 3)
        case _:  # the forms before 5.6 (11, 12) and what is not known: their length is not sure
            raise ProtocolError(f"a column of the type {kind}, which is not known; run: ALTER TABLE … FORCE")


def _micro(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big") * 10 ** (6 - 2 * size) if size else 0


_ZERO = "0000-00-00 00:00:00"


def _instant(seconds: int, micro: int, zero: str) -> Any:
    if seconds == 0 and micro == 0:
        return zero
    return dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds, microseconds=micro)


def _date(number: int) -> Any:
    year, month, day = number >> 9, number >> 5 & 15, number & 31
    try:
        return dt.date(year, month, day)
    except ValueError:
        return f"{year:04}-{month:02}-{day:02}"


def _datetime2(number: int, micro: int, digits: int) -> Any:
    number &= (1 << 39) - 1
    second, minute, hour, day = number & 63, number >> 6 & 63, number >> 12 & 31, number >> 17 & 31
    year, month = divmod(number >> 22, 13)
    try:
        return dt.datetime(year, month, day, hour, minute, second, micro)
    except ValueError:
        fraction = f".{micro:06}"[: digits + 1] if digits else ""
        return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}"


def _time2(number: int, fraction: int, scale: int) -> Any:
    """A sign, 10 bits of hours, 6 of minutes, 6 of seconds, then the fraction; negative ones are the complement of all of it."""
    bits = 24 + 8 * fraction
    number -= 1 << bits - 1
    sign, number = (-1, -number) if number < 0 else (1, number)
    part = number & (1 << 8 * fraction) - 1
    whole = number >> 8 * fraction
    value = dt.timedelta(
        hours=whole >> 12 & 1023,
        minutes=whole >> 6 & 63,
        seconds=whole & 63,
        microseconds=part * scale if fraction else 0,
    )
    return sign * value
