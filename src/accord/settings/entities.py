"""Entities as a system file declares them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from accord.errors import Faults, did_you_mean
from accord.record import types as t
from accord.record.entity import Entity, Rule
from accord.record.types import Field
from accord.record.watch import SchemaChange
from accord.settings.decode import decode, setting_fields
from accord.settings.entity_watch import read_quality, read_schema_change
from accord.settings.fields import read_fields
from accord.settings.node import Node

ENTITY_KEYS = ("key", "fields", "rules", "summary", "extends", "on_schema_change", "quality")
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_KEY_TYPES = (t.String, t.Integer, t.Date, t.DateTime, t.Enum, t.Decimal)


def read_entity(
    system: str,
    name: str,
    node: Node,
    extra_type: type[msgspec.Struct] | None,
    faults: Faults,
    *,
    base: Entity | None = None,
) -> Entity | None:
    """The entity ``<system>.<name>``; None with every fault recorded.

    ``extra_type``: the connector's own keys of an entity. ``base``: what the connector knows of it already; then ``fields``,
    ``key`` and ``extra`` default to the base's, its rules stay, and ``extends: true`` adds the declared fields to the base's
    instead of replacing them.
    """
    reader = _EntityReader(f"{system}.{name}", node, extra_type, faults, base)
    if not _NAME.fullmatch(name):
        mend = "Use letters, digits, _ and -, beginning with a letter."
        faults.add("settings.bad-entity", node.place, f"'{name}' is no entity name.", mend)
        reader.good = False
    return reader.read()


class _EntityReader:
    def __init__(
        self, name: str, node: Node, extra_type: type[msgspec.Struct] | None, faults: Faults, base: Entity | None
    ) -> None:
        self.name = name
        self.node = node
        self.extra_type = extra_type
        self.faults = faults
        self.base = base
        self.good = True

    def bad(self, code: str, key: str, sentence: str, mend: str = "") -> None:
        self.good = False
        self.faults.add(f"settings.{code}", self.node.place_of(key), f"Entity '{self.name}': {sentence}", mend)

    def read(self) -> Entity | None:
        if not self.node.is_map and not (self.node.value is None and self.base):
            self.bad("wrong-type", "", f"it must be a mapping (key: value), this is {self.node.describe()}.")
            return None
        own = {field.key for field in setting_fields(self.extra_type)} if self.extra_type else set()
        for key, _child in self.node.items():
            if key not in ENTITY_KEYS and key not in own:
                self.bad("unknown-key", key, f"unknown key `{key}`.", did_you_mean(key, {*ENTITY_KEYS, *own}))
        fields = self.fields()
        extra = self.settings(own - set(ENTITY_KEYS))
        rules = self.rules()
        summary = self.summary()
        base = self.base
        change = read_schema_change(self.node, self.bad) or (base.on_schema_change if base else SchemaChange())
        quality = read_quality(self.node, self.bad) or (base.quality if base else None)
        if fields is None:
            return None
        key_fields = self.key(fields)
        if not self.good:
            return None
        return Entity(
            name=self.name,
            fields=fields,
            key=key_fields,
            rules=rules,
            summary=summary,
            extra=extra,
            on_schema_change=change,
            quality=quality,
            place=self.node.place,
        )

    def fields(self) -> dict[str, Field] | None:
        child = self.node.get("fields")
        extends = self.node.get("extends")
        if extends is not None and not isinstance(extends.value, bool):
            self.bad("wrong-type", "extends", f"`extends` must be true or false, this is {extends.describe()}.")
        adds = extends is not None and extends.value is True
        if adds and self.base is None:
            self.bad(
                "bad-entity", "extends", "the connector knows no such entity to extend.", "Declare all its fields."
            )
        if child is None:
            if self.base is not None:
                return self.base.fields
            self.bad("missing-key", "", "the key `fields` is missing.", "Declare each field as name: type.")
            return None
        declared = read_fields(child, self.faults, what=f"Entity '{self.name}'")
        if declared is None:
            return None
        return {**self.base.fields, **declared} if adds and self.base is not None else declared

    def key(self, fields: dict[str, Field]) -> tuple[str, ...]:
        child = self.node.get("key")
        if child is None:
            inherited = self.base.key if self.base else ()
            return inherited if all(name in fields for name in inherited) else ()
        names = [part.value for part in (child.elements() or [child])]
        for name in names:
            if not isinstance(name, str) or name not in fields:
                mend = did_you_mean(name, fields) if isinstance(name, str) else "Name a field, or a list of fields."
                self.bad("bad-key", "key", f"the key '{name}' is not among its fields.", mend)
            elif not isinstance(fields[name].type, _KEY_TYPES) or fields[name].nullable:
                self.bad("bad-key", "key", f"the key '{name}' must be a plain value that is never null.")
        if len(set(map(str, names))) != len(names):
            self.bad("bad-key", "key", "the key names a field twice.")
        return tuple(str(name) for name in names)

    def rules(self) -> tuple[Rule, ...]:
        rules = list(self.base.rules) if self.base else []
        child = self.node.get("rules")
        if child is None or child.value is None:
            return tuple(rules)
        if not child.is_list:
            self.bad("wrong-type", "rules", f"`rules` must be a list of expressions, this is {child.describe()}.")
        for item in child.elements():
            rule = self.rule(item)
            if rule is not None:
                rules.append(rule)
        return tuple(rules)

    def rule(self, node: Node) -> Rule | None:
        expression: Any = node.value
        message: Any = ""
        if node.is_map:
            known = ("rule", "that", "message")
            for key, _child in node.items():
                if key not in known:
                    mend = did_you_mean(key, known)
                    sentence = f"Entity '{self.name}': unknown key `{key}` in a rule."
                    self.faults.add("settings.unknown-key", node.place_of(key), sentence, mend)
                    self.good = False
            written = node.get("rule") or node.get("that")
            said = node.get("message")
            expression = written.value if written else None
            message = said.value if said else ""
        if not isinstance(expression, str) or not expression.strip() or not isinstance(message, str):
            sentence = f"Entity '{self.name}': a rule is an expression, or {{rule: expression, message: text}}."
            self.faults.add("settings.bad-rule", node.place, sentence, "Write it like `- total >= 0`.")
            self.good = False
            return None
        return Rule(expression, message, node.place)

    def summary(self) -> str:
        child = self.node.get("summary")
        if child is None:
            return self.base.summary if self.base else ""
        if not isinstance(child.value, str):
            self.bad("wrong-type", "summary", f"`summary` must be text, this is {child.describe()}.")
        return str(child.value)

    def settings(self, own: set[str]) -> msgspec.Struct | None:
        if self.extra_type is None:
            return self.base.extra if self.base else None
        given = {key: child for key, child in self.node.items() if key in own}
        if not given and self.base is not None and self.base.extra is not None:
            return self.base.extra
        node = Node(dict(given), self.node.place, self.node.key_places)
        extra = decode(node, self.extra_type, self.faults, what=f"entity '{self.name}'")
        self.good = self.good and extra is not None
        return extra
