"""The shorthand of entity fields.

``id: integer`` · ``note: string?`` (may be absent or null) · ``tags: list[string]`` · ``{type: decimal, min: 0}`` ·
``{list: {sku: string, quantity: integer}}`` · ``{enum: [open, paid]}`` · a nested mapping is an object.

A mapping with a key ``type``, ``list``, ``object`` or ``enum`` describes a field; every other mapping is an object and its keys
are fields. An object that has a field of such a name is written ``{object: {type: string}}``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from accord.errors import Faults, did_you_mean
from accord.record import types as t
from accord.record.types import FORMATS, Field, Type, name_of
from accord.settings.durations import parse_duration, parse_instant
from accord.settings.node import Node

SIMPLE_TYPES: dict[str, Type] = {
    "string": t.String(),
    "boolean": t.Boolean(),
    "integer": t.Integer(),
    "decimal": t.Decimal(),
    "float": t.Float(),
    "date": t.Date(),
    "datetime": t.DateTime(),
    "duration": t.Duration(),
    "json": t.Json(),
}
TYPE_NAMES = (*SIMPLE_TYPES, "list", "object", "enum")
_SHAPES = ("type", "list", "object", "enum")
_DETAILS = (
    "nullable",
    "min",
    "max",
    "length",
    "length_min",
    "length_max",
    "pattern",
    "format",
    "references",
    "personal",
)
FIELD_KEYS = (*_SHAPES, *_DETAILS, "summary")
# Names people bring from other languages; the nearest spelling would mislead (`number` is not near `decimal`).
_OTHER_NAMES = {
    "str": "string",
    "text": "string",
    "varchar": "string",
    "bool": "boolean",
    "int": "integer",
    "bigint": "integer",
    "long": "integer",
    "number": "decimal",
    "numeric": "decimal",
    "money": "decimal",
    "double": "float",
    "real": "float",
    "timestamp": "datetime",
    "array": "list",
    "map": "object",
    "dict": "object",
    "any": "json",
}
_REFERENCE = re.compile(r"[A-Za-z_][\w-]*\.[A-Za-z_][\w-]*", re.ASCII)
_PERSONAL = re.compile(r"[a-z][a-z-]*")


def read_fields(node: Node, faults: Faults, *, what: str) -> dict[str, Field] | None:
    """A mapping of field name to shorthand; None when any of them is wrong. ``what`` names the owner in messages."""
    if not node.is_map or not node.value:
        faults.add("settings.bad-fields", node.place, f"{what} needs fields (name: type), this is {node.describe()}.")
        return None
    fields: dict[str, Field] = {}
    for name, child in node.items():
        if not name.strip() or name.endswith("?"):
            mend = f"Write `{name[:-1]}: string?`, the mark stands behind the type." if name.endswith("?") else ""
            faults.add("settings.bad-fields", node.place_of(name), f"'{name}' is no field name.", mend)
            continue
        field = read_field(child, faults, what=name)
        if field is not None:
            fields[name] = field
    return fields if len(fields) == len(dict(node.items())) else None


def read_field(node: Node, faults: Faults, *, what: str) -> Field | None:
    """One field's shorthand; None with every fault recorded."""
    if node.is_map:
        if any(key in _SHAPES for key, _ in node.items()):
            return _Field(node, faults, what).read()
        fields = read_fields(node, faults, what=f"`{what}`")
        return None if fields is None else Field(type=t.Object(fields))
    if isinstance(node.value, str):
        return _named(node.value, node, faults, what)
    mend = f"Known types: {', '.join(TYPE_NAMES)}."
    faults.add("settings.bad-type", node.place, f"`{what}` needs a type, this is {node.describe()}.", mend)
    return None


