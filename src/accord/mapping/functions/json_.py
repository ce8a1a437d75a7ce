"""JSON text inside fields."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.mapping.exact import exact_number
from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin

_decoder = msgspec.json.Decoder(float_hook=exact_number)
_encoder = msgspec.json.Encoder(decimal_format="number")


@builtin("string -> json", 'parse_json("{\\"a\\": [1, 2]}").a[1] == 2')
def parse_json(text: str) -> Any:
    """JSON text as json; numbers stay exact."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Rejected("this is no JSON", text) from None


@builtin("any -> string", 'json_text([1, 2]) == "[1,2]"')
def json_text(value: Any) -> str:
    """Any value as JSON text; decimals are written with their own digits."""
    try:
        return _encoder.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        raise Rejected("this cannot be written as JSON", value) from None


@builtin("json -> list[string]", 'keys(parse_json("{\\"a\\": 1, \\"b\\": 2}")) == ["a", "b"]')
def keys(value: Any) -> list[str]:
    """The names of the fields of a json object."""
    if not isinstance(value, dict):
        raise Rejected("this json is no object", value)
    return list(value)
