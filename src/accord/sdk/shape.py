"""The shape a source shows now: which columns, of which types, before any row is read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Of one table or file (``place``, as a person calls it). ``columns``: by the entity's field it is read into, else by its own name;
    with its type as the source writes it, '' when it has none. ``is_whole`` False: seen in a sample, others may be there."""

    place: str
    columns: Mapping[str, str]
    is_whole: bool = True
