"""Walking JSON bodies: dotted paths into plain data, raw parts of a body, and ``{name}`` templates.

A path is names and list indexes with dots: ``data.items``, ``errors.0.message``; an empty path is the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.\-]*)\}")

_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_raw_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])

Lookup: TypeAlias = Callable[[str], Any]


class MissingValue(LookupError):
    """A template names a value that is absent or null; ``name`` says which."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


def value_at(value: Any, path: str) -> Any:
    """The value at a dotted path, or None where the path leads nowhere."""
    if not path:
        return value
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def raw_object(body: bytes) -> bytes | None:
    """The body itself when it is one JSON object, checked without building it; None otherwise."""
    if body[:64].lstrip()[:1] != b"{":
        return None
    try:
        _raw_decoder.decode(body)
        body.decode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return body


def raw_at(body: bytes, path: str) -> bytes | None:
    """The bytes of the part at ``path``, untouched (digits of numbers stay as sent); None where it leads nowhere.

    Raises msgspec.DecodeError when the body is not JSON."""
    raw = msgspec.Raw(body)
    for part in path.split(".") if path else ():
        first = bytes(raw)[:64].lstrip()[:1]
        if first == b"{":
            found = _raw_object_decoder.decode(raw).get(part)
        elif first == b"[" and part.isdigit():
            items = _raw_list_decoder.decode(raw)
            found = items[int(part)] if int(part) < len(items) else None
        else:
            found = None
        if found is None:
            return None
        raw = found
    return bytes(raw)


def raw_items(body: bytes) -> list[bytes]:
    """The elements of a JSON list, each untouched. Raises msgspec.DecodeError when it is none."""
    return [bytes(item) for item in _raw_list_decoder.decode(body)]


def placeholders(template: Any) -> set[str]:
    """Names in ``{braces}`` anywhere in a template (text, or plain data with text in it)."""
    if isinstance(template, str):
        return set(PLACEHOLDER.findall(template))
    if isinstance(template, Mapping):
        return set().union(*(placeholders(v) for v in template.values()))
    if isinstance(template, list | tuple):
        return set().union(*(placeholders(v) for v in template))
    return set()


def text_of(value: Any) -> str:
    """A value as it stands in an address or header: true/false, ISO 8601, exact digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)


def fill_path(template: str, look_up: Lookup) -> str:
    """An address path with its placeholders filled, each percent-encoded. Raises MissingValue."""
    return PLACEHOLDER.sub(lambda m: quote(_needed(m[1], look_up), safe=""), template)


def fill_text(template: str, look_up: Lookup) -> str:
    """A text with its placeholders filled. Raises MissingValue."""
    return PLACEHOLDER.sub(lambda m: _needed(m[1], look_up), template)


def fill_value(template: Any, look_up: Lookup) -> Any:
    """Plain data with placeholders filled; a text that is one placeholder only becomes the value itself, keeping its type,
    and null where it is absent. Raises MissingValue for a placeholder within a longer text."""
    if isinstance(template, str):
        only = PLACEHOLDER.fullmatch(template)
        return look_up(only[1]) if only else fill_text(template, look_up)
    if isinstance(template, Mapping):
        return {name: fill_value(value, look_up) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill_value(value, look_up) for value in template]
    return template


def _needed(name: str, look_up: Lookup) -> str:
    value = look_up(name)
    if value is None or value == "":
        raise MissingValue(name)
    return text_of(value)
