"""Keys of records as text: the ordering key of a message, the two ends of a cross-reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from accord.errors import RecordError
from accord.record import Field, Object
from accord.record.types import Enum, Integer, String

SEPARATOR = "/"


def key_text(record: Any, key: tuple[str, ...]) -> str:
    """The key fields' values as text, joined with '/' in the key's order; '' when one of them is absent or null.

    Works on typed records and on plain JSON data alike: integers and text become themselves.
    """
    if not isinstance(record, dict) or not key:
        return ""
    values = [record.get(name) for name in key]
    if None in values:
        return ""
    return SEPARATOR.join([value if isinstance(value, str) else str(value) for value in values])


_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_SAME_AS_TEXT = (String, Integer, Enum)


def compile_key(
    paths: tuple[str, ...], fields: dict[str, Field], slow: Callable[[bytes], str] | None
) -> Callable[[bytes, str], str]:
    """A function from a record's JSON to its ordering key, or the fallback. It never raises.

    Dotted ``paths`` to text or integers are picked out of the JSON without decoding the rest; anything else takes ``slow``,
    which decodes the record and evaluates the key.
    """
    if paths and all(_is_plain(path, fields) for path in paths):
        return _picker(paths)

    def of(body: bytes, fallback: str) -> str:
        try:
            return (slow(body) if slow is not None else "") or fallback
        except (RecordError, msgspec.MsgspecError):
            return fallback

    return of


def is_path(text: str) -> bool:
    return _PATH.match(text) is not None


def _is_plain(path: str, fields: dict[str, Field]) -> bool:
    *outer, last = path.split(".")
    for name in outer:
        field = fields.get(name)
        if field is None or not isinstance(field.type, Object):
            return False
        fields = field.type.fields
    return last in fields and isinstance(fields[last].type, _SAME_AS_TEXT)


def _picker(paths: tuple[str, ...]) -> Callable[[bytes, str], str]:
    tops = list(dict.fromkeys(path.split(".")[0] for path in paths))
    shape = msgspec.defstruct(
        "Key", [(f"k{i}", Any, None) for i in range(len(tops))], rename={f"k{i}": top for i, top in enumerate(tops)}
    )
    decoder = msgspec.json.Decoder(shape)
    walks = [(f"k{tops.index(path.split('.')[0])}", tuple(path.split(".")[1:])) for path in paths]

    def of_one(body: bytes, fallback: str) -> str:
        try:
            found: Any = decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return fallback
        value = found.k0
        kind = type(value)  # what JSON gives: a boolean is no integer here
        return (value or fallback) if kind is str else str(value) if kind is int else fallback

    if len(paths) == 1 and "." not in paths[0]:
        return of_one  # what nearly every key is

    def of(body: bytes, fallback: str) -> str:
        try:
            found = decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return fallback
        values = []
        for slot, names in walks:
            value = getattr(found, slot)
            for name in names:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                return fallback
            values.append(str(value))
        return SEPARATOR.join(values)

    return of
