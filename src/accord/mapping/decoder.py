"""The fast reading of JSON: one pass of a msgspec decoder made for the entity, then a generated check of what it cannot say.

What it refuses is read again by the walker, which knows every reason; so this file needs to be right, not eloquent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal as PyDecimal
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from accord.errors import NOWHERE, Faults
from accord.mapping.assign import constraint_tests
from accord.mapping.check import Compiler
from accord.mapping.emit import Emitter
from accord.mapping.exact import EXPONENT_MAX, exact_number
from accord.mapping.expression import compile_into
from accord.mapping.scope import Scope
from accord.mapping.support import GLOBALS
from accord.record.types import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Duration,
    Enum,
    Field,
    Float,
    Integer,
    Json,
    List,
    Object,
    String,
    Type,
)

_SCALARS: dict[type, Any] = {
    String: str,
    Boolean: bool,
    Integer: int,
    Decimal: PyDecimal,
    Float: float,
    Date: dt.date,
    DateTime: Annotated[dt.datetime, msgspec.Meta(tz=True)],
    Duration: dt.timedelta,
}


def build_decoder(fields: Mapping[str, Field]) -> msgspec.json.Decoder[dict[str, Any]]:
    """A decoder of objects with these fields: types and presence only; unknown fields are dropped."""
    return msgspec.json.Decoder(_object(fields), float_hook=exact_number)


def _object(fields: Mapping[str, Field]) -> Any:
    hints: dict[str, Any] = {}
    for name, field in fields.items():
        hint = _type(field.type)
        hints[name] = NotRequired[hint | None] if field.nullable else hint
    return TypedDict("Record", hints)  # type: ignore[operator]


def _type(type_: Type) -> Any:
    match type_:
        case Object(fields=fields):
            return _object(fields)
        case List(item=item):
            hint = _type(item)
            return list[hint | None] if type_.is_item_nullable else list[hint]  # type: ignore[valid-type]
        case Enum(values=values):
            return Literal[values] if values else str
        case _:
            return _SCALARS.get(type(type_), Any)


def build_check(
    fields: Mapping[str, Field], rules: Sequence[str], scope: Scope, *, types_only: bool
) -> Callable[[dict[str, Any]], bool] | None:
    """A generated function that says whether a decoded record also satisfies the rest; None when there is nothing to ask.

    ``rules`` are expressions that are known to compile in ``scope`` and to see nothing but the record.
    """
    emitter = Emitter()
    emitter.globals.update(GLOBALS)
    _check_fields(emitter, fields, "r", types_only)
    compiler = Compiler(scope, emitter, Faults(), NOWHERE)
    for rule in rules:
        emitter.add(f"if not {compile_into(compiler, rule, NOWHERE).code}: return False")
    if not emitter.lines:
        return None
    return emitter.build("contract check", "r", "True").run


def _check_fields(emitter: Emitter, fields: Mapping[str, Field], base: str, types_only: bool) -> None:
    for name, field in fields.items():
        value = emitter.fresh("v")
        with emitter.captured() as lines:
            _check_value(emitter, field, value, types_only)
        if not lines:
            continue
        emitter.add(f"{value} = {base}.get({name!r})" if field.nullable else f"{value} = {base}[{name!r}]")
        if field.nullable:
            emitter.add(f"if {value} is not None:")
        emitter.splice(lines, 0 if field.nullable else -1)


def _check_value(emitter: Emitter, field: Field, value: str, types_only: bool) -> None:
    _check_type(emitter, field.type, value, types_only)
    if types_only:
        return
    for condition, _, constants in constraint_tests(field):
        code = condition.replace("@", value)
        for name, constant in constants.items():
            code = code.replace(name, emitter.constant(constant))
        emitter.add(f"if {code}: return False")


def _check_type(emitter: Emitter, type_: Type, value: str, types_only: bool) -> None:
    match type_:
        case Decimal():
            emitter.add(
                f"if not ({value}.is_finite() and -{EXPONENT_MAX} <= {value}.adjusted() <= {EXPONENT_MAX}): return False"
            )
        case Json():
            emitter.add(f"if {value} is None: return False")
        case Object(fields=fields):
            _check_fields(emitter, fields, value, types_only)
        case List(item=item):
            one = emitter.fresh("v")
            with emitter.captured() as lines:
                if type_.is_item_nullable:
                    emitter.add(f"if {one} is None: continue")
                _check_type(emitter, item, one, types_only)
            if len(lines) > (1 if type_.is_item_nullable else 0):
                emitter.add(f"for {one} in {value}:")
                emitter.splice(lines)
        case _:
            pass