def _named(text: str, node: Node, faults: Faults, what: str) -> Field | None:
    """A type in words: ``string?``, ``list[integer]``, ``enum(a, b)``."""
    written = text.strip()
    nullable = written.endswith("?")
    name = written[:-1].rstrip() if nullable else written
    if name in SIMPLE_TYPES:
        return Field(type=SIMPLE_TYPES[name], nullable=nullable)
    if match := re.fullmatch(r"list\[(.*)\]", name):
        item = _named(match[1], node, faults, what)
        return None if item is None else Field(type=t.List(item.type, item.nullable), nullable=nullable)
    if match := re.fullmatch(r"enum\((.*)\)", name):
        values = [Node(value.strip(), node.place) for value in match[1].split(",")]
        enum = _enum(Node(list(values), node.place), faults, what)
        return None if enum is None else Field(type=enum, nullable=nullable)
    if name in ("list", "object", "enum"):
        shown = {"list": "list: string", "object": "object: {id: integer}", "enum": "enum: [open, paid]"}[name]
        mend = f"Write {{{shown}{', nullable: true' if nullable else ''}}}."
        faults.add("settings.bad-type", node.place, f"`{what}`: '{name}' needs to say of what.", mend)
        return None
    mend = f"Write '{_OTHER_NAMES[name.lower()]}'." if name.lower() in _OTHER_NAMES else did_you_mean(name, TYPE_NAMES)
    faults.add("settings.bad-type", node.place, f"`{what}`: there is no type '{text[:60]}'.", mend)
    return None


def _enum(node: Node, faults: Faults, what: str) -> t.Enum | None:
    values = [child.value for child in node.elements()]
    for child in node.elements():
        if not isinstance(child.value, str) or not child.value:
            sentence = f"`{what}`: a value of an enum must be text, this is {child.describe()}."
            faults.add("settings.bad-type", child.place, sentence, "Put it in quotes.")
            return None
    if not values or len(set(values)) != len(values):
        sentence = f"`{what}`: an enum needs a list of values, each once."
        faults.add("settings.bad-type", node.place, sentence, "Write {enum: [open, paid]}.")
        return None
    return t.Enum(tuple(str(v) for v in values))


