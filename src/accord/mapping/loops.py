"""Lists: literals and comprehensions."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accord.mapping.value import Null, Value, merged, outward, replace, shown
from accord.record.types import Json, List

if TYPE_CHECKING:
    from accord.mapping.check import Compiler


GENERATORS_MAX = 3
NESTING_MAX = 5


def list_of(c: Compiler, items: Sequence[ast.expr]) -> Value:
    """``[a, b, c]``: the items must have a type in common."""
    values = [c.compile(item) for item in items]
    type_ = c.joined_type(zip(values, items, strict=True))
    ready = [c.with_type(v, type_) for v in values]
    is_item_nullable = any(v.nullable or v.is_null for v in values)
    code = f"[{', '.join(v.code for v in ready)}]"
    item: Any = type_ if isinstance(type_, Null) else outward(type_)
    return Value(code=code, type=List(item, is_item_nullable), **merged(values))


def comprehension(c: Compiler, element: ast.expr, generators: Sequence[ast.comprehension]) -> Value:
    """``[x.sku for x in line_items if x.quantity > 1]``; a null list gives null, a null condition leaves the item out."""
    if len(generators) > GENERATORS_MAX:
        c.fail("mapping.too-large", f"A comprehension may have at most {GENERATORS_MAX} 'for'.")
    source = iterable(c, generators[0].iter)
    if source.is_null:
        return source
    nullable = source.nullable
    if nullable:
        source = c.atom(source)
    with c.emitter.captured() as lines:
        inner, filters, filter_lines, variable = _inside(c, element, generators, source)
    type_ = List(outward(inner.type), inner.nullable or inner.is_null)
    facts = merged([source, inner])
    if not lines and not filter_lines and len(generators) == 1:
        condition = f" if {' and '.join(filters)}" if filters else ""
        code = f"[{inner.code} for {variable} in {source.code}{condition}]"
        if nullable:
            code = f"(None if {source.code} is None else {code})"
        return Value(code=code, type=type_, nullable=nullable, **facts)
    out = c.emitter.fresh("l")
    if nullable:
        c.emitter.add(f"{out} = None")
        with c.emitter.block(f"if {source.code} is not None:"):
            _loop(c, out, element, generators, source)
    else:
        _loop(c, out, element, generators, source)
    return Value(code=out, type=type_, nullable=nullable, is_atom=True, **facts)


def iterable(c: Compiler, node: ast.expr) -> Value:
    """A list (or json that must turn out to be one)."""
    value = c.compile(node)
    return as_list(c, value, c.says(node))


def as_list(c: Compiler, value: Value, said: str) -> Value:
    """Checks that a value can be walked; ``said`` is its source."""
    if isinstance(value.type, Json):
        made = c.strict([value], lambda x: f"_items({x})", List(Json(), True))
        return replace(made, sources=value.sources)
    if not isinstance(value.type, List | Null):
        c.fail("mapping.type", f"'{said}' is {shown(value.type)}, but only a list can be walked.", "Name a list field.")
    return value


def _bind(c: Compiler, generator: ast.comprehension, source: Value) -> str:
    if not isinstance(generator.target, ast.Name):
        c.fail("mapping.not-allowed", "A comprehension names one variable: 'for x in …'.")
    if len(c.locals) >= NESTING_MAX:
        c.fail("mapping.too-large", f"Comprehensions may nest {NESTING_MAX} deep.", "Move a part into a function.")
    variable = c.emitter.fresh("v")
    c.locals.append(
        {
            generator.target.id: Value(
                code=variable,
                type=source.type.item,
                nullable=source.type.is_item_nullable,
                is_atom=True,
                personal=source.personal,
                sources=tuple(f"{s}[]" for s in source.sources),
            )
        }
    )
    return variable


def _inside(
    c: Compiler, element: ast.expr, generators: Sequence[ast.comprehension], source: Value
) -> tuple[Value, list[str], bool, str]:
    """Types the comprehension (and its code, when it turns out to need no statements)."""
    depth = len(c.locals)
    try:
        variable = _bind(c, generators[0], source)
        with c.emitter.captured() as lines:
            filters = [c.condition(f).code for f in generators[0].ifs]
        if len(generators) > 1:
            nested = iterable(c, generators[1].iter)
            if nested.is_null:
                return nested, filters, bool(lines), variable
            inner, _, _, _ = _inside(c, element, generators[1:], nested)
        else:
            inner = c.compile(element)
        return inner, filters, bool(lines), variable
    finally:
        del c.locals[depth:]


def _loop(c: Compiler, out: str, element: ast.expr, generators: Sequence[ast.comprehension], source: Value) -> None:
    c.emitter.add(f"{out} = []")
    depth = len(c.locals)
    try:
        _nest(c, out, element, list(generators), source)
    finally:
        del c.locals[depth:]


def _nest(c: Compiler, out: str, element: ast.expr, generators: list[ast.comprehension], source: Value) -> None:
    code = f"({source.code} or ())" if source.nullable else source.code
    variable = _bind(c, generators[0], source)
    with c.emitter.block(f"for {variable} in {code}:"):
        for test in generators[0].ifs:
            c.emitter.add(f"if not {c.condition(test).code}: continue")
        if len(generators) > 1:
            nested = iterable(c, generators[1].iter)
            if not nested.is_null:
                _nest(c, out, element, generators[1:], nested)
        else:
            c.emitter.add(f"{out}.append({c.compile(element).code})")
