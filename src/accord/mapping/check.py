"""Checks the types of an expression and writes its Python code, in one walk over the tree.

The walk yields ``Value``s. What can be written as one Python expression stays inline; what needs a temporary or a branch
becomes statements of the Emitter, so that a branch not taken is never evaluated. Null handling is written only where a
type is nullable.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal as PyDecimal
from typing import Any, NoReturn

from accord.errors import Faults, Place
from accord.mapping import calls, loops, names, operators
from accord.mapping.emit import Emitter
from accord.mapping.exact import is_usable
from accord.mapping.functions.signature import Parameter
from accord.mapping.hints import conversion_hint
from accord.mapping.scope import Scope
from accord.mapping.value import (
    NULL,
    Headers,
    Message,
    Null,
    Value,
    literal_code,
    meet,
    merged,
    replace,
    shown,
)
from accord.record.types import (
    Boolean,
    Decimal,
    Enum,
    Integer,
    Json,
    List,
    Object,
    String,
)


class CheckFailed(Exception):
    """The fault is already noted; the expression cannot be compiled."""


class Compiler:
    """Compiles expressions of one scope into one Emitter. ``roots``: the record, then the items of the ``each`` around us."""

    def __init__(self, scope: Scope, emitter: Emitter, faults: Faults, place: Place) -> None:
        self.scope = scope
        self.emitter = emitter
        self.faults = faults
        self.place = place
        self.text = ""
        self.source = ""
        self.uses_refs = False
        self.uses_environment = False
        self.roots: list[Value] = [Value(code="r", type=Object(dict(scope.fields)), is_atom=True)]
        self.locals: list[dict[str, Value]] = []

    # --- faults and small tools

    def fail(self, code: str, what: str, mend: str = "") -> NoReturn:
        """Notes a fault of the current expression and gives up on it."""
        raise self.failed(code, what, mend)

    def failed(self, code: str, what: str, mend: str = "") -> CheckFailed:
        """Notes a fault of the current expression; to be raised by the caller."""
        self.faults.add(code, self.place, f"{what} In: {self.text}" if self.text else what, mend)
        return CheckFailed()

    def says(self, node: ast.AST) -> str:
        """The source of a part of the expression, for messages."""
        return ast.unparse(node)

    def atom(self, value: Value) -> Value:
        """The same value under a name, so that it can be used more than once."""
        if value.is_atom:
            return value
        name = self.emitter.fresh()
        self.emitter.add(f"{name} = {value.code}")
        return replace(value, code=name, is_atom=True)

    def strict(
        self, operands: Sequence[Value], build: Callable[..., str], type_: Any, *, nullable: bool = False
    ) -> Value:
        """A value computed from operands, null when one of them is. ``build`` gets their code."""
        if any(v.is_null for v in operands):
            return NULL
        guards: list[str] = []
        codes: list[str] = []
        for value in operands:
            if value.nullable:
                value = self.atom(value)
                guards.append(f"{value.code} is None")
            codes.append(value.code)
        code = build(*codes)
        if guards:
            code = f"(None if {' or '.join(dict.fromkeys(guards))} else {code})"
        return Value(code=code, type=type_, nullable=nullable or bool(guards), **merged(operands))

    def literal(self, value: Any) -> Value:
        if value is None:
            return NULL
        code = literal_code(value)
        kinds = {bool: Boolean(), int: Integer(), str: String(), PyDecimal: Decimal()}
        return Value(
            code=code if code is not None else self.emitter.constant(value),
            type=kinds[type(value)],
            is_atom=True,
            literal=value,
        )

    def literal_of_default(self, parameter: Parameter) -> Value:
        """The default of a parameter; what is no plain literal is used as a constant."""
        if parameter.default is None or isinstance(parameter.default, bool | int | str | PyDecimal):
            return self.literal(parameter.default)
        return Value(code=self.emitter.constant(parameter.default), type=Json(), is_atom=True)

    def with_type(self, value: Value, type_: Any) -> Value:
        """Turns integers into decimals where numbers meet; every other meeting of types needs no code."""
        if value.is_null:
            return replace(value, type=type_, nullable=True)
        if isinstance(type_, Decimal) and isinstance(value.type, Integer):
            if value.is_literal:
                return self.literal(PyDecimal(value.literal))
            made = self.strict([value], lambda x: f"_D({x})", type_)
            return replace(made, references=value.references)
        if (
            isinstance(type_, List)
            and isinstance(value.type, List)
            and isinstance(type_.item, Decimal)
            and isinstance(value.type.item, Integer)
        ):
            item = "None if v is None else _D(v)" if value.type.is_item_nullable else "_D(v)"
            return self.strict([value], lambda x: f"[{item} for v in {x}]", type_)
        return replace(value, type=type_)

    # --- the walk

    def compile(self, node: ast.expr) -> Value:
        """Checks and compiles one node. Raises CheckFailed when a fault was noted."""
        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.Name(id=name):
                return names.name(self, name)
            case ast.Attribute(value=base, attr=name):
                return names.member(self, self.compile(base), name, self.says(base))
            case ast.Subscript():
                return names.subscript(self, node)
            case ast.BinOp():
                return operators.binary(self, node)
            case ast.UnaryOp():
                return operators.unary(self, node)
            case ast.BoolOp():
                return operators.boolean(self, node)
            case ast.Compare():
                return operators.compare(self, node)
            case ast.IfExp():
                return self._conditional(node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return loops.list_of(self, items)
            case (
                ast.ListComp(elt=element, generators=generators) | ast.GeneratorExp(elt=element, generators=generators)
            ):
                return loops.comprehension(self, element, generators)
            case ast.JoinedStr(values=parts):
                return operators.joined(self, parts)
            case ast.Call():
                return calls.call(self, node)
            case _:
                raise self.failed("mapping.not-allowed", f"'{self.says(node)}' is not allowed here.")

    def condition(self, node: ast.expr) -> Value:
        """A boolean; null counts as false wherever its code is used as a Python condition."""
        value = self.compile(node)
        if not isinstance(value.type, Boolean | Null):
            self.fail(
                "mapping.type",
                f"'{self.says(node)}' is {shown(value.type, value.nullable)}, but a condition must be boolean.",
                f"Compare it, for example '{self.says(node)} is not null'.",
            )
        return value

    def branches(self, parts: Sequence[ast.expr]) -> list[tuple[Value, list[Any]]]:
        """Compiles alternatives apart: each with the statements it needs, to be placed where it is chosen."""
        made = []
        for part in parts:
            with self.emitter.captured() as lines:
                made.append((self.compile(part), lines))
        return made

    def joined_type(self, values: Iterable[tuple[Value, ast.expr]]) -> Any:
        """The type alternatives have in common; text literals count as an enum of themselves."""
        joined: Any = Null()
        first = ""
        for value, node in values:
            kind = Enum((value.literal,)) if isinstance(value.literal, str) else value.type
            met = meet(joined, kind)
            if met is None or isinstance(met, Message | Headers):
                self.fail(
                    "mapping.type",
                    f"'{self.says(node)}' is {shown(value.type)}, but the other choice '{first}' is {shown(joined)}.",
                    conversion_hint(value.type, joined, self.says(node)),
                )
            joined = met
            first = first or self.says(node)
        return joined

    def settle(self, name: str, value: Value, lines: list[Any], type_: Any) -> None:
        """Places captured statements here (inside an open block) and assigns the value."""
        self.emitter.splice(lines)
        self.emitter.add(f"{name} = {self.with_type(value, type_).code}")

    def _conditional(self, node: ast.IfExp) -> Value:
        test = self.condition(node.test)
        if test.is_null:
            return self.compile(node.orelse)
        (yes, yes_lines), (no, no_lines) = self.branches([node.body, node.orelse])
        type_ = self.joined_type([(yes, node.body), (no, node.orelse)])
        facts = merged([test, yes, no]) | {"personal": yes.personal or no.personal}
        nullable = yes.nullable or no.nullable or yes.is_null or no.is_null
        if not yes_lines and not no_lines:
            with self.emitter.captured() as lines:
                a, b = self.with_type(yes, type_).code, self.with_type(no, type_).code
            if not lines:
                return Value(code=f"({a} if {test.code} else {b})", type=type_, nullable=nullable, **facts)
        name = self.emitter.fresh()
        with self.emitter.block(f"if {test.code}:"):
            self.settle(name, yes, yes_lines, type_)
        with self.emitter.block("else:"):
            self.settle(name, no, no_lines, type_)
        return Value(code=name, type=type_, nullable=nullable, is_atom=True, **facts)

    def _constant(self, node: ast.Constant, value: Any) -> Value:
        if isinstance(value, float):
            digits = ast.get_source_segment(self.source, node) or repr(value)
            number = PyDecimal(digits)
            if not is_usable(number):
                self.fail("mapping.literal", f"The number {digits[:40]} is too large or too small.")
            return self.literal(number)
        if value is None or isinstance(value, bool | int | str):
            return self.literal(value)
        raise self.failed(
            "mapping.not-allowed", f"A literal of this kind ({type(value).__name__}) is not part of the language."
        )
