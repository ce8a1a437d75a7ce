"""Records as Salesforce writes them and as Accord keeps them. Pure.

Source: Salesforce, "REST API Developer Guide": date-times are written ``2026-11-22T10:00:00.000+0000``, which ISO 8601 allows and
RFC 3339 does not; every record carries ``attributes``; numbers are JSON numbers.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Mapping
from typing import Any

from accord.record import Entity, Field
from accord.record.types import Boolean, Date, DateTime, Decimal, Integer, Json, List, Object, String, Type

SYSTEM_FIELDS = frozenset(
    ("Id", "IsDeleted", "SystemModstamp", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById")
)  # written by Salesforce alone

_ZONE = re.compile(r"([+-]\d\d)(\d\d)$")
_TYPES: Mapping[str, Type] = {
    "boolean": Boolean(),
    "int": Integer(),
    "long": Integer(),
    "double": Decimal(),
    "currency": Decimal(),
    "percent": Decimal(),
    "date": Date(),
    "datetime": DateTime(),
    "address": Json(),
    "location": Json(),
    "multipicklist": List(String()),
}
_PERSONAL = {"email": "contact", "phone": "contact"}


def read_record(row: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """A row of a query in the entity's fields; what was not declared is left out."""
    return {name: _read(row.get(name), field.type) for name, field in fields.items()}


def _read(value: Any, type_: Type) -> Any:
    if value is None:
        return None
    match type_:
        case DateTime():
            return _ZONE.sub(r"\1:\2", value).replace("+00:00", "Z") if isinstance(value, str) else value
        case Object() if isinstance(value, dict):
            return read_record(value, type_.fields)
        case Integer() if isinstance(value, decimal.Decimal) and value == value.to_integral_value():
            return int(value)  # a number field without places is written 5.0
        case List(item=item) if isinstance(value, str):
            return [_read(one, item) for one in value.split(";")]  # a multi-select picklist
        case _:
            return value


def write_record(record: Mapping[str, Any], object_: str) -> dict[str, Any]:
    """A record of a collection. An object stands for a parent found by its external id (``Account: {Shop_Id__c: …}``)."""
    written: dict[str, Any] = {"attributes": {"type": object_}}
    for name, value in record.items():
        if name not in SYSTEM_FIELDS:
            written[name] = _written(value)
    return written


def _written(value: Any) -> Any:
    match value:
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case list():
            return ";".join(str(one) for one in value)
        case dict():
            return {name: _written(one) for name, one in value.items()}
        case _:
            return value


def described(system: str, description: Mapping[str, Any]) -> Entity:
    """An entity from a describe result."""
    fields = {one["name"]: _field(one) for one in description["fields"] if not one.get("deprecatedAndHidden")}
    return Entity(
        name=f"{system}.{description['name']}",
        fields=fields,
        key=("Id",),
        summary=str(description.get("label", "")),
    )


def _field(told: Mapping[str, Any]) -> Field:
    kind = told["type"]
    type_: Type = _TYPES.get(kind, String())
    if isinstance(type_, Decimal) and told.get("scale") == 0:
        type_ = Integer()
    is_text = isinstance(type_, String)
    return Field(
        type=type_,
        nullable=bool(told.get("nillable", True)),
        length_max=(told.get("length") or None) if is_text else None,
        format="email" if kind == "email" else None,
        personal=_PERSONAL.get(kind),
        summary=str(told.get("label", "")),
    )
