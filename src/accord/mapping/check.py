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

from accord.errors import Faults, Place, did_you_mean
from accord.mapping.emit import Emitter
from accord.mapping.exact import is_usable
from accord.mapping.functions.signature import Parameter
from accord.mapping.scope import Scope
from accord.mapping.value import Headers, Message, Null, Value, has_personal, literal_code, meet, shown
from accord.record.types import (
    Boolean,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Json,
    List,
    Object,
    String,
)

_LITERALS = {"true": True, "false": False, "null": None}
_MESSAGE = {
    "id": String(),
    "key": String(),
    "source": String(),
    "topic": String(),
    "time": DateTime(),
    "headers": Headers(),
}


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
        return _replace(value, code=name, is_atom=True)

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
            return _replace(value, type=type_, nullable=True)
        if isinstance(type_, Decimal) and isinstance(value.type, Integer):
            if value.is_literal:
                return self.literal(PyDecimal(value.literal))
            made = self.strict([value], lambda x: f"_D({x})", type_)
            return _replace(made, references=value.references)
        if (
            isinstance(type_, List)
            and isinstance(value.type, List)
            and isinstance(type_.item, Decimal)
            and isinstance(value.type.item, Integer)
        ):
            item = "None if v is None else _D(v)" if value.type.is_item_nullable else "_D(v)"
            return self.strict([value], lambda x: f"[{item} for v in {x}]", type_)
        return _replace(value, type=type_)

    # --- the walk

    def compile(self, node: ast.expr) -> Value:
        """Checks and compiles one node. Raises CheckFailed when a fault was noted."""
        from accord.mapping import calls, loops, operators

        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=base, attr=name):
                return self.member(self.compile(base), name, self.says(base))
            case ast.Subscript():
                return self._subscript(node)
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

    # --- names and parts of values

    def _name(self, name: str) -> Value:
        for frame in reversed(self.locals):
            if name in frame:
                return frame[name]
        for root in reversed(self.roots):
            if isinstance(root.type, Object) and name in root.type.fields:
                return self.member(root, name, "")
        if name in self.scope.names:
            return self._result(name, self.scope.names[name])
        special = self._special(name)
        if special is not None:
            return special
        if name in self.scope.functions:
            self.fail("mapping.unknown-name", f"'{name}' is a function.", f"Call it: {name}(…).")
        known = [n for root in self.roots if isinstance(root.type, Object) for n in root.type.fields]
        known += [*self.scope.names, *(n for frame in self.locals for n in frame), "message"]
        mend = did_you_mean(name, known)
        raise self.failed(
            "mapping.unknown-name",
            f"There is no field or result '{name}'.",
            f"{mend} Constant text needs quotes: \"'{name}'\".",
        )

    def _special(self, name: str) -> Value | None:
        if name in _LITERALS:
            return self.literal(_LITERALS[name])
        if name == "message":
            self.uses_environment = True
            return Value(code="e.message", type=Message(), is_atom=True)
        if name == "record":
            return self.roots[0]
        if name == "item" and len(self.roots) > 1:
            return self.roots[-1]
        if name == "parent" and len(self.roots) > 1:
            return self.roots[-2]
        return None

    def _result(self, name: str, field: Field) -> Value:
        code = f"n.get({name!r})" if field.nullable else f"n[{name!r}]"
        return Value(
            code=code,
            type=field.type,
            nullable=field.nullable,
            personal=bool(field.personal) or has_personal(field.type),
            references=field.references or "",
            sources=(name,),
        )

    def member(self, base: Value, name: str, said: str) -> Value:
        """``base.name``: a field of an object, anything of json, a part of the message."""
        match base.type:
            case Object(fields=fields):
                return self._object_member(base, name, fields, said)
            case Json():
                made = self.strict([base], lambda x: f"_member({x}, {name!r})", Json(), nullable=True)
                return _replace(made, sources=_deeper(base.sources, name))
            case Message():
                kind = _MESSAGE.get(name)
                if kind is None:
                    self.fail("mapping.unknown-field", f"A message has no '{name}'.", did_you_mean(name, _MESSAGE))
                return Value(code=f"e.message[{name!r}]", type=kind, sources=(f"message.{name}",))
            case Headers():
                code = f"{base.code}.get({name.lower()!r})"
                return Value(code=code, type=String(), nullable=True, sources=(f"message.headers.{name}",))
            case Null():
                return NULL
            case List():
                raise self.failed(
                    "mapping.type",
                    f"'{said}' is a list and has no field '{name}'.",
                    f"Take it of every item with '[x.{name} for x in {said}]', or of one with 'first({said}).{name}'.",
                )
            case _:
                mend = f"Call the function instead: {name}({said})." if name in self.scope.functions else ""
                raise self.failed(
                    "mapping.unknown-field", f"'{said}' is {shown(base.type)} and has no field '{name}'.", mend
                )

    def _object_member(self, base: Value, name: str, fields: dict[str, Field], said: str) -> Value:
        field = fields.get(name)
        if field is None:
            owner = f"'{said}'" if said else "The record"
            self.fail("mapping.unknown-field", f"{owner} has no field '{name}'.", did_you_mean(name, fields))
        references = field.references or ""
        if base is self.roots[0] and not references and (name,) == self.scope.key:
            references = self.scope.entity
        get = (lambda x: f"{x}.get({name!r})") if field.nullable else (lambda x: f"{x}[{name!r}]")
        made = self.strict([base], get, field.type, nullable=field.nullable)
        return _replace(
            made,
            personal=base.personal or bool(field.personal) or has_personal(field.type),
            references=references,
            sources=_deeper(base.sources, name) if base.sources else (name,),
        )

    def _subscript(self, node: ast.Subscript) -> Value:
        base = self.compile(node.value)
        said = self.says(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(base, node.slice, said)
        index = self.compile(node.slice)
        if isinstance(base.type, Object | Headers | Message):
            if not isinstance(index.literal, str):
                self.fail("mapping.type", f"'{said}[…]' needs the field's name as literal text.")
            return self.member(base, index.literal, said)
        if isinstance(base.type, Json):
            return self.strict([base, index], lambda x, i: f"_item({x}, {i})", Json(), nullable=True)
        if isinstance(base.type, List | String | Enum):
            if not isinstance(index.type, Integer | Null):
                self.fail(
                    "mapping.type", f"The position in '{self.says(node)}' must be an integer, not {shown(index.type)}."
                )
            kind = base.type.item if isinstance(base.type, List) else String()
            made = self.strict([base, index], lambda x, i: f"_at({x}, {i})", kind, nullable=True)
            return _replace(made, sources=tuple(f"{s}[]" for s in base.sources) + index.sources)
        if base.is_null:
            return NULL
        raise self.failed(
            "mapping.type", f"'{said}' is {shown(base.type)}; only lists, text, objects and json have parts."
        )

    def _slice(self, base: Value, part: ast.Slice, said: str) -> Value:
        if not isinstance(base.type, List | String | Enum):
            self.fail("mapping.type", f"'{said}' is {shown(base.type)}; only lists and text can be sliced.")
        if part.step is not None:
            self.fail("mapping.not-allowed", "A slice with a step is not part of the language.")
        bounds = []
        for bound in (part.lower, part.upper):
            value = self.literal(None) if bound is None else self.compile(bound)
            if not isinstance(value.type, Integer | Null):
                self.fail("mapping.type", f"The bounds of a slice must be integers, not {shown(value.type)}.")
            bounds.append(value)
        given = [b for b in bounds if not b.is_null]
        places = iter(range(1, len(given) + 1))
        shape = ":".join("" if b.is_null else "{" + str(next(places)) + "}" for b in bounds)
        kind = base.type if isinstance(base.type, List) else String()
        return self.strict([base, *given], lambda *codes: ("{0}[" + shape + "]").format(*codes), kind)


NULL = Value(code="None", type=Null(), is_atom=True, literal=None)


def _replace(value: Value, **changes: Any) -> Value:
    facts = {name: getattr(value, name) for name in value.__struct_fields__}
    if "literal" not in changes and "code" in changes:
        facts["literal"] = value.literal
    return Value(**(facts | changes))


def replace(value: Value, **changes: Any) -> Value:
    """The same value with some facts changed."""
    return _replace(value, **changes)


def merged(values: Iterable[Value]) -> dict[str, Any]:
    """What a value inherits from what it is computed of: personal marks and sources."""
    values = list(values)
    return {
        "personal": any(v.personal for v in values),
        "sources": tuple(dict.fromkeys(s for v in values for s in v.sources)),
    }


def _deeper(sources: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*sources[:-1], f"{sources[-1]}.{name}") if sources else (name,)


def conversion_hint(have: Any, want: Any, said: str) -> str:
    """How to convert, in the language's own words; empty when nothing fits."""
    targets = {
        "string": "text({0})",
        "enum": "text({0})",
        "decimal": "decimal({0})",
        "integer": "integer(round({0}))" if isinstance(have, Decimal) else "integer({0})",
        "float": "float_({0})",
        "date": "date({0})" if shown(have) == "datetime" else 'date({0}, "%Y-%m-%d")',
        "datetime": 'datetime({0}, zone="Europe/Berlin")',
        "boolean": "boolean({0})",
        "duration": "duration({0})",
    }
    if isinstance(want, List) and not isinstance(have, List) and meet(have, want.item) is not None:
        return f"Make a list of it: [{said}]."
    if isinstance(have, List) and not isinstance(want, List | Object):
        return f"Take one item, for example first({said})."
    if isinstance(have, List | Object):
        return f"Take one of its fields: {said}.…" if isinstance(have, Object) else ""
    if isinstance(want, Json):
        return f"Convert it: text({said})."
    template = targets.get(str(want.__struct_config__.tag))
    return f"Convert it: {template.format(said)}." if template else ""
