"""Expressions become column expressions.

The row compiler checks and types every part of the tree; this one walks the same tree and builds Polars expressions where
they certainly mean the same. A part it has no sure form for becomes an *island*: evaluated by its row form, on its own
columns only. Where not even that is possible it raises NoColumn, and the caller takes the row form of a larger part.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import polars as pl

from accord.errors import NOWHERE, Faults, Place
from accord.mapping.check import CheckFailed, Compiler
from accord.mapping.columns import operators
from accord.mapping.columns.column import (
    Column,
    NoColumn,
    as_type,
    changed,
    depth_of,
    doubt,
    either,
    literal,
    odd_of,
    same_zone,
    source,
)
from accord.mapping.columns.forms import form_of
from accord.mapping.columns.parts import Parts
from accord.mapping.emit import Emitter
from accord.mapping.environment import Environment
from accord.mapping.scope import Scope
from accord.mapping.syntax import parse_expression
from accord.mapping.value import Value
from accord.record.types import DateTime, List, Object, String

_LITERALS = {"true": True, "false": False, "null": None}


class TypingCompiler(Compiler):
    """The row compiler, remembering what it found out about every node."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope, Emitter(), Faults(), NOWHERE)
        self.values: dict[int, Value] = {}
        self.kept: list[ast.AST] = []

    def compile(self, node: ast.expr) -> Value:
        value = super().compile(node)
        self.values[id(node)] = value
        self.kept.append(node)
        return value


