"""``with:`` and the like: named expressions that together make an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from accord.errors import Problem, RecordError, did_you_mean
from accord.flow.step import StepContext
from accord.mapping.environment import Environment
from accord.record import Field
from accord.record.types import Json, List, Object
from accord.settings.node import Node

Maker: TypeAlias = Callable[[Any, dict[str, Any], Environment], Any]


def compile_object(
    node: Node | None,
    fields: Mapping[str, Field],
    at: StepContext,
    owner: str,
    noun: str,
    *,
    required: frozenset[str] | None = None,
) -> Maker | None:
    """A function from record, names and environment to an object of ``fields``; None when it has faults.

    ``noun`` is what messages call a key (argument, field); ``required``: None asks for all that are not nullable. The
    function raises RecordError with paths.
    """
    if node is not None and not node.is_map:
        at.faults.add(
            f"flow.bad-{noun}", node.place, f"'with' names one expression per {noun}, and this is {node.describe()}."
        )
        return None
    makers: dict[str, Maker] = {}
    is_good = True
    for name, child in node.items() if node is not None else ():
        field = fields.get(name)
        if field is None:
            assert node is not None
            at.faults.add(
                f"flow.unknown-{noun}",
                node.place_of(name),
                f"{owner} has no {noun} '{name}'.",
                did_you_mean(name, fields),
            )
            is_good = False
            continue
        maker = compile_value(child, field, at, f"{owner}.{name}")
        is_good = is_good and maker is not None
        if maker is not None:
            makers[name] = maker
    given = {name for name, _ in node.items()} if node is not None else set()
    wanted = {n for n, f in fields.items() if not f.nullable} if required is None else required
    for name in fields:
        if name in wanted and name not in given:
            place = node.place if node is not None else at.place()
            at.faults.add(
                f"flow.missing-{noun}", place, f"{owner} needs the {noun} '{name}'.", f"Add it: {name}: <expression>."
            )
            is_good = False
    return _object(makers) if is_good else None


def compile_value(node: Node, field: Field, at: StepContext, owner: str) -> Maker | None:
    """One value: an expression; a mapping for an object (or json); a list for a list (or json)."""
    if node.is_map:
        if isinstance(field.type, Object):
            return compile_object(node, field.type.fields, at, owner, "field")
        if isinstance(field.type, Json):
            return compile_object(
                node, {name: Field(type=Json(), nullable=True) for name, _ in node.items()}, at, owner, "field"
            )
    if node.is_list and isinstance(field.type, List | Json):
        item = field.type.item if isinstance(field.type, List) else Json()
        is_nullable = field.type.is_item_nullable if isinstance(field.type, List) else True
        found = [compile_value(each, Field(type=item, nullable=is_nullable), at, owner) for each in node.elements()]
        makers = [maker for maker in found if maker is not None]
        return None if len(makers) < len(found) else lambda r, n, e: [maker(r, n, e) for maker in makers]
    # An untyped place takes an expression of any type.
    expression = at.expression(node, None if isinstance(field.type, Json) else field, owner)
    return expression.evaluate if expression is not None else None


def _object(makers: dict[str, Maker]) -> Maker:
    pairs = tuple(makers.items())

    def make(record: Any, names: dict[str, Any], environment: Environment) -> dict[str, Any]:
        value: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, maker in pairs:
            try:
                value[name] = maker(record, names, environment)
            except RecordError as error:
                problems.extend(
                    Problem(p.code, f"{name}.{p.path}" if p.path else name, p.reason, p.value) for p in error.problems
                )
        if problems:
            raise RecordError(problems)
        return value

    return make
