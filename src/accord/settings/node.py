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
NODES_MAX = 500_000  # a hundred times the largest project file we expect; bounds what repeated aliases can grow to
DIGITS_MAX = 400  # longer numbers stay text: no number of a settings file is that long

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
    """Parses YAML text of one document; ``name`` is the file name shown in places. None when it cannot be read."""
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        return _Composer(name, faults).compose(yaml.parse(text, Loader=loader))
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.add(
            "settings.yaml",
            Place(name, mark.line + 1 if mark else 0),
            f"This is not valid YAML: {error.problem or error.context}.",
            "Check indentation, quotes and colons near this line.",
        )
    except (yaml.YAMLError, UnicodeError) as error:
        faults.add("settings.yaml", Place(name), f"This is not valid YAML: {' '.join(str(error).split())}.")
    return None


class _Stop(Exception):
    """Ends the reading of a file whose fault is already recorded."""


class _Composer:
    """Builds nodes from parser events, bounded in depth and number.

    PyYAML's own composer recurses without a bound (its C form ends the process on 100,000 brackets), and repeated aliases
    grow a file of a few lines to billions of nodes: an alias here is the same Node, and counts as often as it stands.
    """

    def __init__(self, name: str, faults: Faults) -> None:
        self.name = name
        self.faults = faults
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.count = 0
        self.events: Iterator[Any] = iter(())

    def stop(self, code: str, place: Place, what: str, mend: str = "") -> _Stop:
        self.faults.add(code, place, what, mend)
        return _Stop()

    def compose(self, events: Iterator[Any]) -> Node:
        self.events = (e for e in events if not isinstance(e, yaml.StreamStartEvent | yaml.DocumentEndEvent))
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, Place(self.name, 1))
        root = self.node(next(self.events), 0)
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            place = Place(self.name, event.start_mark.line + 1)
            raise self.stop("settings.yaml", place, "A second document starts here.", "Keep one document in a file.")
        return root

    def node(self, event: Any, depth: int) -> Node:
        place = Place(self.name, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(event.anchor), place, depth)
        if depth > DEPTH_MAX:
            raise self.stop("settings.too-deep", place, f"The file nests deeper than {DEPTH_MAX} levels.")
        before = self.count
        self.grow(1, place)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self.scalar(event, place), place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self.sequence(depth), place)
        else:
            node = self.mapping(place, depth)
        if event.anchor:
            self.anchors[event.anchor] = (node, self.count - before)
        return node

    def grow(self, nodes: int, place: Place) -> None:
        self.count += nodes
        if self.count > NODES_MAX:
            raise self.stop("settings.too-large", place, f"The file holds more than {NODES_MAX} values.")

    def alias(self, anchor: str, place: Place, depth: int) -> Node:
        if anchor not in self.anchors:
            mend = f"Write &{anchor} before the value that is to be repeated, and close that value before repeating it."
            raise self.stop("settings.yaml", place, f"*{anchor} repeats a value that is not known here.", mend)
        node, size = self.anchors[anchor]
        self.grow(size, place)
        if depth + _height(node) > DEPTH_MAX:
            raise self.stop("settings.too-deep", place, f"The file nests deeper than {DEPTH_MAX} levels.")
        return node

    def sequence(self, depth: int) -> list[Node]:
        children = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            children.append(self.node(event, depth + 1))
        return children

    def mapping(self, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        key_places: dict[str, Place] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key_place = Place(self.name, event.start_mark.line + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.stop("settings.yaml", key_place, "A key must be plain text.")
            key = str(event.value)
            child = self.node(next(self.events), depth + 1)
            if key in values:
                self.faults.add(
                    "settings.duplicate-key",
                    key_place,
                    f"The key '{key}' stands here a second time (first on line {key_places[key].line}).",
                    "Keep one of them.",
                )
                continue
            key_places[key] = key_place
            values[key] = child
        return Node(values, place, key_places)

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        text: str = event.value
        if event.tag in (None, "!"):
            return text if event.style in ("'", '"', "|", ">") or event.tag == "!" else plain_scalar(text)
        if event.tag != "tag:yaml.org,2002:str":
            self.faults.add("settings.yaml", place, f"The tag {event.tag} has no meaning here.", "Leave it out.")
        return text


def _height(node: Node) -> int:
    children = [*node.elements(), *(child for _, child in node.items())]
    return 1 + max(map(_height, children)) if children else 0


def plain_scalar(text: str) -> Scalar:
    """What unquoted text stands for: null, true/false, a whole number, an exact number, else the text itself."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) > DIGITS_MAX:
        return text
    if _INT.match(text):
        return int(text)
    if _NUMBER.match(text):
        number = Decimal(text) if len(text.lower().partition("e")[2]) <= 5 else None
        return number if number is not None and abs(number.adjusted()) <= DIGITS_MAX else text
    return text