class _Field:
    """Reads one field that is described by a mapping."""

    def __init__(self, node: Node, faults: Faults, what: str) -> None:
        self.node = node
        self.faults = faults
        self.what = what
        self.good = True

    def bad(self, code: str, key: str, sentence: str, mend: str = "") -> None:
        self.good = False
        self.faults.add(f"settings.{code}", self.node.place_of(key), f"`{self.what}`: {sentence}", mend)

    def read(self) -> Field | None:
        for key, _child in self.node.items():
            if key not in FIELD_KEYS:
                mend = did_you_mean(key, FIELD_KEYS)
                objects = f" An object with a field `{self.shape()}` is written {{object: {{…}}}}."
                self.bad("unknown-key", key, f"unknown key `{key}`.", mend + objects)
        shapes = [key for key in _SHAPES if self.node.get(key) is not None]
        if len(shapes) > 1:
            self.bad("bad-type", shapes[1], f"`{shapes[0]}` and `{shapes[1]}` exclude each other.", "Keep one of them.")
        base = self.type_of(shapes[0])
        if base is None:
            return None
        details: dict[str, Any] = {"nullable": base.nullable or self.flag("nullable")}
        self.bounds(base.type, details)
        self.lengths(base.type, details)
        self.texts(base.type, details)
        return Field(type=base.type, **details) if self.good else None

    def shape(self) -> str:
        return next(key for key in _SHAPES if self.node.get(key) is not None)

    def type_of(self, shape: str) -> Field | None:
        node = self.node.value[shape] if isinstance(self.node.value, dict) else self.node
        if shape == "enum":
            enum = _enum(node, self.faults, self.what)
            return None if enum is None else Field(type=enum)
        if shape == "object":
            fields = read_fields(node, self.faults, what=f"`{self.what}`")
            return None if fields is None else Field(type=t.Object(fields))
        inner = read_field(node, self.faults, what=self.what if shape == "type" else f"{self.what}[]")
        if inner is None or shape == "type":
            return inner
        if inner != Field(type=inner.type, nullable=inner.nullable):
            mend = "Make the items objects with one field, or write a rule."
            self.bad("bad-constraint", shape, "the items of a list cannot have bounds, patterns or marks.", mend)
        return Field(type=t.List(inner.type, inner.nullable))

    def flag(self, key: str) -> bool:
        child = self.node.get(key)
        if child is None:
            return False
        if not isinstance(child.value, bool):
            self.bad("wrong-type", key, f"`{key}` must be true or false, this is {child.describe()}.")
            return False
        return child.value

    def bounds(self, type_: Type, details: dict[str, Any]) -> None:
        for key in ("min", "max"):
            child = self.node.get(key)
            if child is None:
                continue
            reader = _BOUND_READERS.get(type(type_))
            if reader is None:
                mend = f"Use length_{key}." if isinstance(type_, t.String | t.List) else ""
                self.bad("bad-constraint", key, f"type {name_of(type_)} has no `{key}`.", mend)
                continue
            try:
                details[key] = reader(child.value)
            except (ValueError, TypeError, ArithmeticError):
                expected = _BOUND_WORDS[type(type_)]
                self.bad("bad-constraint", key, f"`{key}` must be {expected}, this is {child.describe()}.")
        if "min" in details and "max" in details and details["min"] > details["max"]:
            self.bad("bad-constraint", "max", f"`min` {details['min']} is more than `max` {details['max']}.")

    def lengths(self, type_: Type, details: dict[str, Any]) -> None:
        given = {key: child for key in ("length_min", "length_max") if (child := self.node.get(key)) is not None}
        length = self.node.get("length")
        if length is not None:
            if not length.is_map or not length.value or any(key not in ("min", "max") for key, _ in length.items()):
                self.bad(
                    "bad-constraint", "length", f"`length` must be {{min: …, max: …}}, this is {length.describe()}."
                )
            given |= {f"length_{key}": child for key, child in length.items() if key in ("min", "max")}
        for key, child in given.items():
            if not isinstance(type_, t.String | t.List):
                self.bad("bad-constraint", key, f"type {name_of(type_)} has no length.", "Use `min` and `max`.")
            elif not isinstance(child.value, int) or isinstance(child.value, bool) or child.value < 0:
                self.bad("bad-constraint", key, f"a length must be a whole number from 0, this is {child.describe()}.")
            else:
                details[key] = child.value
        if details.get("length_min", 0) > details.get("length_max", details.get("length_min", 0)):
            self.bad("bad-constraint", "length_max", "the shortest length is more than the longest.")

    def texts(self, type_: Type, details: dict[str, Any]) -> None:
        for key in ("pattern", "format", "references", "personal", "summary"):
            child = self.node.get(key)
            if child is None:
                continue
            if not isinstance(child.value, str) or not child.value:
                self.bad("wrong-type", key, f"`{key}` must be text, this is {child.describe()}.")
                continue
            details[key] = child.value
            if key in ("pattern", "format") and not isinstance(type_, t.String):
                self.bad("bad-constraint", key, f"`{key}` is for strings, this field is of type {name_of(type_)}.")
            elif key == "references" and not isinstance(type_, t.String | t.Integer):
                self.bad(
                    "bad-constraint",
                    key,
                    f"a reference is a string or an integer, this field is of type {name_of(type_)}.",
                )
            else:
                self.text(key, child.value)

    def text(self, key: str, value: str) -> None:
        if key == "pattern":
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                self.bad("bad-constraint", key, f"`pattern` is no regular expression: {error}.")
        elif key == "format" and value not in FORMATS:
            self.bad("bad-constraint", key, f"there is no format '{value}'.", did_you_mean(value, FORMATS))
        elif key == "references" and not _REFERENCE.fullmatch(value):
            self.bad("bad-constraint", key, f"'{value}' names no entity.", "Write system.entity, like crm.clients.")
        elif key == "personal" and not _PERSONAL.fullmatch(value):
            self.bad(
                "bad-constraint",
                key,
                f"'{value}' is no category.",
                "Write one like contact, identity, financial or health.",
            )


def _number(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise TypeError
        if kind is int and value != int(value):
            raise ValueError
        return kind(value)

    return read


_BOUND_READERS: dict[type, Callable[[Any], Any]] = {
    t.Integer: _number(int),
    t.Decimal: _number(Decimal),
    t.Float: _number(float),
    t.Date: dt.date.fromisoformat,
    t.DateTime: parse_instant,
    t.Duration: parse_duration,
}
_BOUND_WORDS: dict[type, str] = {
    t.Integer: "a whole number",
    t.Decimal: "a number",
    t.Float: "a number",
    t.Date: "a day like 2026-01-31",
    t.DateTime: "an instant with its zone, like 2026-01-31T09:00:00+01:00",
    t.Duration: "a duration like 10m",
}
