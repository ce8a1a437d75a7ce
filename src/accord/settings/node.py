"""YAML as nodes that remember file and line.

YAML 1.2 core scalars: ``on``, ``no``, ``yes`` stay strings (``on:`` is a key of every flow, ``NO`` is Norway); only
``true/false`` are booleans, ``null``/``~``/empty are null. A number with a point becomes decimal.Decimal, never float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from accord.errors import NOWHERE, Faults, Place
from accord.settings.secret import Secret

Scalar: TypeAlias = str | int | bool | Decimal | Secret | None
YAML_SIZE_BYTES_MAX = 5_000_000
DEPTH_MAX = 60

_INT = re.compile(r"[-+]?[0-9]+\Z")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")


class Node:
    """A value of a project file: scalar, list of nodes, or mapping of key to node. ``place`` is where it starts.

    Nodes are what rooms with a syntax of their own (mappings, flows, entity fields) walk, so that every fault names a line.
    """

    __slots__ = ("key_places", "place", "value")

    def __init__(
        self,
        value: Scalar | list[Node] | dict[str, Node],
        place: Place = NOWHERE,
        key_places: dict[str, Place] | None = None,
    ) -> None:
        self.value = value
        self.place = place
        self.key_places = key_places or {}

    @classmethod
    def of(cls, value: Any, place: Place = NOWHERE) -> Node:
        """Wraps plain Python data (str, int, bool, Decimal, None, list, dict) for projects built in Python."""
        if isinstance(value, Node):
            return value
        if isinstance(value, dict):
            return cls({str(k): cls.of(v, place) for k, v in value.items()}, place)
        if isinstance(value, list | tuple):
            return cls([cls.of(v, place) for v in value], place)
        if isinstance(value, float):
            return cls(Decimal(repr(value)), place)
        return cls(value, place)

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value, dict | list)

    def get(self, key: str) -> Node | None:
        return self.value.get(key) if isinstance(self.value, dict) else None

    def items(self) -> Iterator[tuple[str, Node]]:
        """Entries of a mapping (none for other nodes)."""
        yield from self.value.items() if isinstance(self.value, dict) else ()

    def elements(self) -> list[Node]:
        """Elements of a list (none for other nodes)."""
        return self.value if isinstance(self.value, list) else []

    def place_of(self, key: str) -> Place:
        """Where a key stands; the mapping's own place when unknown."""
        return self.key_places.get(key, self.place)

    def plain(self) -> Any:
        """The value without places: str, int, bool, Decimal, None, list, dict."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain() for v in self.value]
        return self.value

    def describe(self) -> str:
        """What kind of value this is, in words for an error."""
        match self.value:
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case None:
                return "nothing"
            case bool():
                return f"the boolean {str(self.value).lower()}"
            case str():
                return f"the text '{self.value[:60]}'"
            case Secret():
                return "a secret"
            case _:
                return f"the number {self.value}"

    def __repr__(self) -> str:
        return f"Node({self.plain()!r}, {self.place})"


def read_yaml(path: Path, faults: Faults, *, shown_as: str = "") -> Node | None:
    """Reads one YAML document; None (and a fault with its line) when it cannot be read."""
    name = shown_as or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        faults.add("settings.unreadable", Place(name), f"The file cannot be read: {error.strerror}.")
        return None
    if len(raw) > YAML_SIZE_BYTES_MAX:
        faults.add("settings.too-large", Place(name), f"The file is larger than {YAML_SIZE_BYTES_MAX} bytes.")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        faults.add("settings.not-utf8", Place(name, line), "The file is not UTF-8 text.", "Save it as UTF-8.")
        return None
    return parse_yaml(text, name, faults)


def parse_yaml(text: str, name: str, faults: Faults) -> Node | None:
    """Parses YAML text; ``name`` is the file name shown in places."""
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1 if mark else 0)
        faults.add(
            "settings.yaml",
            place,
            f"This is not valid YAML: {error.problem or error.context}.",
            "Check indentation, quotes and colons near this line.",
        )
        return None
    except yaml.YAMLError as error:
        faults.add("settings.yaml", Place(name), f"This is not valid YAML: {error}.")
        return None
    if root is None:
        return Node(None, Place(name, 1))
    return _convert(root, name, faults, 0)


def _convert(node: Any, name: str, faults: Faults, depth: int) -> Node:
    place = Place(name, node.start_mark.line + 1)
    if depth > DEPTH_MAX:
        faults.add("settings.too-deep", place, f"The file nests deeper than {DEPTH_MAX} levels.")
        return Node(None, place)
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node), place)
    if isinstance(node, yaml.SequenceNode):
        return Node([_convert(child, name, faults, depth + 1) for child in node.value], place)
    values: dict[str, Node] = {}
    key_places: dict[str, Place] = {}
    for key_node, value_node in node.value:
        key_place = Place(name, key_node.start_mark.line + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            faults.add("settings.yaml", key_place, "A key must be plain text.")
            continue
        key = str(key_node.value)
        if key in values:
            faults.add(
                "settings.duplicate-key",
                key_place,
                f"The key '{key}' stands here a second time (first on line {key_places[key].line}).",
                "Keep one of them.",
            )
            continue
        key_places[key] = key_place
        values[key] = _convert(value_node, name, faults, depth + 1)
    return Node(values, place, key_places)


def _scalar(node: yaml.ScalarNode) -> Scalar:
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INT.match(text):
        return int(text) if len(text) < 400 else text
    if _NUMBER.match(text):
        return Decimal(text)
    return text
