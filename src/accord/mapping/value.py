"""Typed pieces of generated code, and how types meet."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal as PyDecimal
from typing import Any, Final, TypeAlias

import msgspec

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
    name_of,
)


class Null(msgspec.Struct, frozen=True, tag="null"):
    """The type of the literal null: fits every nullable place."""


class Message(msgspec.Struct, frozen=True, tag="message"):
    """The type of the name ``message``; only its parts have values."""


class Headers(msgspec.Struct, frozen=True, tag="headers"):
    """The type of ``message.headers``: text by name, null when absent."""


Kind: TypeAlias = Type | Null | Message | Headers


class _Unknown:
    """A value that is not a literal."""


UNKNOWN: Final = _Unknown()


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Python code that yields a value, to be used exactly once unless ``is_atom``.

    ``literal``: the value when known at compile time. ``personal``: it may hold personal data. ``sources``: dotted paths
    it reads. ``references``: the entity whose key it is.
    """

    code: str
    type: Any
    nullable: bool = False
    personal: bool = False
    is_atom: bool = False
    literal: Any = UNKNOWN
    references: str = ""
    sources: tuple[str, ...] = ()

    @property
    def is_literal(self) -> bool:
        return self.literal is not UNKNOWN

    @property
    def is_null(self) -> bool:
        return isinstance(self.type, Null)

    def field(self) -> Field:
        """As a field for those who build on this value."""
        return Field(
            type=outward(self.type),
            nullable=self.nullable or self.is_null,
            references=self.references or None,
            personal="derived" if self.personal else None,
        )


def outward(type_: Any) -> Type:
    """The type as declarations know it: null and lists of null become json."""
    match type_:
        case Null() | Message() | Headers():
            return Json()
        case List(item=item):
            return List(outward(item), type_.is_item_nullable)
        case _:
            return type_  # type: ignore[no-any-return]


def shown(type_: Any, nullable: bool = False) -> str:
    """A type's name in messages, with ``?`` when it may be null."""
    if isinstance(type_, Null | Message | Headers):
        return type(type_).__name__.lower()
    return name_of(type_) + ("?" if nullable else "")


NUMBERS = (Integer, Decimal, Float)
TEXTS = (String, Enum)
ORDERED = (Integer, Decimal, Float, String, Enum, Date, DateTime, Duration)
SCALARS = (*ORDERED, Boolean)


def has_personal(type_: Any) -> bool:
    """Whether any field inside the type is marked personal."""
    match type_:
        case List(item=item):
            return has_personal(item)
        case Object(fields=fields):
            return any(f.personal or has_personal(f.type) for f in fields.values())
        case _:
            return False


def meet(a: Any, b: Any) -> Any | None:
    """The type that both fit into (integer and decimal: decimal; enum and string: string); None when there is none."""
    if a == b or isinstance(b, Null):
        return a
    match a, b:
        case (Null(), _):
            return b
        case (Json(), _) | (_, Json()):
            return Json()
        case (Integer(), Decimal()) | (Decimal(), Integer()):
            return Decimal()
        case (Integer(), Float()) | (Float(), Integer()):
            return Float()
        case (Enum(), Enum()):
            return Enum(tuple(dict.fromkeys(a.values + b.values)))
        case (String(), Enum()) | (Enum(), String()):
            return String()
        case (List(), List()):
            item = meet(a.item, b.item)
            return None if item is None else List(item, a.is_item_nullable or b.is_item_nullable)
        case (Object(), Object()):
            return (
                a if set(a.fields) == set(b.fields) and all(_same(a.fields[n], b.fields[n]) for n in a.fields) else None
            )
        case _:
            return None


def _same(a: Field, b: Field) -> bool:
    return a.type == b.type and a.nullable == b.nullable


def literal_code(value: Any) -> str | None:
    """Python source of a plain literal; None when it must be a constant of the generated module."""
    return None if isinstance(value, PyDecimal) else repr(value)


NULL = Value(code="None", type=Null(), is_atom=True, literal=None)


def replace(value: Value, **changes: Any) -> Value:
    """The same value with some facts changed."""
    facts = {name: getattr(value, name) for name in value.__struct_fields__}
    if "literal" not in changes and "code" in changes:
        facts["literal"] = value.literal
    return Value(**(facts | changes))


def merged(values: Iterable[Value]) -> dict[str, Any]:
    """What a value inherits from what it is computed of: personal marks and sources."""
    values = list(values)
    return {
        "personal": any(v.personal for v in values),
        "sources": tuple(dict.fromkeys(s for v in values for s in v.sources)),
    }
