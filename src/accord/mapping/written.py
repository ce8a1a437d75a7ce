"""Where it shows how a value was written: the zeros at a decimal's end, the zone of a time.

Columns keep the value only (decision 0256). What is found here has to reach columns in the form that they keep, or to go by rows. Told
from the expressions alone; a field too many costs time, a field too few would be wrong, so whatever is not known counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from accord.errors import NOWHERE, Faults
from accord.mapping.spec import Each, FieldSpec, Formula, Group
from accord.mapping.syntax import parse_expression
from accord.record.types import DateTime, Decimal, Field, Json, List, Object, Type

Known: TypeAlias = Mapping[str, tuple[str, Type]]  # a name in an expression: the record's field it is of, and its type

# What they give is the same, or the same value, however their arguments were written.
_BY_VALUE = frozenset(
    {"sum", "min", "max", "abs", "round", "percent", "integer", "float_", "decimal", "datetime", "in_zone", "utc"}
    | {"unix_time", "total_seconds", "coalesce", "case", "require", "any", "all", "count", "len", "first", "last"}
    | {"sort", "reverse", "compact", "take", "flatten", "days", "weeks", "hours", "minutes", "seconds"}
)
_WHOLE = frozenset({"record", "parent", "item"})
_BOTH: tuple[type, ...] = (Decimal, DateTime)


def has_forms(type_: Type, kinds: tuple[type, ...] = _BOTH) -> bool:
    """Whether it holds values of which columns keep less than rows."""
    match type_:
        case List(item=item):
            return has_forms(item, kinds)
        case Object(fields=fields):
            return any(has_forms(field.type, kinds) for field in fields.values())
        case _:
            return isinstance(type_, kinds)


def shown_by(texts: Sequence[str], fields: Mapping[str, Field]) -> set[str]:
    """The fields whose written form these expressions show."""
    return {name for text in texts for name in _of_text(text, _known(fields), fields, texts)}


def shown_by_field(spec: FieldSpec, target: Field, fields: Mapping[str, Field]) -> set[str]:
    """The fields whose written form a mapped field shows."""
    texts = texts_of(spec)
    if has_forms(target.type, (Json,)):
        return read_by(texts, fields)
    return _of_spec(spec, _known(fields), fields, texts)


def read_by(texts: Sequence[str], fields: Mapping[str, Field]) -> set[str]:
    """The fields with forms that the expressions mention at all."""
    found = {node.id for text in texts for node in ast.walk(_tree(text)) if isinstance(node, ast.Name)}
    names = set(fields) if found & _WHOLE else found & set(fields)
    return {name for name in names if has_forms(fields[name].type)}


def is_handed_on(text: str) -> bool:
    """The expression is a field as it is, with its form."""
    tree = _tree(text)
    while isinstance(tree, ast.Attribute):
        tree = tree.value
    return isinstance(tree, ast.Name) and tree.id not in _WHOLE


def texts_of(spec: FieldSpec) -> list[str]:
    """Every expression of a field."""
    match spec:
        case Formula(text=text):
            return [text]
        case Group(fields=fields):
            return [text for inner in fields.values() for text in texts_of(inner)]
        case Each():
            parts = [spec.each, spec.when, spec.value, spec.fields]
            return [text for part in parts if part is not None for text in texts_of(part)]


def _known(fields: Mapping[str, Field]) -> Known:
    return {name: (name, field.type) for name, field in fields.items()}


def _tree(text: str) -> ast.expr:
    return parse_expression(text, Faults(), NOWHERE) or ast.Name("record")


def _of_spec(spec: FieldSpec, known: Known, fields: Mapping[str, Field], texts: Sequence[str]) -> set[str]:
    match spec:
        case Formula(text=text):
            return _of_text(text, known, fields, texts)
        case Group(fields=inner):
            return {name for one in inner.values() for name in _of_spec(one, known, fields, texts)}
        case Each():
            found = _of_text(spec.each.text, known, fields, texts)
            base = _resolved(_tree(spec.each.text), known)
            inside = {} if base is None else _item(base, known)  # an unknown item: all its names are unknown
            for part in (spec.when, spec.value, spec.fields):
                if part is not None:
                    found |= _of_spec(part, inside, fields, texts)
            return found


def _item(base: tuple[str, Type], known: Known) -> Known:
    name, type_ = base
    if not isinstance(type_, List):
        return {}
    if not isinstance(type_.item, Object):
        return {**known, "item": (name, type_.item)}
    return {**known, **{n: (name, f.type) for n, f in type_.item.fields.items()}, "item": (name, type_.item)}


def _of_text(text: str, known: Known, fields: Mapping[str, Field], texts: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for node, kinds, inside in _showing(_tree(text), known):
        for name, type_ in _leaves(node, inside):
            if not name:
                return read_by(texts, fields)
            if has_forms(type_, kinds):
                found.add(name)
    return found


def _showing(node: ast.AST, known: Known) -> Iterator[tuple[ast.AST, tuple[type, ...], Known]]:
    """Parts that show the form of what is in them, of which kinds, and the names known there."""
    match node:
        case ast.FormattedValue(value=value, format_spec=spec):
            yield value, ((DateTime,) if _has_places(spec) else _BOTH), known
        case ast.Call(func=ast.Name(id=name)) if name not in _BY_VALUE and not (name == "date" and _has_zone(node)):
            for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield part, _BOTH, known
        case ast.ListComp(generators=generators) | ast.GeneratorExp(generators=generators):
            for generator in generators:
                yield from _showing(generator.iter, known)
                known = _with_target(generator, known)
                for test in generator.ifs:
                    yield from _showing(test, known)
            yield from _showing(node.elt, known)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _showing(child, known)


def _with_target(generator: ast.comprehension, known: Known) -> Known:
    if not isinstance(generator.target, ast.Name):
        return {}
    base = _resolved(generator.iter, known)
    rest = {name: value for name, value in known.items() if name != generator.target.id}
    if base is None or not isinstance(base[1], List):
        return rest
    return {**rest, generator.target.id: (base[0], base[1].item)}


def _has_zone(call: ast.Call) -> bool:
    return len(call.args) > 2 or any(keyword.arg == "zone" for keyword in call.keywords)


def _has_places(spec: ast.expr | None) -> bool:
    """``.2f``: the number of digits is told."""
    if not isinstance(spec, ast.JoinedStr) or len(spec.values) != 1 or not isinstance(spec.values[0], ast.Constant):
        return False
    text: Any = spec.values[0].value
    return isinstance(text, str) and "." in text and text[-1:] in ("f", "%")


def _leaves(node: ast.AST, known: Known) -> Iterator[tuple[str, Type]]:
    """What is read: the record's field and the type of the part of it; an empty name where that is not known."""
    match node:
        case ast.Attribute() | ast.Name():
            found = _resolved(node, known)
            if found is not None:
                yield found
            elif not _is_no_field(node):
                yield "", Json()
        case ast.ListComp(generators=generators) | ast.GeneratorExp(generators=generators):
            for generator in generators:
                yield from _leaves(generator.iter, known)
                known = _with_target(generator, known)
                for test in generator.ifs:
                    yield from _leaves(test, known)
            yield from _leaves(node.elt, known)
        case ast.Call(func=ast.Name()):
            for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield from _leaves(part, known)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _leaves(child, known)


def _is_no_field(node: ast.Attribute | ast.Name) -> bool:
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in ("true", "false", "null", "message")


def _resolved(node: ast.AST, known: Known) -> tuple[str, Type] | None:
    """A field, or a part of one by its path."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    base = _resolved(node.value, known)
    if base is None:
        return None
    if isinstance(base[1], Json):
        return base
    if not isinstance(base[1], Object) or node.attr not in base[1].fields:
        return None
    return base[0], base[1].fields[node.attr].type
