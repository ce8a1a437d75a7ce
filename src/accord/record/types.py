"""The types a field can have (closed set), as frozen values that mapping, contracts and connectors share."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class String(msgspec.Struct, frozen=True, tag="string"):
    """Unicode text; python str."""


class Boolean(msgspec.Struct, frozen=True, tag="boolean"):
    """python bool."""


class Integer(msgspec.Struct, frozen=True, tag="integer"):
    """Whole number of any size; python int."""


class Decimal(msgspec.Struct, frozen=True, tag="decimal"):
    """Exact number; python decimal.Decimal. Never passes through float."""


class Float(msgspec.Struct, frozen=True, tag="float"):
    """Binary floating point; python float."""


class Date(msgspec.Struct, frozen=True, tag="date"):
    """Calendar day; python datetime.date."""


class DateTime(msgspec.Struct, frozen=True, tag="datetime"):
    """Instant with a zone; python timezone-aware datetime.datetime."""


class Duration(msgspec.Struct, frozen=True, tag="duration"):
    """Length of time; python datetime.timedelta, ISO 8601 duration on the wire."""


class Enum(msgspec.Struct, frozen=True, tag="enum"):
    """One of ``values``; python str."""

    values: tuple[str, ...]


class Json(msgspec.Struct, frozen=True, tag="json"):
    """Anything JSON can hold, taken as it is; numbers with a point are decimal.Decimal."""


class List(msgspec.Struct, frozen=True, tag="list"):
    """Ordered items of one type; python list."""

    item: Type
    is_item_nullable: bool = False


class Object(msgspec.Struct, frozen=True, tag="object"):
    """Named fields; python dict holding only declared fields (an absent nullable field may be left out: absent equals null)."""

    fields: dict[str, Field]


Type: TypeAlias = (
    String | Boolean | Integer | Decimal | Float | Date | DateTime | Duration | Enum | Json | List | Object
)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an entity or object: type, whether it may be absent or null, and what else must hold.

    ``min``/``max`` bound numbers, dates and datetimes (as given in the declaration, already of the field's own type);
    ``length_min``/``length_max`` bound strings and lists; ``pattern`` is a regular expression that must match the whole
    string; ``format`` is one of FORMATS; ``references`` names another entity (``crm.clients``) whose key this holds;
    ``personal`` marks personal data and its category (``contact``, ``identity``, ``financial``, …): masked wherever it shows.
    """

    type: Type
    nullable: bool = False
    min: Any = None
    max: Any = None
    length_min: int | None = None
    length_max: int | None = None
    pattern: str | None = None
    format: str | None = None
    references: str | None = None
    personal: str | None = None
    summary: str = ""


FORMATS = ("email", "uri", "uuid", "country", "currency", "phone")


def name_of(type_: Type) -> str:
    """How a type is written in declarations and messages: ``decimal``, ``list[object]``, ``enum(a, b)``."""
    match type_:
        case List(item=item):
            return f"list[{name_of(item)}]"
        case Enum(values=values):
            return f"enum({', '.join(values)})"
        case Object():
            return "object"
        case _:
            return str(type_.__struct_config__.tag)
