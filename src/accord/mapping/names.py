"""Names and parts of values: what ``customer.id``, ``items[0]`` and ``message.headers[\"x\"]`` are."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from accord.errors import did_you_mean
from accord.mapping.value import NULL, Headers, Message, Null, Value, has_personal, replace, shown
from accord.record.types import DateTime, Enum, Field, Integer, Json, List, Object, String

if TYPE_CHECKING:
    from accord.mapping.check import Compiler

_LITERALS = {"true": True, "false": False, "null": None}
_MESSAGE = {
    "id": String(),
    "key": String(),
    "source": String(),
    "topic": String(),
    "time": DateTime(),
    "headers": Headers(),
}


def name(c: Compiler, name: str) -> Value:
    """What a name stands for: variable of a comprehension, field (innermost first), result, literal or special word."""
    for frame in reversed(c.locals):
        if name in frame:
            return frame[name]
    for root in reversed(c.roots):
        if isinstance(root.type, Object) and name in root.type.fields:
            return member(c, root, name, "")
    if name in c.scope.names:
        return _result(c, name, c.scope.names[name])
    special = _special(c, name)
    if special is not None:
        return special
    if name in c.scope.functions:
        c.fail("mapping.unknown-name", f"'{name}' is a function.", f"Call it: {name}(…).")
    known = [n for root in c.roots if isinstance(root.type, Object) for n in root.type.fields]
    known += [*c.scope.names, *(n for frame in c.locals for n in frame), "message"]
    mend = did_you_mean(name, known)
    raise c.failed(
        "mapping.unknown-name",
        f"There is no field or result '{name}'.",
        f"{mend} Constant text needs quotes: \"'{name}'\".",
    )


def _special(c: Compiler, name: str) -> Value | None:
    if name in _LITERALS:
        return c.literal(_LITERALS[name])
    if name == "message":
        c.uses_environment = True
        return Value(code="e.message", type=Message(), is_atom=True)
    if name == "record":
        return c.roots[0]
    if name == "item" and len(c.roots) > 1:
        return c.roots[-1]
    if name == "parent" and len(c.roots) > 1:
        return c.roots[-2]
    return None


def _result(c: Compiler, name: str, field: Field) -> Value:
    code = f"n.get({name!r})" if field.nullable else f"n[{name!r}]"
    return Value(
        code=code,
        type=field.type,
        nullable=field.nullable,
        personal=bool(field.personal) or has_personal(field.type),
        references=field.references or "",
        sources=(name,),
    )


def member(c: Compiler, base: Value, name: str, said: str) -> Value:
    """``base.name``: a field of an object, anything of json, a part of the message."""
    match base.type:
        case Object(fields=fields):
            return _object_member(c, base, name, fields, said)
        case Json():
            made = c.strict([base], lambda x: f"_member({x}, {name!r})", Json(), nullable=True)
            return replace(made, sources=_deeper(base.sources, name))
        case Message():
            kind = _MESSAGE.get(name)
            if kind is None:
                c.fail("mapping.unknown-field", f"A message has no '{name}'.", did_you_mean(name, _MESSAGE))
            return Value(code=f"e.message[{name!r}]", type=kind, sources=(f"message.{name}",))
        case Headers():
            code = f"{base.code}.get({name.lower()!r})"
            return Value(code=code, type=String(), nullable=True, sources=(f"message.headers.{name}",))
        case Null():
            return NULL
        case List():
            raise c.failed(
                "mapping.type",
                f"'{said}' is a list and has no field '{name}'.",
                f"Take it of every item with '[x.{name} for x in {said}]', or of one with 'first({said}).{name}'.",
            )
        case _:
            mend = f"Call the function instead: {name}({said})." if name in c.scope.functions else ""
            raise c.failed("mapping.unknown-field", f"'{said}' is {shown(base.type)} and has no field '{name}'.", mend)


def _object_member(c: Compiler, base: Value, name: str, fields: dict[str, Field], said: str) -> Value:
    field = fields.get(name)
    if field is None:
        owner = f"'{said}'" if said else "The record"
        c.fail("mapping.unknown-field", f"{owner} has no field '{name}'.", did_you_mean(name, fields))
    references = field.references or ""
    if base is c.roots[0] and not references and (name,) == c.scope.key:
        references = c.scope.entity
    get = (lambda x: f"{x}.get({name!r})") if field.nullable else (lambda x: f"{x}[{name!r}]")
    made = c.strict([base], get, field.type, nullable=field.nullable)
    return replace(
        made,
        personal=base.personal or bool(field.personal) or has_personal(field.type),
        references=references,
        sources=_deeper(base.sources, name) if base.sources else (name,),
    )


def subscript(c: Compiler, node: ast.Subscript) -> Value:
    """``base[index]`` and slices."""
    base = c.compile(node.value)
    said = c.says(node.value)
    if isinstance(node.slice, ast.Slice):
        return _slice(c, base, node.slice, said)
    index = c.compile(node.slice)
    if isinstance(base.type, Object | Headers | Message):
        if not isinstance(index.literal, str):
            c.fail("mapping.type", f"'{said}[…]' needs the field's name as literal text.")
        return member(c, base, index.literal, said)
    if isinstance(base.type, Json):
        return c.strict([base, index], lambda x, i: f"_item({x}, {i})", Json(), nullable=True)
    if isinstance(base.type, List | String | Enum):
        if not isinstance(index.type, Integer | Null):
            c.fail("mapping.type", f"The position in '{c.says(node)}' must be an integer, not {shown(index.type)}.")
        kind = base.type.item if isinstance(base.type, List) else String()
        made = c.strict([base, index], lambda x, i: f"_at({x}, {i})", kind, nullable=True)
        return replace(made, sources=tuple(f"{s}[]" for s in base.sources) + index.sources)
    if base.is_null:
        return NULL
    raise c.failed("mapping.type", f"'{said}' is {shown(base.type)}; only lists, text, objects and json have parts.")


def _slice(c: Compiler, base: Value, part: ast.Slice, said: str) -> Value:
    if not isinstance(base.type, List | String | Enum):
        c.fail("mapping.type", f"'{said}' is {shown(base.type)}; only lists and text can be sliced.")
    if part.step is not None:
        c.fail("mapping.not-allowed", "A slice with a step is not part of the language.")
    bounds = []
    for bound in (part.lower, part.upper):
        value = c.literal(None) if bound is None else c.compile(bound)
        if not isinstance(value.type, Integer | Null):
            c.fail("mapping.type", f"The bounds of a slice must be integers, not {shown(value.type)}.")
        bounds.append(value)
    given = [b for b in bounds if not b.is_null]
    places = iter(range(1, len(given) + 1))
    shape = ":".join("" if b.is_null else "{" + str(next(places)) + "}" for b in bounds)
    kind = base.type if isinstance(base.type, List) else String()
    return c.strict([base, *given], lambda *codes: ("{0}[" + shape + "]").format(*codes), kind)


def _deeper(sources: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*sources[:-1], f"{sources[-1]}.{name}") if sources else (name,)
