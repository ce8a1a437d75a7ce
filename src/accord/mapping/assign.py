"""A value becomes a field of a declared type: conversions that lose nothing, and checks that only the value can answer."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from accord.errors import did_you_mean
from accord.mapping import names
from accord.mapping.check import Compiler
from accord.mapping.formats import CHECKS
from accord.mapping.hints import conversion_hint
from accord.mapping.regex import matcher
from accord.mapping.value import TEXTS, Null, Value, merged, replace, shown
from accord.record.types import Boolean, Decimal, Enum, Field, Float, Integer, Json, List, Object, String


def assign(c: Compiler, value: Value, target: Field, path: str, said: str) -> Value:
    """The value as ``target`` wants it. Faults: wrong type, missing conversion, null into required. ``said``: its source."""
    if value.is_null and target.nullable:
        return value
    if (value.nullable or value.is_null) and not target.nullable:
        c.fail(
            "mapping.nullable",
            f"'{path}' is required, but '{said}' may be null.",
            f"Supply a value: coalesce({said}, …), or reject such records: require({said}).",
        )
    value = fit(c, value, target.type, path, said)
    return constrain(c, value, target)


def fit(c: Compiler, value: Value, type_: Any, path: str, said: str) -> Value:
    """Static part: the value's type must be, or safely become, ``type_``."""
    have = value.type
    match type_, have:
        case (_, Null()):
            return value
        case (Json(), _):
            if _is_jsonable(have):
                return replace(value, type=type_)
        case (Decimal(), Integer()):
            return c.with_type(value, type_)
        case (Float(), Integer()):
            return c.strict([value], lambda x: f"float({x})", type_)
        case (String(), Enum()):
            return replace(value, type=type_)
        case (Enum(), String() | Enum()):
            return _enum(c, value, type_, path)
        case (List(), List()):
            return _list(c, value, type_, path, said)
        case (Object(), Object()):
            return _object(c, value, type_, path, said)
        case _:
            if have == type_:
                return value
    code = "mapping.conversion" if conversion_hint(have, type_, said) else "mapping.type"
    raise c.failed(
        code, f"'{path}' is {shown(type_)}, but '{said}' is {shown(have)}.", conversion_hint(have, type_, said)
    )


def _is_jsonable(type_: Any) -> bool:
    match type_:
        case List(item=item):
            return _is_jsonable(item)
        case Object(fields=fields):
            return all(_is_jsonable(f.type) for f in fields.values())
        case _:
            return isinstance(type_, String | Enum | Boolean | Integer | Decimal | Json | Null)


def _enum(c: Compiler, value: Value, type_: Enum, path: str) -> Value:
    known = value.type.values if isinstance(value.type, Enum) else (value.literal,) if value.is_literal else None
    if known is not None:
        wrong = [v for v in known if v not in type_.values]
        if wrong and (value.is_literal or len(wrong) == len(known)):
            c.fail(
                "mapping.enum", f"'{wrong[0]}' is not a value of '{path}'.", did_you_mean(str(wrong[0]), type_.values)
            )
        if not wrong:
            return replace(value, type=type_)
    value = c.atom(value)
    allowed = c.emitter.constant(frozenset(type_.values))
    guard = f"{value.code} is not None and " if value.nullable else ""
    shown_values = ", ".join(type_.values[:8])
    with c.emitter.block(f"if {guard}{value.code} not in {allowed}:"):
        c.emitter.add(f"raise _R({('this is none of: ' + shown_values)!r}, {value.code})")
    return replace(value, type=type_)


def _list(c: Compiler, value: Value, type_: List, path: str, said: str) -> Value:
    item = value.type.item
    if value.type.is_item_nullable and not type_.is_item_nullable:
        c.fail(
            "mapping.nullable",
            f"Items of '{path}' are required, but items of '{said}' may be null.",
            f"Give each a value: [coalesce(x, …) for x in {said}].",
        )
    if isinstance(item, Null):
        return replace(value, type=type_)
    if item == type_.item and not needs_checks(item):
        return replace(value, type=type_)
    source = c.atom(value)
    variable, out = c.emitter.fresh("v"), c.emitter.fresh("l")
    c.emitter.add(f"{out} = None" if source.nullable else f"{out} = []")
    head = f"if {source.code} is not None:" if source.nullable else "if True:"
    with c.emitter.block(head):
        c.emitter.add(f"{out} = []")
        with c.emitter.block(f"for {variable} in {source.code}:"):
            one = Value(code=variable, type=item, nullable=value.type.is_item_nullable, is_atom=True, **merged([value]))
            made = fit(c, one, type_.item, f"{path}[]", f"an item of {said}")
            c.emitter.add(f"{out}.append({made.code})")
    return Value(code=out, type=type_, nullable=source.nullable, is_atom=True, **merged([value]))


