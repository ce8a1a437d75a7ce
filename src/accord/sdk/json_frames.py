"""JSON objects to a frame: by a pattern where they are written alike, else decoded in one typed pass; the others are left to rows.

The decoder is a msgspec Struct made for the entity, with the types a contract takes from JSON; numbers that must stay exact are
kept as their text and become decimals in columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from accord.record import Field
from accord.record import types as t
from accord.sdk.frames import Framer, of_structs
from accord.sdk.json_columns import JsonColumns

if TYPE_CHECKING:
    import polars as pl

_NULL = msgspec.Raw(b"null")
_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class JsonFramer:
    """``names``: the JSON key of each field where it is called differently."""

    def __init__(
        self, fields: Mapping[str, Field], names: Mapping[str, str] | None = None, as_written: Collection[str] = ()
    ) -> None:
        self.framer = Framer(fields, of_structs, as_written)
        self.row = _struct(fields, names or {})
        self.columns = JsonColumns(fields, names or {})
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.row)

    def rows(self, raws: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]]:
        """The frame of all objects that fit, in their order, and the indexes of the others."""
        import polars as pl

        found = None if self.framer.as_written else self.columns.read(raws)  # a pattern takes numbers as they come
        if found is None:
            frame, kept, odd = self._decoded(raws, range(len(raws)))
            return frame, odd
        frame, is_sure = found
        rest = (~is_sure).arg_true().to_list()
        if not rest:
            return frame, []
        other, kept, odd = self._decoded(raws, rest)
        if not kept:
            return frame, odd
        places = pl.concat([is_sure.arg_true(), pl.Series(kept, dtype=pl.UInt32)])
        return pl.concat([frame, other])[places.arg_sort()], odd

    def _decoded(self, raws: Sequence[bytes], places: Sequence[int]) -> tuple[pl.DataFrame, list[int], list[int]]:
        """The frame of those that fit, which these are, and which the others."""
        import polars as pl

        decode, made, kept, odd = self.decoder.decode, [], [], []
        for place in places:
            try:
                made.append(decode(raws[place]))
                kept.append(place)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                odd.append(place)
        frame, misfits = self.framer.frame(made)
        if misfits:
            frame = frame.filter(pl.Series([at not in misfits for at in range(len(kept))], dtype=pl.Boolean))
            odd = sorted([*odd, *(kept[at] for at in misfits)])
            kept = [place for at, place in enumerate(kept) if at not in misfits]
        return frame, kept, odd


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
