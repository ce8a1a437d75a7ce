"""Nodes into typed settings, every fault at once.

A type is a msgspec Struct or anything a Struct's field may hold (see ``decode``). Rules that differ from a plain JSON decoder:

* a key the Struct does not know is a fault with a suggestion, never ignored;
* nothing is converted silently: the number 7 is not the text '7', 1.0 is not a whole number, yes is not true;
* an empty value (``steps:``) is an empty mapping or list where one is expected;
* a field of type Place is filled with the place of its mapping and cannot be written;
* a field ``from_``, ``as_``, ``with_`` is written ``from``, ``as``, ``with``.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from accord.errors import Faults, did_you_mean
from accord.settings.durations import SIZE_EXAMPLE, parse_duration, parse_instant, parse_size
from accord.settings.node import Node, plain_scalar
from accord.settings.secret import Secret
from accord.settings.setting_types import (
    SettingField,
    Size,
    broken_constraint,
    describe_type,
    is_mapping_type,
    is_sequence_type,
    is_size,
    is_struct,
    is_union,
    place_fields,
    setting_fields,
    split_annotated,
)
from accord.settings.text import GivenText, MissingText, StandInText

__all__ = ["SettingField", "Size", "decode", "describe_type", "setting_fields"]

T = TypeVar("T")


class _Bad:
    """Stands for a value that could not be read; its faults are already recorded."""


_BAD = _Bad()


def decode(node: Node | None, type: type[T], faults: Faults, *, what: str = "") -> T | None:
    """``node`` as a value of ``type``, or None with every fault recorded; never raises for what the user wrote.

    ``type``: Struct (nested, or a union of tagged Structs), str, int, bool, Decimal, float, Literal, Enum, list, tuple, set,
    dict[str, T], unions, Secret, timedelta (``10m``), date, datetime, Size (``10MB``), Node (passes through), Any (plain data),
    each with msgspec Meta constraints. A ValueError of a Struct's ``__post_init__`` becomes a fault of its mapping; when its
    text starts with a key in backticks, of that key. ``what`` names the whole in messages: "the settings of 'shop'".

    A node that is None was not readable (``read_yaml`` has said why): the result is None without a further fault.
    """
    if node is None:
        return None
    value = _Reader(faults, what or "this file").read(node, type, "")
    return None if value is _BAD else cast(T, value)


_STAND_INS: dict[Any, Any] = {
    int: 1,
    float: 1.0,
    Decimal: Decimal(1),
    bool: False,
    dt.timedelta: dt.timedelta(seconds=1),
    dt.date: dt.date(2000, 1, 1),
    dt.datetime: dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
    dt.time: dt.time(0),
}


def _stand_in(type_: Any, text: str) -> Any:
    """A value of the type for a variable that is not set; its bounds are not asked, because nothing runs with it."""
    members = get_args(type_) if is_union(type_) else (type_,)
    for member in members:
        bare, _metas = split_annotated(member)
        if bare in (str, Any, object):
            return text
        if get_origin(bare) is Literal:
            return get_args(bare)[0]
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            return next(iter(bare))
        if bare in _STAND_INS:
            return _STAND_INS[bare]
    return None if type(None) in members else _BAD


class _Reader:
    def __init__(self, faults: Faults, what: str) -> None:
        self.faults = faults
        self.what = what

    def name(self, path: str) -> str:
        return f"`{path}`" if path else self.what

    def wrong(self, node: Node, path: str, expected: str, mend: str = "", *, shown: str = "") -> _Bad:
        what = f"{self.name(path)} must be {expected}, this is {shown or node.describe()}."
        self.faults.add("settings.wrong-type", node.place, what[0].upper() + what[1:], mend)
        return _BAD

    def read(self, node: Node, type_: Any, path: str) -> Any:
        type_, metas = split_annotated(type_)
        if type_ is Node:
            return node
        if isinstance(node.value, Secret):
            return self.secret(node, type_, path)
        if isinstance(node.value, MissingText):
            return _BAD
        if isinstance(node.value, StandInText):
            return _stand_in(type_, str(node.value))
        if isinstance(node.value, GivenText) and _takes_plain(type_) and not is_size(metas):
            node = Node(plain_scalar(node.value), node.place)
        if is_union(type_):
            value = self.union(node, get_args(type_), path)
        elif type_ is Any or type_ is object:
            value = self.anything(node, path)
        elif is_struct(type_):
            value = self.struct(node, type_, path)
        elif is_sequence_type(type_):
            value = self.sequence(node, type_, path)
        elif is_mapping_type(type_):
            value = self.mapping(node, type_, path)
        elif is_size(metas):
            value = self.size(node, path)
        else:
            value = self.scalar(node, type_, path)
        return value if value is _BAD else self.constrain(node, value, metas, path)

    def secret(self, node: Node, type_: Any, path: str) -> Any:
        members = get_args(type_) if is_union(type_) else (type_,)
        if Secret in members:
            return node.value
        self.faults.add(
            "settings.secret-misplaced",
            node.place,
            f"{self.name(path)} takes no secret: its value is shown in pages and messages.",
            "Write the value itself, or ${env:NAME}.",
        )
        return _BAD

    def anything(self, node: Node, path: str) -> Any:
        return self.secret(node, Any, path) if _holds_secret(node) else node.plain()

    def struct(self, node: Node, type_: Any, path: str) -> Any:
        if not node.is_map and node.value is not None:
            return self.wrong(node, path, "a mapping (key: value)")
        fields = setting_fields(type_)
        known = {field.key: field for field in fields}
        tag_field, tag = type_.__struct_config__.tag_field, type_.__struct_config__.tag
        good = True
        for key, _child in node.items():
            if key not in known and not (key == tag_field and tag):
                self.unknown_key(node, key, known, path)
                good = False
        given: dict[str, Any] = dict.fromkeys(place_fields(type_), node.place)
        for key, field in known.items():
            child = node.get(key)
            if child is not None:
                given[field.name] = self.read(child, field.type, f"{path}.{key}" if path else key)
                good = good and given[field.name] is not _BAD
            elif field.is_required:
                self.missing(node, field, path)
                good = False
        if not good:
            return _BAD
        try:
            return type_(**given)
        except ValueError as error:
            return self.invalid(node, str(error))

    def unknown_key(self, node: Node, key: str, known: collections.abc.Iterable[str], path: str) -> None:
        self.faults.add(
            "settings.unknown-key",
            node.place_of(key),
            f"Unknown key `{key}` in {self.name(path)}.",
            did_you_mean(key, known),
        )

    def missing(self, node: Node, field: SettingField, path: str) -> None:
        self.faults.add(
            "settings.missing-key",
            node.place,
            f"The key `{field.key}` is missing in {self.name(path)}.",
            f"It must be {describe_type(field.type)}.",
        )

    def invalid(self, node: Node, sentence: str) -> _Bad:
        key = re.match(r"`(\w+)`", sentence)
        place = node.place_of(key[1]) if key else node.place
        self.faults.add(
            "settings.invalid",
            place,
            sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith((".", "?")) else "."),
        )
        return _BAD

    def sequence(self, node: Node, type_: Any, path: str) -> Any:
        kind = get_origin(type_) or type_
        arguments = get_args(type_)
        if not node.is_list and node.value is not None:
            item = describe_type(arguments[0]) if arguments else ""
            mend = "Write each item on a line of its own that starts with '- '."
            return self.wrong(node, path, f"a list, each item {item}" if item else "a list", mend)
        elements = node.elements()
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(elements) != len(arguments):
                return self.wrong(node, path, f"a list of {len(arguments)}", shown=f"a list of {len(elements)}")
            types_: list[Any] = list(arguments)
        else:
            types_ = [arguments[0] if arguments else Any] * len(elements)
        values = [
            self.read(child, each, f"{path}[{i}]") for i, (child, each) in enumerate(zip(elements, types_, strict=True))
        ]
        if any(value is _BAD for value in values):
            return _BAD
        return list(values) if kind in (list, collections.abc.Sequence) else kind(values)

    def mapping(self, node: Node, type_: Any, path: str) -> Any:
        if not node.is_map and node.value is not None:
            return self.wrong(node, path, "a mapping (key: value)")
        arguments = get_args(type_)
        of = arguments[1] if arguments else Any
        values = {key: self.read(child, of, f"{path}.{key}" if path else key) for key, child in node.items()}
        return _BAD if any(value is _BAD for value in values.values()) else values

    def size(self, node: Node, path: str) -> Any:
        if not isinstance(node.value, str):
            return self.wrong(node, path, f"a size with its unit, like {SIZE_EXAMPLE}")
        try:
            return parse_size(node.value)
        except ValueError:
            return self.wrong(node, path, f"a size with its unit, like {SIZE_EXAMPLE}")

    def scalar(self, node: Node, type_: Any, path: str) -> Any:
        if type_ is Secret:
            self.faults.add(
                "settings.secret-open",
                node.place,
                f"{self.name(path)} is a secret and stands here openly.",
                "Write ${secret:NAME} here and store the value with `accord secret set NAME`.",
            )
            return _BAD
        if get_origin(type_) is Literal or (isinstance(type_, type) and issubclass(type_, enum.Enum)):
            return self.choice(node, type_, path)
        value = _scalar(node.value, type_)
        if value is not _BAD:
            return value
        mend = ""
        if type_ is str and node.is_scalar and node.value is not None:
            mend = "Put it in quotes if it is meant as text."
        elif type_ is bool and isinstance(node.value, str):
            mend = "Write true or false."
        return self.wrong(node, path, describe_type(type_), mend)

    def choice(self, node: Node, type_: Any, path: str) -> Any:
        if get_origin(type_) is Literal:
            choices = {value: value for value in get_args(type_)}
        else:
            choices = {member.value: member for member in type_}
        value = node.value
        if not isinstance(value, dict | list) and value in choices and type(value) in {type(c) for c in choices}:
            return choices[value]
        mend = did_you_mean(value, [str(c) for c in choices]) if isinstance(value, str) else ""
        return self.wrong(node, path, describe_type(type_), mend if mend.startswith("Did") else "")

    def union(self, node: Node, members: tuple[Any, ...], path: str) -> Any:
        """The member whose shape fits, so that its faults are told; several of one shape: the first that reads without fault."""
        if node.value is None and type(None) in members:
            return None
        wanted = [m for m in members if m is not type(None)]
        if len(wanted) == 1:
            return self.read(node, wanted[0], path)
        fitting = [m for m in members if m is not type(None) and m is not Secret and _has_shape(node, m)]
        structs = [m for m in fitting if is_struct(m)]
        tags = {m.__struct_config__.tag: m for m in structs}
        tag_field = structs[0].__struct_config__.tag_field if structs else None
        if len(structs) > 1 and tag_field:
            chosen = self.by_tag(node, tag_field, tags, path)
            return chosen if chosen is _BAD else self.read(node, chosen, path)
        if len(fitting) == 1 and not node.is_scalar:
            return self.read(node, fitting[0], path)
        for member in fitting:
            tried = Faults()
            value = _Reader(tried, self.what).read(node, member, path)
            if value is not _BAD:
                return value
        expected = describe_type(Union[tuple(wanted)])  # noqa: UP007
        return self.wrong(node, path, expected, shown="written openly" if Secret in members else "")

    def by_tag(self, node: Node, tag_field: str, tags: dict[Any, Any], path: str) -> Any:
        child = node.get(tag_field)
        name = f"{path}.{tag_field}" if path else tag_field
        if child is None:
            what = f"The key `{tag_field}` is missing in {self.name(path)}."
            self.faults.add("settings.missing-key", node.place, what, f"It says which: {', '.join(map(str, tags))}.")
            return _BAD
        if isinstance(child.value, str) and child.value in tags:
            return tags[child.value]
        return self.choice(child, Literal[tuple(tags)], name)

    def constrain(self, node: Node, value: Any, metas: list[msgspec.Meta], path: str) -> Any:
        for meta in metas:
            broken = broken_constraint(value, meta)
            if broken:
                what = f"{self.name(path)} {broken}, this is {node.describe()}."
                self.faults.add("settings.out-of-bounds", node.place, what[0].upper() + what[1:])
                return _BAD
        return value


def _takes_plain(type_: Any) -> bool:
    """Whether a given text is to be read as number, boolean or null: no member of the type takes text."""
    members = [split_annotated(member)[0] for member in (get_args(type_) if is_union(type_) else (type_,))]
    return any(m in (int, bool, float, Decimal) for m in members) and str not in members


def _holds_secret(node: Node) -> bool:
    if isinstance(node.value, Secret):
        return True
    return any(_holds_secret(n) for n in node.elements()) or any(_holds_secret(n) for _, n in node.items())


def _scalar(value: Any, type_: Any) -> Any:
    if type_ is str:
        return value if isinstance(value, str) else _BAD
    if type_ is bool:
        return value if isinstance(value, bool) else _BAD
    if type_ in (int, float, Decimal):
        if isinstance(value, bool) or not isinstance(value, int if type_ is int else (int, Decimal)):
            return _BAD
        try:
            return type_(value)
        except OverflowError:
            return _BAD
    if type_ is type(None):
        return None if value is None else _BAD
    reader = _TEXT_READERS.get(type_)
    if reader is None:
        raise TypeError(f"settings cannot be of type {type_!r}")
    if not isinstance(value, str):
        return _BAD
    try:
        return reader(value)
    except ValueError:
        return _BAD


_TEXT_READERS: dict[Any, Callable[[str], Any]] = {
    dt.timedelta: parse_duration,
    dt.date: dt.date.fromisoformat,
    dt.datetime: parse_instant,
    dt.time: dt.time.fromisoformat,
}


def _has_shape(node: Node, type_: Any) -> bool:
    type_, _ = split_annotated(type_)
    if type_ in (Any, Node, object):
        return True
    if is_struct(type_) or is_mapping_type(type_):
        return node.is_map
    if is_sequence_type(type_):
        return node.is_list
    return node.is_scalar
