"""What the connector tells without any I/O: capabilities, operations, topics, faults of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from accord.connectors.http.batch_plan import batch_settings
from accord.connectors.http.check import check_manifest
from accord.connectors.http.connection import HttpConnection
from accord.connectors.http.requests import is_read_only
from accord.connectors.http.settings import HttpEntity, HttpSettings, OperationSettings, WriteSettings
from accord.errors import Faults
from accord.record import Entity
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import (
    Capabilities,
    Connection,
    Context,
    Idempotency,
    KindBase,
    Operation,
    RateLimit,
    WriteMode,
)
from accord.settings.fields import read_fields
from accord.settings.node import Node

AT_LEAST_ONCE = "the API is told of no way to recognise a repeat: name its `idempotency_header`, or a `find` that looks for what was done"

BATCH_AT_LEAST_ONCE = (
    "the API is told of no way to recognise a batch that comes again: name its `idempotency_header`, "
    "or say `idempotent: true`"
)


class HttpKind(KindBase):
    name: ClassVar[str] = "http"
    summary: ClassVar[str] = "Any REST/JSON API, described in YAML"
    settings: ClassVar[type[HttpSettings]] = HttpSettings
    entity_settings: ClassVar[type[HttpEntity]] = HttpEntity

    def capabilities(self, settings: HttpSettings, entity: Entity) -> Capabilities:
        extra = entity.extra if isinstance(entity.extra, HttpEntity) else HttpEntity()
        writes = {mode: write for mode in WriteMode if (write := getattr(extra.write, mode.value)) is not None}
        means = {mode: _write_idempotency(settings, extra, mode, write) for mode, write in writes.items()}
        topics = settings.webhooks.topics if settings.webhooks else {}
        return Capabilities(
            read=bool(extra.path),
            bulk_read=bool(extra.path),
            read_changes=bool(extra.path) and extra.read is not None,
            get=extra.get is not None,
            listen=entity.short_name in topics.values(),
            write=frozenset(writes),
            idempotency=means,
            at_least_once_reason=AT_LEAST_ONCE if Idempotency.NONE in means.values() else "",
            bulk_write=frozenset(mode for mode in LoadMode if batch_settings(extra, mode) is not None),
            bulk_at_least_once=_bulk_at_least_once(settings, extra),
        )

    def operations(self, settings: HttpSettings) -> Mapping[str, Operation]:
        return {name: _operation(name, settings, given) for name, given in settings.operations.items()}

    def topics(self, settings: HttpSettings) -> Mapping[str, str]:
        return settings.webhooks.topics if settings.webhooks else {}

    def rate_limit(self, settings: HttpSettings) -> RateLimit:
        limit = settings.rate_limit
        return RateLimit(
            requests=limit.requests,
            per_s=limit.per.total_seconds(),
            concurrent=limit.concurrent,
            adaptive=limit.adaptive,
        )

    def check(self, settings: HttpSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        check_manifest(settings, entities, node, faults)

    def connect(self, settings: HttpSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return HttpConnection(settings, entities, context)


def _write_idempotency(settings: HttpSettings, extra: HttpEntity, mode: WriteMode, write: WriteSettings) -> Idempotency:
    if settings.idempotency_header:
        return Idempotency.KEY
    repeats_itself = write.idempotent
    if repeats_itself is None:
        repeats_itself = mode is not WriteMode.CREATE or write.method == "PUT"
    if repeats_itself:
        return Idempotency.UPSERT
    can_look = extra.find is not None and mode in (WriteMode.CREATE, WriteMode.UPSERT)
    return Idempotency.LOOKUP if can_look else Idempotency.NONE


def _bulk_at_least_once(settings: HttpSettings, extra: HttpEntity) -> dict[LoadMode, str]:
    if settings.idempotency_header:
        return {}
    batches = {mode: batch for mode in LoadMode if (batch := batch_settings(extra, mode)) is not None}
    return {
        mode: BATCH_AT_LEAST_ONCE
        for mode, batch in batches.items()
        if not (mode is LoadMode.UPSERT if batch.idempotent is None else batch.idempotent)
    }


def _operation(name: str, settings: HttpSettings, given: OperationSettings) -> Operation:
    means = Idempotency.NONE
    if is_read_only(given) or given.idempotent:
        means = Idempotency.UPSERT
    elif settings.idempotency_header:
        means = Idempotency.KEY
    elif given.find is not None:
        means = Idempotency.LOOKUP
    return Operation(
        name=name,
        takes=_fields(given.takes) or {},
        gives=_fields(given.gives),
        idempotency=means,
        is_read_only=is_read_only(given),
        summary=given.summary,
        at_least_once_reason=AT_LEAST_ONCE if means is Idempotency.NONE else "",
    )


def _fields(node: Node | None) -> Any:
    """The declared fields; what is wrong with them is told by ``check``."""
    return None if node is None or node.value is None else read_fields(node, Faults(), what="the operation")