class ColumnCompiler:
    """Compiles expressions of one scope. ``parts`` collects what must be computed before the frame's own expressions run."""

    def __init__(self, scope: Scope, parts: Parts, environment: Environment) -> None:
        self.scope = scope
        self.parts = parts
        self.environment = environment
        self.typing = TypingCompiler(scope)
        self.roots: list[Column] = []
        self.locals: list[dict[str, Column]] = []
        self.source = ""

    def expression(self, text: str, place: Place = NOWHERE) -> tuple[Column, Value]:
        """Compiles a text that the row compiler is known to accept, in the current place. Raises NoColumn."""
        tree = parse_expression(text, Faults(), place)
        if tree is None:
            raise NoColumn("an expression that cannot be read")
        self.typing.text, self.typing.place = text, place
        self.typing.source = self.source = f"({text.strip()}\n)"
        try:
            with self.typing.emitter.captured():
                value = self.typing.compile(tree)
        except CheckFailed:
            raise NoColumn("an expression that does not compile") from None
        return self.compile(tree), value

    def value_of(self, node: ast.AST) -> Value:
        """What the row compiler knows of a node."""
        value = self.typing.values.get(id(node))
        if value is None:
            raise NoColumn("a part whose type is not known")
        return value

    def compile(self, node: ast.expr) -> Column:
        """A column, or an island when there is no column form here. Raises NoColumn."""
        try:
            made = self._node(node)
        except NoColumn as error:
            return self._island(node, error)
        known = self.typing.values.get(id(node))
        return as_type(made, known.type) if made.is_null and known is not None else made

    def _island(self, node: ast.expr, error: NoColumn) -> Column:
        if self.roots or self.locals or isinstance(node, ast.Constant | ast.Name):
            raise error
        text = ast.get_source_segment(self.source, node)
        if text is None:
            raise error
        value = self.value_of(node)
        if value.is_null:
            raise error
        return self.parts.island(self.scope, f"({text})", value.field(), error.why)

    def _node(self, node: ast.expr) -> Column:
        match node:
            case ast.Constant():
                return literal(self.value_of(node).literal, self.value_of(node).type)
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.Attribute(value=base, attr=name):
                if isinstance(base, ast.Name) and base.id == "message" and not self._is_taken("message"):
                    return self._message(name)
                return self.member(self.compile(base), name)
            case ast.Subscript():
                return operators.subscript(self, node)
            case ast.BinOp():
                return operators.binary(self, node)
            case ast.UnaryOp():
                return operators.unary(self, node)
            case ast.BoolOp():
                return operators.boolean(self, node)
            case ast.Compare():
                return operators.compare(self, node)
            case ast.IfExp(test=test, body=yes, orelse=no):
                return self.choose([(test, yes)], no, self.value_of(node))
            case (
                ast.ListComp(elt=element, generators=generators) | ast.GeneratorExp(elt=element, generators=generators)
            ):
                return self._comprehension(node, element, generators)
            case ast.JoinedStr(values=pieces):
                return operators.joined(self, pieces)
            case ast.Call(func=ast.Name(id=name)):
                return form_of(self, name, node)
            case _:
                raise NoColumn(f"{type(node).__name__}")

    def pinned(self, node: ast.expr, column: Column) -> Column:
        """The value as a column of its own, computed once however often it is used."""
        if self.roots or self.locals or column.depth != 0:
            return column
        return changed(column, value=self.parts.pin(ast.dump(node), column.value))

    # --- names

    def _is_taken(self, name: str) -> bool:
        return (
            any(name in frame for frame in self.locals)
            or name in self.scope.fields
            or name in self.scope.names
            or any(isinstance(root.type, Object) and name in root.type.fields for root in self.roots)
        )

    def _name(self, node: ast.Name, name: str) -> Column:
        for frame in reversed(self.locals):
            if name in frame:
                return frame[name]
        for root in reversed(self.roots):
            if isinstance(root.type, Object) and name in root.type.fields:
                return self.member(root, name)
        if name in self.scope.fields:
            return self._field(name)
        if name in self.scope.names:
            field = self.scope.names[name]
            return source(pl.col(self.parts.result(name)), field.type, field.nullable, 0)
        if name in _LITERALS:
            return literal(_LITERALS[name], self.value_of(node).type)
        if name == "item" and self.roots:
            return self.roots[-1]
        if name == "parent" and len(self.roots) > 1:
            return self.roots[-2]
        raise NoColumn(f"the whole '{name}'")

    def _field(self, name: str) -> Column:
        field = self.scope.fields[name]
        if not field.nullable:
            self.parts.required.add(name)
        return source(pl.col(name), field.type, field.nullable, 0)

    def member(self, base: Column, name: str) -> Column:
        if base.is_null:
            return base
        if not isinstance(base.type, Object):
            raise NoColumn("parts of json")
        field = base.type.fields[name]
        value = base.value.struct.field(name)
        made = source(value, field.type, base.nullable or field.nullable, base.depth)
        if field.nullable:
            return changed(made, value=value, odd=base.odd)
        return changed(made, value=value, odd=either(base.odd, base.value.is_not_null() & value.is_null()))

    def _message(self, name: str) -> Column:
        self.parts.uses_environment = True
        if name not in ("id", "key", "source", "topic"):
            raise NoColumn("the message")
        value = self.environment.message.get(name)
        if not isinstance(value, str):
            raise NoColumn("the message")
        return literal(value, String())

    # --- choices and lists

    def choose(self, pairs: Sequence[tuple[ast.expr, ast.expr]], otherwise: ast.expr, whole: Value) -> Column:
        """The value behind the first condition that is true; only the parts that are reached count as odd."""
        tests = [self.compile(test) for test, _ in pairs]
        type_ = whole.type
        values = [as_type(self.compile(value), type_) for _, value in pairs]
        made = as_type(self.compile(otherwise), type_)
        odd = made.odd
        value = made.value
        for test, chosen in zip(reversed(tests), reversed(values), strict=True):
            value = pl.when(test.value).then(chosen.value).otherwise(value)
            if odd is not None or chosen.odd is not None:
                odd = pl.when(test.value).then(_or_false(chosen.odd)).otherwise(_or_false(odd))
            odd = either(test.odd, odd)
        return self.combined([*values, made], value, type_, whole.nullable, odd=odd, more=tests)

    def combined(
        self,
        columns: Sequence[Column],
        value: pl.Expr,
        type_: Any,
        nullable: bool,
        *,
        odd: pl.Expr | None,
        more: Sequence[Column] = (),
    ) -> Column:
        """One of several columns: what is known of it is what holds for all."""
        zone = same_zone([c for c in columns if not c.is_null])
        if isinstance(type_, DateTime) and len({c.zone for c in columns if isinstance(c.type, DateTime)}) > 1:
            raise NoColumn("times of several zones")
        return Column(
            value=value,
            type=type_,
            nullable=nullable,
            odd=odd,
            whole=max(c.whole for c in columns),
            places=max(c.places for c in columns),
            is_plain=all(c.is_plain for c in columns),
            zone=zone,
            depth=depth_of([*columns, *more]),
        )

    def _comprehension(self, node: ast.expr, element: ast.expr, generators: list[ast.comprehension]) -> Column:
        if len(generators) > 1 or not isinstance(generators[0].target, ast.Name):
            raise NoColumn("a comprehension over several lists")
        base = self.compile(generators[0].iter)
        item = self.item_of(base)
        self.locals.append({generators[0].target.id: item})
        try:
            tests = [self.compile(test) for test in generators[0].ifs]
            inner = self.compile(element)
        finally:
            self.locals.pop()
        inner_type = self.value_of(element)
        return self.walked(base, item, tests, inner, List(inner_type.field().type, inner_type.nullable))

    def item_of(self, base: Column) -> Column:
        """What stands for an item of a list while the list is walked."""
        if not isinstance(base.type, List):
            raise NoColumn("json as a list")
        if max(base.depth, 0) != self._depth():
            raise NoColumn("a list from outside the list that is walked")
        return source(pl.element(), base.type.item, base.type.is_item_nullable, max(base.depth, 0) + 1)

    def _depth(self) -> int:
        frames = [column.depth for frame in self.locals for column in frame.values()]
        return max([*frames, *(root.depth for root in self.roots)], default=0)

    def walked(self, base: Column, item: Column, tests: Sequence[Column], inner: Column, type_: List) -> Column:
        """A list made of the items of a list for which all tests are true."""
        for column in (*tests, inner):
            if column.depth != item.depth:
                raise NoColumn("values from outside the list that is walked")
        value = inner.value
        odd = either(odd_of(tests), inner.odd)
        if not item.nullable:
            odd = either(item.value.is_null(), odd)
        for test in tests:
            value = value.filter(test.value) if len(tests) == 1 else value
        if len(tests) > 1:
            every = tests[0].value
            for test in tests[1:]:
                every = every & test.value
            value = value.filter(every)
        made = Column(
            value=base.value.list.eval(value), type=type_, nullable=base.nullable, odd=base.odd, depth=base.depth,
            whole=inner.whole, places=inner.places, is_plain=inner.is_plain, zone=inner.zone,
        )  # fmt: skip
        return made if odd is None else doubt(made, base.value.list.eval(odd.fill_null(value=False)).list.any())


def _or_false(odd: pl.Expr | None) -> pl.Expr:
    return odd if odd is not None else pl.lit(value=False)
