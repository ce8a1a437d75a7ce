"""JSON objects to a frame: decoded in one typed pass; what does not decode so is left to rows.

The decoder is a msgspec Struct made for the entity, with the types a contract takes from JSON; numbers that must stay exact are
kept as their text and become decimals in columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from accord.record import Field
from accord.record import types as t
from accord.sdk.frames import Framer, of_structs

if TYPE_CHECKING:
    import polars as pl

_NULL = msgspec.Raw(b"null")
_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class JsonFramer:
    """``names``: the JSON key of each field where it is called differently."""

    def __init__(self, fields: Mapping[str, Field], names: Mapping[str, str] | None = None) -> None:
        self.framer = Framer(fields, of_structs)
        self.row = _struct(fields, names or {})
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.row)

    def decode(self, raws: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """The objects that decode, and the indexes of the others."""
        decode, made, failed = self.decoder.decode, [], []
        for index, raw in enumerate(raws):
            try:
                made.append(decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                failed.append(index)
        return made, failed

    def frame(self, rows: Sequence[Any]) -> tuple[pl.DataFrame, set[int]]:
        """All rows, and the indexes of those with a value that does not fit (null there)."""
        return self.framer.frame(rows)


def _struct(fields: Mapping[str, Field], names: Mapping[str, str]) -> Any:
    return msgspec.defstruct(
        "Row",
        [(name, *_hint(field.type)) for name, field in fields.items()],
        rename={name: key for name, key in names.items() if name in fields and key != name} or None,
        gc=False,
    )


def _hint(type_: t.Type) -> tuple[Any, Any]:
    """Type and default. Texts of dates stay texts: columns read them."""
    match type_:
        case t.Boolean():
            return bool | None, None
        case t.Integer():
            return _INTEGER | None, None
        case t.Float():
            return float | None, None
        case t.Decimal() | t.Json():
            return msgspec.Raw, _NULL
        case t.List():
            inner, _ = _hint(type_.item)
            return list[inner] | None, None  # type: ignore[valid-type]
        case t.Object(fields=fields):
            return _struct(fields, {}) | None, None
        case _:
            return str | None, None