def _object(c: Compiler, value: Value, type_: Object, path: str, said: str) -> Value:
    have: Object = value.type
    missing = [n for n, f in type_.fields.items() if n not in have.fields and not f.nullable]
    if missing:
        c.fail(
            "mapping.missing-field",
            f"'{path}' requires '{missing[0]}', which '{said}' does not have.",
            "Write the fields of the object one by one.",
        )
    if have.fields == type_.fields and not needs_checks(have):
        return value
    source = c.atom(value)
    out = c.emitter.fresh("d")
    c.emitter.add(f"{out} = None")
    with c.emitter.block(f"if {source.code} is not None:"):
        solid = replace(source, nullable=False)
        parts = []
        for name, field in type_.fields.items():
            if name in have.fields:
                part = assign(c, names.member(c, solid, name, said), field, f"{path}.{name}", f"{said}.{name}")
                parts.append(f"{name!r}: {part.code}")
        c.emitter.add(f"{out} = {{{', '.join(parts)}}}")
    return Value(code=out, type=type_, nullable=value.nullable, is_atom=True, **merged([value]))


def needs_checks(type_: Any) -> bool:
    """Whether a value of the type must be looked at even when its type is right."""
    match type_:
        case Object(fields=fields):
            return any(has_constraints(f) or needs_checks(f.type) for f in fields.values())
        case List(item=item):
            return needs_checks(item)
        case _:
            return False


def has_constraints(field: Field) -> bool:
    """Whether the field promises more than its type."""
    bounds = (field.min, field.max, field.length_min, field.length_max, field.pattern, field.format)
    return any(b is not None for b in bounds)


def constraint_tests(field: Field) -> list[tuple[str, str, dict[str, Any]]]:
    """(condition that is true when broken, reason, constants) for one field; ``@`` stands for the value."""
    tests: list[tuple[str, str, dict[str, Any]]] = []
    if field.min is not None:
        tests.append(("@ < _min", f"must be at least {field.min}", {"_min": field.min}))
    if field.max is not None:
        tests.append(("@ > _max", f"must be at most {field.max}", {"_max": field.max}))
    what = "characters" if isinstance(field.type, TEXTS) else "items"
    if field.length_min is not None:
        tests.append((f"len(@) < {int(field.length_min)}", f"must have at least {field.length_min} {what}", {}))
    if field.length_max is not None:
        tests.append((f"len(@) > {int(field.length_max)}", f"must have at most {field.length_max} {what}", {}))
    if field.pattern is not None:
        with suppress(ValueError):  # compile_contract tells of patterns that cannot be used
            tests.append(
                ("not _match(@)", f"must match the pattern {field.pattern}", {"_match": matcher(field.pattern)})
            )
    if field.format is not None and field.format in CHECKS:
        check, says = CHECKS[field.format]
        tests.append(("not _check(@)", says, {"_check": check}))
    return tests


def constrain(c: Compiler, value: Value, target: Field) -> Value:
    """Writes the checks of the field's constraints; a literal is checked now."""
    tests = constraint_tests(target)
    if isinstance(target.type, Float):
        tests.append(("not _finite(@)", "must be finite", {"_finite": math.isfinite}))
    if not tests or value.is_null:
        return value
    value = c.atom(value)
    if value.is_literal:
        _literal_broken(c, value, tests)
        return value
    for condition, reason, constants in tests:
        code = condition.replace("@", value.code)
        for name, constant in constants.items():
            code = code.replace(name, c.emitter.constant(constant))
        guard = f"{value.code} is not None and " if value.nullable else ""
        with c.emitter.block(f"if {guard}{code}:"):
            c.emitter.add(f"raise _R({reason!r}, {value.code})")
    return value


def _literal_broken(c: Compiler, value: Value, tests: list[tuple[str, str, dict[str, Any]]]) -> None:
    for condition, reason, constants in tests:
        names = {"_value": value.literal, **constants}
        if eval(condition.replace("@", "_value"), names):  # noqa: S307 - the condition is one of the constants above
            c.fail("mapping.constraint", f"The value {value.literal!r} {reason}.")
