"""The types a setting can have: what they are made of, which bounds they carry, and how they are called in messages."""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import functools
import operator
import re
import types
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from accord.errors import Place
from accord.settings.durations import DURATION_EXAMPLE, SIZE_EXAMPLE
from accord.settings.node import Node
from accord.settings.secret import Secret

_BYTES = "bytes"
Size = Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"x-unit": _BYTES})]
"""A number of bytes, written ``10MB``."""

_SEQUENCES = (list, tuple, set, frozenset, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)


class SettingField(msgspec.Struct, frozen=True):
    """One key of a Struct as it is written in YAML."""

    key: str
    name: str
    type: Any
    is_required: bool
    default: Any = msgspec.NODEFAULT


@functools.cache
def setting_fields(struct: type[msgspec.Struct]) -> tuple[SettingField, ...]:
    """The keys of a Struct as written in YAML, without its Place fields."""
    found = []
    for info in msgspec.structs.fields(struct):
        if info.type is Place:
            continue
        key = info.encode_name
        if key == info.name:
            key = key.rstrip("_")
        default = info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default
        found.append(SettingField(key, info.name, info.type, info.required, default))
    return tuple(found)


@functools.cache
def place_fields(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(info.name for info in msgspec.structs.fields(struct) if info.type is Place)


def is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def is_sequence_type(type_: Any) -> bool:
    return (get_origin(type_) or type_) in _SEQUENCES


def is_mapping_type(type_: Any) -> bool:
    return (get_origin(type_) or type_) in _MAPPINGS


def is_union(type_: Any) -> bool:
    return get_origin(type_) in (Union, types.UnionType)


def split_annotated(type_: Any) -> tuple[Any, list[msgspec.Meta]]:
    """``Annotated[int, Meta(ge=1)]`` to int and its constraints."""
    if get_origin(type_) is Annotated:
        inner, *extras = get_args(type_)
        return inner, [extra for extra in extras if isinstance(extra, msgspec.Meta)]
    return type_, []


def is_size(metas: list[msgspec.Meta]) -> bool:
    return any((meta.extra_json_schema or {}).get("x-unit") == _BYTES for meta in metas)


_WIDE = Context(prec=1000)  # enough digits for any number a node can hold

_BOUNDS: dict[str, tuple[str, Callable[[Decimal, Decimal], bool]]] = {
    "ge": ("must be at least", operator.ge),
    "gt": ("must be more than", operator.gt),
    "le": ("must be at most", operator.le),
    "lt": ("must be less than", operator.lt),
    "multiple_of": ("must be a multiple of", lambda value, step: _WIDE.remainder(value, step) == 0),
}


def broken_constraint(value: Any, meta: msgspec.Meta) -> str:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        exact = Decimal(str(value))
        for name, (words, holds) in _BOUNDS.items():
            bound = getattr(meta, name)
            if bound is not None and not holds(exact, Decimal(str(bound))):
                return f"{words} {bound}"
    if isinstance(value, collections.abc.Sized):
        unit = "characters" if isinstance(value, str) else "entries"
        if meta.min_length is not None and len(value) < meta.min_length:
            return "must not be empty" if meta.min_length == 1 else f"must have at least {meta.min_length} {unit}"
        if meta.max_length is not None and len(value) > meta.max_length:
            return f"must have at most {meta.max_length} {unit}"
    if meta.pattern is not None and isinstance(value, str) and not re.search(meta.pattern, value):
        hint = (meta.extra_json_schema or {}).get("x-hint")
        return f"must be {hint}" if hint else f"must match the pattern {meta.pattern}"
    return ""


_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
    Decimal: "a number",
    type(None): "nothing",
    Secret: "a secret reference ${secret:NAME}",
    dt.timedelta: f"a duration like {DURATION_EXAMPLE}",
    dt.date: "a day like 2026-01-31",
    dt.datetime: "an instant with its zone, like 2026-01-31T09:00:00+01:00",
    dt.time: "a time of day like 09:30",
    Any: "any value",
    Node: "any value",
}


def describe_type(type_: Any) -> str:
    """What a type takes, in words: "a whole number", "one of a, b"."""
    type_, metas = split_annotated(type_)
    if is_size(metas):
        return f"a size like {SIZE_EXAMPLE}"
    if is_union(type_):
        return " or ".join(dict.fromkeys(describe_type(m) for m in get_args(type_) if m is not type(None)))
    if get_origin(type_) is Literal:
        values: list[Any] = list(get_args(type_))
    elif isinstance(type_, type) and issubclass(type_, enum.Enum):
        values = [member.value for member in type_]
    elif is_struct(type_) or is_mapping_type(type_):
        return "a mapping"
    elif is_sequence_type(type_):
        return "a list"
    else:
        return _WORDS.get(type_, getattr(type_, "__name__", str(type_)))
    return f"'{values[0]}'" if len(values) == 1 else "one of " + ", ".join(str(v) for v in values)
