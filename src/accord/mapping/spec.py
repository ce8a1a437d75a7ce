"""Reading a mapping file into a MappingSpec: shape only, types are checked by compile_mapping."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from accord.errors import NOWHERE, Faults, Place, did_you_mean
from accord.mapping.lookup import Lookup, read_lookups
from accord.settings.node import Node

_KEYS = ("mapping", "summary", "from", "to", "fields", "uses", "tests", "lookups")
_TEST_KEYS = ("name", "given", "expect", "exactly", "rejects", "message", "names", "refs")


class Formula(msgspec.Struct, frozen=True):
    """One expression, as source text of the language."""

    text: str
    place: Place = NOWHERE


class Group(msgspec.Struct, frozen=True):
    """The fields of a nested object."""

    fields: dict[str, FieldSpec]
    place: Place = NOWHERE
    key_places: dict[str, Place] = {}


class Each(msgspec.Struct, frozen=True):
    """A list built from a list: ``each`` the list, ``when`` which items, ``fields`` (or ``value``) what each becomes."""

    each: Formula
    fields: Group | None = None
    value: Formula | None = None
    when: Formula | None = None
    place: Place = NOWHERE


FieldSpec: TypeAlias = Formula | Group | Each


class TestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One example. ``given``: the record (a mapping) or the name of a JSON or YAML file. ``expect`` names some fields of the
    result, ``exactly`` all of them; ``rejects`` the field path (or a part of the reason) of an expected rejection."""

    name: str
    given: Node
    expect: Node | None = None
    exactly: Node | None = None
    rejects: str | None = None
    message: Node | None = None
    names: Node | None = None
    refs: Node | None = None
    place: Place = NOWHERE


class MappingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping as declared. ``source`` and ``target`` are entity names (keys ``from`` and ``to``). ``uses`` names earlier
    results the mapping reads, each with its entity (or ``json``)."""

    name: str
    source: str
    target: str
    fields: Group
    summary: str = ""
    uses: dict[str, Formula] = {}
    tests: tuple[TestSpec, ...] = ()
    lookups: dict[str, Lookup] = {}
    place: Place = NOWHERE
    source_place: Place = NOWHERE
    target_place: Place = NOWHERE


def read_mapping(node: Node, faults: Faults) -> MappingSpec | None:
    """Reads one mapping; None when its name, from, to or fields cannot be used (with faults)."""
    if not node.is_map:
        faults.add(
            "mapping.shape",
            node.place,
            f"A mapping file must be a mapping of keys, not {node.describe()}.",
            "Start with 'mapping: its-name'.",
        )
        return None
    for key, _ in node.items():
        if key not in _KEYS:
            faults.add(
                "mapping.unknown-key", node.place_of(key), f"A mapping has no key '{key}'.", did_you_mean(key, _KEYS)
            )
    name, source, target = (_text(node, key, faults) for key in ("mapping", "from", "to"))
    body = node.get("fields")
    if body is None or not body.is_map:
        place = body.place if body is not None else node.place
        faults.add(
            "mapping.shape",
            place,
            "The mapping has no fields.",
            "Write 'fields:' with one 'target: expression' per line.",
        )
        return None
    fields = read_group(body, faults)
    if name is None or source is None or target is None:
        return None
    return MappingSpec(
        name=name,
        source=source,
        target=target,
        fields=fields,
        summary=_optional_text(node, "summary"),
        uses=_uses(node.get("uses"), faults),
        tests=tuple(_tests(node.get("tests"), faults)),
        lookups=read_lookups(node.get("lookups"), faults),
        place=node.place,
        source_place=node.place_of("from"),
        target_place=node.place_of("to"),
    )


def read_group(node: Node, faults: Faults) -> Group:
    """The fields of an object: expressions, nested objects, lists. Also what steps ``set`` and ``with:`` use."""
    fields: dict[str, FieldSpec] = {}
    for key, child in node.items():
        made = read_field(key, child, faults)
        if made is not None:
            fields[key] = made
    return Group(fields, node.place, {key: node.place_of(key) for key in fields})


def read_field(key: str, node: Node, faults: Faults) -> FieldSpec | None:
    """One field: a scalar is an expression (numbers and booleans stand for themselves), ``each:`` makes a list."""
    if node.is_list:
        faults.add(
            "mapping.shape",
            node.place,
            f"The field '{key}' is a YAML list.",
            f"Write a list as expression: {key}: \"[a, b]\", or with 'each:'.",
        )
        return None
    if node.is_scalar:
        return formula(node)
    if node.get("each") is None:
        return read_group(node, faults)
    return _each(key, node, faults)


def formula(node: Node) -> Formula:
    """A scalar as expression source."""
    value = node.value
    if isinstance(value, str):
        return Formula(value, node.place)
    word = {None: "null", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    return Formula(word if word is not None else str(value), node.place)


def _each(key: str, node: Node, faults: Faults) -> Each | None:
    for name, _ in node.items():
        if name not in ("each", "fields", "value", "when"):
            faults.add(
                "mapping.unknown-key",
                node.place_of(name),
                f"A list has no key '{name}'.",
                did_you_mean(name, ("each", "fields", "value", "when")),
            )
    each, body, value, when = (node.get(k) for k in ("each", "fields", "value", "when"))
    if (
        each is None
        or not each.is_scalar
        or (when is not None and not when.is_scalar)
        or (value is not None and not value.is_scalar)
    ):
        faults.add("mapping.shape", node.place, f"In '{key}', 'each', 'when' and 'value' must be expressions.")
        return None
    if (body is None) == (value is None) or (body is not None and not body.is_map):
        faults.add(
            "mapping.shape",
            node.place,
            f"The list '{key}' needs either 'fields:' (a mapping) or 'value:' (an expression).",
            "Say what each item becomes.",
        )
        return None
    return Each(
        formula(each),
        read_group(body, faults) if body is not None else None,
        formula(value) if value is not None else None,
        formula(when) if when is not None else None,
        node.place,
    )


def _uses(node: Node | None, faults: Faults) -> dict[str, Formula]:
    if node is None:
        return {}
    if not node.is_map or not all(isinstance(child.value, str) for _, child in node.items()):
        faults.add(
            "mapping.shape",
            node.place,
            "'uses' must name an entity (or json) for each earlier result.",
            "For example shipment: shipping.shipments.",
        )
        return {}
    return {name: formula(child) for name, child in node.items()}


def _tests(node: Node | None, faults: Faults) -> list[TestSpec]:
    if node is None:
        return []
    if not node.is_list:
        faults.add("mapping.shape", node.place, "'tests' must be a list.", "Start each test with '- given:'.")
        return []
    made = []
    for index, child in enumerate(node.elements()):
        test = _test(index, child, faults)
        if test is not None:
            made.append(test)
    return made


def _test(index: int, node: Node, faults: Faults) -> TestSpec | None:
    given = node.get("given")
    if given is None or (not given.is_map and not isinstance(given.value, str)):
        faults.add("mapping.test", node.place, "A test needs 'given:', a record or the name of a file.")
        return None
    for key, _ in node.items():
        if key not in _TEST_KEYS:
            faults.add(
                "mapping.unknown-key", node.place_of(key), f"A test has no key '{key}'.", did_you_mean(key, _TEST_KEYS)
            )
    asked = [k for k in ("expect", "exactly", "rejects") if node.get(k) is not None]
    if len(asked) != 1:
        faults.add("mapping.test", node.place, "A test needs exactly one of 'expect', 'exactly' and 'rejects'.")
        return None
    rejects = node.get("rejects")
    return TestSpec(
        name=_optional_text(node, "name") or f"test {index + 1}",
        given=given,
        expect=node.get("expect"),
        exactly=node.get("exactly"),
        rejects=str(rejects.value) if rejects is not None else None,
        message=node.get("message"),
        names=node.get("names"),
        refs=node.get("refs"),
        place=node.place,
    )


def _text(node: Node, key: str, faults: Faults) -> str | None:
    child = node.get(key)
    if child is None or not isinstance(child.value, str) or not child.value:
        place = child.place if child is not None else node.place
        got = f", not {child.describe()}" if child is not None else ""
        faults.add("mapping.shape", place, f"A mapping needs '{key}:' as text{got}.", _HINTS[key])
        return None
    return child.value


_HINTS = {
    "mapping": "It is the mapping's name, for example order-to-invoice.",
    "from": "It is the source entity, for example shop.orders.",
    "to": "It is the target entity, for example accounting.invoices.",
}


def _optional_text(node: Node, key: str) -> str:
    child = node.get(key)
    return str(child.value) if child is not None and child.value is not None else ""
