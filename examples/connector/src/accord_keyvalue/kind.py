"""What the connector can do, told without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from accord.errors import Faults
from accord.record import Entity, Field
from accord.record.types import Integer, Json, String
from accord.sdk.connector import Capabilities, Context, Idempotency, KindBase, Operation, WriteMode
from accord.settings.node import Node
from accord.settings.secret import Secret
from accord_keyvalue.connection import KeyValueConnection

ENTRIES = Entity(
    name="keyvalue.entries",
    key=("key",),
    fields={
        "key": Field(type=String(), pattern=r"[A-Za-z0-9._-]{1,100}"),
        "value": Field(type=Json(), nullable=True),
        "revision": Field(type=Integer(), nullable=True),
    },
    summary="Entries of the store",
)
COUNT = Operation(
    name="count",
    takes={},
    gives={"entries": Field(type=Integer())},
    idempotency=Idempotency.UPSERT,
    is_read_only=True,
    summary="How many entries there are",
)


class KeyValueSettings(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    token: Secret


class KeyValueKind(KindBase):
    name: ClassVar[str] = "keyvalue"
    summary: ClassVar[str] = "A key-value store over HTTP"
    settings: ClassVar[type[KeyValueSettings]] = KeyValueSettings

    def entities(self, settings: KeyValueSettings) -> Mapping[str, Entity]:
        return {"entries": ENTRIES}

    def capabilities(self, settings: KeyValueSettings, entity: Entity) -> Capabilities:
        modes = frozenset({WriteMode.UPSERT, WriteMode.DELETE})
        means = dict.fromkeys(modes, Idempotency.UPSERT)
        return Capabilities(discover=True, read=True, read_changes=True, get=True, write=modes, idempotency=means)

    def operations(self, settings: KeyValueSettings) -> Mapping[str, Operation]:
        return {"count": COUNT}

    def check(self, settings: KeyValueSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        if not settings.address.startswith(("http://", "https://")):
            mend = "Write it like http://127.0.0.1:9400."
            faults.add("keyvalue.bad-address", node.place_of("address"), "This is no address.", mend)

    def connect(
        self, settings: KeyValueSettings, entities: Mapping[str, Entity], context: Context
    ) -> KeyValueConnection:
        return KeyValueConnection(settings.address.rstrip("/"), settings.token, context.http)


CONNECTOR = KeyValueKind()
