"""An entity: a kind of record a system holds."""

from __future__ import annotations

import msgspec

from accord.errors import NOWHERE, Place
from accord.record.types import Field, Object
from accord.record.watch import Quality, SchemaChange


class Rule(msgspec.Struct, frozen=True):
    """A cross-field rule: an expression of the mapping language that must be true of every record (null counts as false)."""

    expression: str
    message: str = ""
    place: Place = NOWHERE


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` is ``<system>.<entity>`` (``shop.orders``); ``key`` are the fields that identify a record, in order.

    ``extra`` is what the connector needs to find the entity at its system (path, table, topic …); its keys are the
    connector's own and are checked against the connector's ``entity_settings``. ``on_schema_change`` and ``quality`` are of bulk reading.
    """

    name: str
    fields: dict[str, Field]
    key: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    summary: str = ""
    extra: msgspec.Struct | None = None
    on_schema_change: SchemaChange = SchemaChange()
    quality: Quality | None = None
    place: Place = NOWHERE

    @property
    def system(self) -> str:
        return self.name.partition(".")[0]

    @property
    def short_name(self) -> str:
        return self.name.partition(".")[2]

    @property
    def type(self) -> Object:
        return Object(self.fields)
