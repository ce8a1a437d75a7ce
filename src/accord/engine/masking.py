"""Records as they may be shown: declared fields only, personal values masked. For listings, pages and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from accord.record import Entity, Field, Object
from accord.record.types import List
from accord.sdk.http import decode_json

MASK = "***"


def masked_body(body: bytes, entity: Entity | None) -> Any:
    """The record with personal values masked and undeclared fields left out (they may hold anything); a text that tells
    only the size when it is no JSON or its entity is unknown."""
    try:
        value = decode_json(body)
    except msgspec.DecodeError:
        return f"({len(body)} bytes that are not JSON)"
    if entity is None:
        return f"({len(body)} bytes)"
    return _masked_fields(value, entity.fields)


def _masked_fields(value: Any, fields: Mapping[str, Field]) -> Any:
    if not isinstance(value, dict):
        return MASK
    return {name: _masked(value[name], field) for name, field in fields.items() if name in value}


def _masked(value: Any, field: Field) -> Any:
    if value is None:
        return None
    if field.personal:
        return MASK
    match field.type:
        case Object(fields=fields):
            return _masked_fields(value, fields)
        case List(item=Object(fields=fields)) if isinstance(value, list):
            return [_masked_fields(item, fields) for item in value]
        case _:
            return value
