"""What names mean in an expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.mapping.functions.table import FunctionTable
from accord.mapping.lookup import Lookup
from accord.record.types import Field


class Scope:
    """``fields`` are the record's fields; ``names`` earlier results by their ``as`` name; a field hides a result of the same name.

    ``lookups`` are tables by name (Lookup, or plain dicts). ``entity`` and ``key`` say which entity the record is and its
    key fields, so that ``ref(id, to=…)`` knows whose key it holds. ``entities``, when given, are the names ``ref`` may use.
    """

    __slots__ = ("entities", "entity", "fields", "functions", "key", "lookups", "names")

    def __init__(
        self,
        fields: Mapping[str, Field],
        names: Mapping[str, Field] | None = None,
        functions: FunctionTable | None = None,
        lookups: Mapping[str, Lookup | Mapping[str, Any]] | None = None,
        *,
        entity: str = "",
        key: tuple[str, ...] = (),
        entities: frozenset[str] | None = None,
    ) -> None:
        self.fields = fields
        self.names = names or {}
        self.functions = functions if functions is not None else FunctionTable.builtin()
        self.lookups = {n: t if isinstance(t, Lookup) else Lookup.of(n, t) for n, t in (lookups or {}).items()}
        self.entity = entity
        self.key = key
        self.entities = entities
